//go:build linux && cgo

package zcrx

import (
	"bytes"
	"io"
	"math/rand"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDoubleReleaseIsRefused(t *testing.T) {
	k := newPool73(t, 64, 64)
	b := k.completeN(1)[0]
	var wins, losses atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if b.Release() == nil {
				wins.Add(1)
			} else {
				losses.Add(1)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, int32(1), wins.Load())
	assert.Equal(t, int32(31), losses.Load())
	assert.Equal(t, uint64(31), k.pool.Stats().DoubleReleases)
	assert.Equal(t, 1, k.takeEntries(64), "one entry reached the refill queue")

	// The record is used again: the old Buffer must not end the new lease.
	again := k.completeN(leaseChunk / 8)
	assert.ErrorIs(t, b.Release(), ErrReleased)
	assert.Nil(t, b.Bytes())
	assert.Equal(t, uint64(1), k.pool.Stats().UsesAfterRelease)
	release(t, again...)
	k.destroy()
}

func TestReleaseAll(t *testing.T) {
	k, other := newPool73(t, 64, 64), newPool73(t, 64, 64)
	mixed := slices.Concat(k.completeN(5), other.completeN(5), []Buffer{{}}, k.completeN(1))
	release(t, mixed[2], mixed[7])
	assert.ErrorIs(t, ReleaseAll(mixed), ErrReleased)
	for _, k := range []*fakeKernel{k, other} {
		s := k.pool.Stats()
		assert.Zero(t, s.Outstanding)
		assert.Equal(t, uint64(1), s.DoubleReleases)
		k.destroy()
		assert.False(t, k.mapped())
	}
}

// TestReleasesFromManyGoroutines releases on many goroutines while the owner's loop runs
// turns and the kernel takes entries lazily, in changing order.
func TestReleasesFromManyGoroutines(t *testing.T) {
	const buffers, rounds, goroutines = 256, 2000, 8
	k := newPool73(t, buffers, 16)
	work := make(chan []Buffer, goroutines)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for run := range work {
				if len(run)%2 == 0 {
					assert.NoError(t, ReleaseAll(run))
					continue
				}
				for _, b := range run {
					assert.NoError(t, b.Release())
				}
			}
		})
	}
	rng := rand.New(rand.NewSource(1))
	for range rounds {
		if n := min(len(k.free), 1+rng.Intn(32)); n > 0 {
			work <- k.completeN(n)
		}
		k.turn()
		k.takeEntries(rng.Intn(8))
		if len(k.free) == 0 {
			runtime.Gosched()
		}
	}
	close(work)
	wg.Wait()
	for k.pool.drain() > 0 || k.pending() > 0 {
		k.takeEntries(buffers)
	}
	s := k.pool.Stats()
	assert.Len(t, k.free, buffers, "every buffer came back once")
	assert.Equal(t, s.Completions, s.Returned)
	assert.Zero(t, s.Outstanding)
	assert.Zero(t, s.DoubleReleases)
	k.destroy()
	assert.False(t, k.mapped())
}

// TestReleaseAfterTheLoopClosed releases leases after loop and pool are closed, on other
// goroutines than received them.
func TestReleaseAfterTheLoopClosed(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		for range 10 {
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256, MaxLeases: 256})
			sender, r := newTestReceiver(t, p)
			s := newStream(8)
			s.Send(t, sender, 1<<19)
			var held []Buffer
			_, err = s.receive(t, r, 0, func(b Buffer) { held = append(held, b) })
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, l.Close())
			assert.Equal(t, len(held), p.Stats().Outstanding)
			var offset int
			var wg sync.WaitGroup
			for _, b := range held {
				at := offset
				offset += b.Len()
				wg.Go(func() {
					assert.True(t, bytes.Equal(s.At(at, b.Len()), b.Bytes()))
					assert.NoError(t, b.Release())
					assert.ErrorIs(t, b.Release(), ErrReleased)
				})
			}
			wg.Wait()
			got := p.Stats()
			assert.Zero(t, got.Outstanding)
			assert.Equal(t, uint64(len(held)), got.Returned)
			assert.Equal(t, uint64(len(held)), got.DoubleReleases)
			assert.True(t, unmapped(p))
		}
	})
}

// TestReleasesInRandomOrder has eight goroutines hold leases for a random time during a
// transfer of many times the pool's size.
func TestReleasesInRandomOrder(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size, goroutines = 32 << 20, 8
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256, RefillEntries: 32, MaxLeases: 256})
		sender, r := newTestReceiver(t, p)
		s := newStream(9)
		s.Send(t, sender, size)
		work := make(chan Buffer)
		var wg sync.WaitGroup
		for i := range goroutines {
			wg.Go(func() {
				rng := rand.New(rand.NewSource(int64(i)))
				var held []Buffer
				for b := range work {
					held = append(held, b)
					// Together they hold fewer than the pool has.
					for len(held) > rng.Intn(200/goroutines) {
						last := len(held) - 1
						pick := rng.Intn(len(held))
						b := held[pick]
						held[pick] = held[last]
						held = held[:last]
						assert.NoError(t, b.Release())
					}
				}
				assert.NoError(t, ReleaseAll(held))
			})
		}
		got, err := s.receive(t, r, 0, func(b Buffer) { work <- b })
		close(work)
		wg.Wait()
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, size, got)
		stats := p.Stats()
		assert.Equal(t, uint64(size), stats.Bytes)
		assert.Equal(t, stats.Completions, stats.Returned)
		assert.Zero(t, stats.Outstanding)
		assert.Zero(t, stats.DoubleReleases)
		assert.Zero(t, stats.UsesAfterRelease)
	})
}
