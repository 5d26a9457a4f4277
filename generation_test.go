//go:build linux && cgo

package zcrx

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestReleaseIsSeenByLaterBytes releases on one goroutine and calls Bytes on another after
// that, ordered by a channel or by an atomic flag. If the store of the generation came
// late, Bytes would return released bytes.
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
