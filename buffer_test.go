//go:build linux && cgo

package zcrx

import (
	"math"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBufferHasLengthAndCapacityOfCompletion(t *testing.T) {
	k := newPool73(t, 4, 4)
	b := k.complete(0, 0, 2048)
	bytes := b.Bytes()
	assert.Len(t, bytes, 2048)
	assert.Equal(t, 2048, cap(bytes))
	grown := append(bytes, 1) //nolint:gocritic // grown must not share memory with bytes
	assert.NotSame(t, unsafe.SliceData(bytes), unsafe.SliceData(grown), "append must copy")
	release(t, b)
	k.destroy()
}

func TestReceivedBufferHasLengthAndCapacityOfItsBytes(t *testing.T) {
	_, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 8})
	sender, r := newTestReceiver(t, p)
	_, err := sender.Write(pattern(1, 2048))
	require.NoError(t, err)
	b := takeBuffers(t, r, 1)[0]
	assert.Equal(t, pattern(1, 2048), b.Bytes())
	assert.Equal(t, 2048, cap(b.Bytes()))
	require.NoError(t, b.Release())
}

func TestSkipKeepsTheLease(t *testing.T) {
	b := NewBuffer([]byte("hello"))
	assert.Equal(t, "hello", string(b.Bytes()))
	assert.Equal(t, "lo", string(b.Skip(1).Skip(2).Bytes()))
	assert.Empty(t, b.Skip(5).Bytes())
	assert.Zero(t, b.Skip(5).Skip(0).Len())
	for _, n := range []int{-1, 6, math.MaxInt, math.MinInt} {
		assert.Panics(t, func() { b.Skip(n) }, "%d", n)
	}
	require.NoError(t, b.Release())
	require.NoError(t, b.Release())
	assert.Equal(t, "hello", string(b.Bytes()), "memory of its own stays")
	assert.Zero(t, NewBuffer(nil).Len())

	k := newPool73(t, 1, 4)
	lease := k.completeN(1)[0]
	rest := lease.Skip(lease.Len() - 1)
	assert.Equal(t, 1, rest.Len())
	require.NoError(t, rest.Release())
	assert.ErrorIs(t, lease.Release(), ErrReleased, "it was the same lease")
	assert.Nil(t, lease.Bytes())
	k.takeEntries(1)
	k.destroy()
}

// TestBufferQueueKeepsOrder adds and takes at random, and compares the queue with a slice.
func TestBufferQueueKeepsOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var q bufferQueue
		want := []uint64{} // generations stand for the Buffers
		made := uint64(0)
		number := func(buffers []Buffer) []uint64 {
			numbers := []uint64{}
			for _, b := range buffers {
				numbers = append(numbers, b.generation)
			}
			return numbers
		}
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				batch := make([]Buffer, rapid.IntRange(0, 5).Draw(rt, "buffers"))
				for i := range batch {
					made++
					batch[i].generation = made
				}
				want = append(want, number(batch)...)
				require.Equal(rt, len(want), q.add(batch))
				clear(batch) // it remains the caller's
			},
			"take": func(rt *rapid.T) {
				dst := make([]Buffer, rapid.IntRange(0, 7).Draw(rt, "room"))
				n := q.take(dst)
				require.Equal(rt, min(len(dst), len(want)), n)
				require.Equal(rt, want[:n], number(dst[:n]))
				want = want[n:]
			},
			"take all": func(rt *rapid.T) {
				require.Equal(rt, want, number(q.takeAll()))
				want = []uint64{}
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, len(want), q.len())
				for c := q.first; c != nil; c = c.next {
					for i, b := range c.buffers {
						if c == q.first && i < q.begin || i >= q.endOf(c) {
							require.Zero(rt, b, "it keeps no lease that was taken")
						}
					}
				}
			},
		})
	})
}

// TestIdleReceiverKeepsNoLargeQueue shows that a receiver whose queue was long gives its
// memory back once everything was taken.
func TestIdleReceiverKeepsNoLargeQueue(t *testing.T) {
	const size = 16 << 20
	l := newTestLoop(t, LoopConfig{})
	p := openTestPool(t, l, Provided, PoolConfig{NumBuffers: 8192, MaxLeases: 4096})
	peer, r := newTestReceiver(t, p)
	newStream(12).Send(t, peer, size)
	queue := func() (length, room int) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for c := r.incoming.first; c != nil; c = c.next {
			room += len(c.buffers)
		}
		return r.incoming.len(), room
	}
	got := 0
	take := func() {
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		got += b.Len()
		require.NoError(t, b.Release())
	}
	for most := 0; most < 4*keptBuffers; {
		eventually(t, "it is paused, and so far ahead of its consumer as it may be", r.isPaused.Load)
		length, room := queue()
		for range length {
			take()
		}
		most = max(most, room)
	}
	for got < size {
		take()
	}
	_, room := queue()
	assert.Zero(t, room, "in Buffers, for what was not taken")
	require.NoError(t, l.do(func() error { room = cap(r.batch); return nil }))
	assert.LessOrEqual(t, room, keptBuffers, "in Buffers, for a turn's")
}
