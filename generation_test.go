//go:build linux && cgo

package zcrx

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestReleaseIsSeenByLaterBytes has one goroutine release and another look
// at the bytes, which it does after the release: told by a channel, or by an atomic
// flag. A store of the generation that came late would show bytes that are gone.
func TestReleaseIsSeenByLaterBytes(t *testing.T) {
	const rounds = 20_000
	k := newPool73(t, 4, 4)
	given, released := make(chan Buffer), make(chan struct{})
	var flag atomic.Int64
	go func() {
		for b := range given {
			assert.NoError(t, b.Release())
			flag.Add(1)
			released <- struct{}{}
		}
	}()
	seen := 0
	for i := range rounds {
		b := k.completeN(1)[0]
		given <- b
		if i%2 == 0 {
			for flag.Load() <= int64(i) {
				runtime.Gosched()
			}
			if b.Bytes() != nil {
				seen++
			}
		}
		<-released
		if b.Bytes() != nil {
			seen++
		}
		k.takeEntries(1)
	}
	close(given)
	assert.Zero(t, seen, "looks that saw released bytes")
	assert.Equal(t, uint64(rounds+rounds/2), k.pool.Stats().UsesAfterRelease)
	k.destroy()
}
