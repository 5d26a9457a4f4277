//go:build linux && cgo

package zcrx

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestManyPoolsOnOneLoop makes many pools on one ring, and closes the loop while they are
// open.
func TestManyPoolsOnOneLoop(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		goroutines := runtime.NumGoroutine()
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		var pools []BufferPool
		for range 50 {
			pools = append(pools, openTestPool(t, l, mode, PoolConfig{NumBuffers: 8, RefillEntries: 8}))
		}
		for _, p := range pools[:25] {
			require.NoError(t, p.Close())
		}
		sender, r := newTestReceiver(t, pools[49])
		send(t, sender, []byte("the last pool works"))
		assert.Equal(t, "the last pool works", string(receiveAll(t, r)))
		require.NoError(t, r.Close())
		require.NoError(t, l.Close())
		for _, p := range pools {
			assert.True(t, p.accounts().freed)
		}
		settled(t, openFDs(t), goroutines)
	})
}

// TestHundredPoolsReceiveAtOnce receives with 100 pools on four loops at the same time.
func TestHundredPoolsReceiveAtOnce(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const pools = 100
		size := zcrxtest.Volume(1<<18) + 1
		var loops []*Loop
		for range 4 {
			loops = append(loops, newTestLoop(t, LoopConfig{}))
		}
		s := newStream(6)
		var wg sync.WaitGroup
		var all []BufferPool
		for i := range pools {
			p := openTestPool(t, loops[i%len(loops)], mode, PoolConfig{NumBuffers: 16})
			all = append(all, p)
			sender, r := newTestReceiver(t, p)
			s.from(i).Send(t, sender, size) // each its own bytes
			wg.Go(func() { s.from(i).receiveExactly(t, r, size) })
		}
		wg.Wait()
		for i, p := range all {
			got := p.Stats()
			assert.Equal(t, uint64(size), got.Bytes, "pool %d", i)
			assert.Zero(t, got.Outstanding, "pool %d", i)
		}
	})
}
