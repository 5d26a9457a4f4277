//go:build linux && cgo

package zcrx

import (
	"bytes"
	"math/rand"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/uring"
)

func TestMemoryLivesUntilLastRelease(t *testing.T) {
	k := newPool73(t, 4, 4)
	b := k.completeN(2)
	release(t, b[0])
	k.destroy()
	require.True(t, k.mapped())
	assert.Equal(t, byte(0), b[1].Bytes()[0], "the memory can be read")
	assert.Equal(t, 1, k.pool.Stats().Outstanding)
	release(t, b[1])
	assert.False(t, k.mapped())
	assert.ErrorIs(t, b[1].Release(), ErrReleased, "also after the memory has gone")
	assert.Nil(t, b[1].Bytes())
}

func TestReturnsWaitForRoom(t *testing.T) {
	k := newPool73(t, 8, 2)
	b := k.completeN(4)
	release(t, b[:3]...)
	assert.Equal(t, 2, k.pending())
	assert.Equal(t, 1, k.pool.Stats().Waiting)
	k.takeEntries(2)
	assert.Equal(t, 1, k.pool.Stats().Waiting, "nobody has drained yet")
	release(t, b[3])
	assert.Equal(t, 2, k.pending())
	assert.Equal(t, 0, k.pool.Stats().Waiting)
	k.destroy()
}

func TestManyReturnsIntoSmallRefillQueue(t *testing.T) {
	k := newPool73(t, 200, 8)
	b := k.completeN(200)
	release(t, b[:150]...)
	assert.Equal(t, 8, k.pending())
	assert.Equal(t, 142, k.pool.Stats().Waiting)
	require.Equal(t, 8, k.takeEntries(8))
	release(t, b[150])
	assert.Equal(t, 135, k.pool.Stats().Waiting)
	require.Equal(t, 8, k.takeEntries(8))
	release(t, b[151:161]...)
	assert.Equal(t, 137, k.pool.Stats().Waiting)
	release(t, b[161:]...)
	for k.pool.Stats().Waiting > 0 {
		require.Positive(t, k.takeEntries(8))
		k.pool.drain()
	}
	k.takeEntries(8)
	assert.Len(t, k.free, 200)
	k.destroy()
	assert.False(t, k.mapped())
}

func TestDestroyWithWaitingReturnsLeaksNothing(t *testing.T) {
	k := newPool73(t, 16, 2)
	b := k.completeN(10)
	release(t, b[:8]...)
	assert.Equal(t, 6, k.pool.Stats().Waiting)
	k.takeEntries(2)
	release(t, b[8:]...)
	assert.Equal(t, 6, k.pool.Stats().Waiting)
	k.destroy()
	assert.False(t, k.mapped(), "waiting returns hold no memory")
}

func TestOffsetQueueKeepsOrder(t *testing.T) {
	var q offsetQueue
	rng := rand.New(rand.NewSource(2))
	in, out := uint64(0), uint64(0)
	for in < 10_000 {
		for range rng.Intn(100) {
			q.push(in)
			in++
		}
		for n := rng.Intn(100); n > 0 && q.len() > 0; n-- {
			require.Equal(t, out, q.first())
			q.drop()
			out++
		}
	}
	require.Equal(t, int(in-out), q.len())
}

// TestMemoryIsMappedUntilTheLastRelease checks in /proc/self/maps that the memory is mapped
// up to the last release, and not after it.
func TestMemoryIsMappedUntilTheLastRelease(t *testing.T) {
	p := newGuardedPool(t, 8, pageSize(), 4)
	var parts [][]byte
	for i := range areasOf(p) {
		parts = append(parts, areasOf(p)[i].mem)
	}
	parts = append(parts, p.memory.region)
	var leases []Buffer
	for id := range uint64(2) {
		for i := range uint64(8) {
			b, err := takeOne(p, &uring.CQE{Res: 100, Big: [2]uint64{id<<areaShift + i*uint64(pageSize())}})
			require.NoError(t, err)
			leases = append(leases, b)
		}
	}
	p.count()
	p.dropUser()
	for i, l := range leases {
		for _, part := range parts {
			assert.Equal(t, len(part), mappedBytes(t, sliceAddr(part), len(part)), "before release %d", i)
		}
		for _, other := range leases[i:] {
			assert.Zero(t, sum(other.Bytes()))
		}
		require.NoError(t, l.Release())
	}
	for _, part := range parts {
		assert.Zero(t, mappedBytes(t, sliceAddr(part), len(part)), "after the last release")
		assert.True(t, faults(unsafe.Pointer(unsafe.SliceData(part))))
	}
	for _, l := range leases {
		assert.ErrorIs(t, l.Release(), ErrReleased)
		assert.Nil(t, l.Bytes())
	}
}

// TestReceiveGoesOnWithSmallRefillQueue returns 150 buffers into a refill queue of 8 while
// the loop is blocked. After that the loop flushes all of them.
func TestReceiveGoesOnWithSmallRefillQueue(t *testing.T) {
	l, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 200, RefillEntries: 8, MaxLeases: 200})
	sender, r := newTestReceiver(t, p)
	want := pattern(2, 600*int(pageSize()))
	send(t, sender, want)
	var got []byte
	hold := takeBuffers(t, r, 200)
	for _, b := range hold {
		got = append(got, b.Bytes()...)
	}
	assert.Equal(t, 200, p.Stats().Outstanding)
	onHeldLoop(t, l, func() {
		release(t, hold[:150]...)
		s := p.Stats()
		assert.Equal(t, 142, s.Waiting, "8 are in the refill queue")
		assert.Equal(t, uint32(8), p.memory.refillQueue.pending())
		assert.Equal(t, 50, s.Outstanding)
	})
	// The loop drains and flushes by itself, and the receive continues.
	more := takeBuffers(t, r, 100)
	for _, b := range more {
		got = append(got, b.Bytes()...)
	}
	release(t, more...)
	release(t, hold[150:]...)
	got = append(got, receiveAll(t, r)...)
	require.Equal(t, len(want), len(got)) //nolint:testifylint // Len would print every byte
	assert.True(t, bytes.Equal(want, got))
	for range 200/8 + 2 { // each turn flushes and refills the queue of 8
		require.NoError(t, l.do(func() error { return nil }))
	}
	s := p.Stats()
	assert.Zero(t, s.Outstanding)
	assert.Zero(t, s.Waiting)
	assert.Positive(t, s.RefillFull)
	assert.Positive(t, s.Flushes)
	assert.Zero(t, s.FlushErrors)
}
