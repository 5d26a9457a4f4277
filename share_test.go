//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
)

// TestMaxLeases has one consumer that releases nothing, while others continue.
func TestMaxLeases(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const limit, size = 8, 4 << 20
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 512, MaxLeases: limit})
		sender, greedy := newTestReceiver(t, p)
		want := pattern(30, size)
		send(t, sender, want)
		var held []Buffer
		got := 0
		take := func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			b, err := greedy.Recv(ctx)
			if err != nil {
				return false
			}
			require.True(t, bytes.Equal(want[got:got+b.Len()], b.Bytes()))
			got += b.Len()
			held = append(held, b)
			return true
		}
		for take() {
		}
		// What one turn brings is leased in addition; the rest of the stream stays in the
		// socket.
		require.GreaterOrEqual(t, len(held), limit)
		require.Less(t, len(held), 256, "it holds what it may, and what came in the last turn")
		t.Logf("%d leases, %d may be out", len(held), limit)
		assert.Positive(t, p.Stats().Paused)

		other, r := newTestReceiver(t, p)
		send(t, other, want)
		require.True(t, bytes.Equal(want, receiveAll(t, r)), "the others go on")

		// One lease too few is released: the receiver stays paused.
		first := len(held) - limit/2
		require.NoError(t, ReleaseAll(held[:first-1]))
		held = held[first-1:]
		for len(held) > 0 {
			require.NoError(t, held[0].Release())
			held = held[1:]
			if !take() && got == size {
				break
			}
		}
		require.NoError(t, ReleaseAll(held))
		rest := receiveAll(t, greedy)
		require.True(t, bytes.Equal(want[got:], rest))
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// TestSmallestShare receives with at most one lease out at a time.
func TestSmallestShare(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 16, MaxLeases: 1})
		sender, r := newTestReceiver(t, p)
		want := pattern(31, 1<<19)
		send(t, sender, want)
		require.True(t, bytes.Equal(want, receiveAll(t, r)))
		assert.Zero(t, p.Stats().Outstanding)
	})
}

func TestMaxLeasesOutOfRange(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	for _, n := range []int{-1, MaxNumBuffers + 1} {
		_, err := NewProvidedPool(l, PoolConfig{MaxLeases: n})
		assert.ErrorContains(t, err, "PoolConfig.MaxLeases")
		assert.ErrorContains(t, err, "allowed are 1 to 16777216")
	}
}

// TestMoveToLosesNothing moves a connection repeatedly between pools on three loops while
// data comes in.
func TestMoveToLosesNothing(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		var pools []BufferPool
		for range 3 {
			pools = append(pools, openTestPool(t, newTestLoop(t, LoopConfig{}), mode, PoolConfig{NumBuffers: 64}))
		}
		sender, r := newTestReceiver(t, pools[0])
		want := pattern(32, 8<<20)
		send(t, sender, want)
		moved := make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				if err := r.MoveTo(context.Background(), pools[(n+1)%3]); err != nil {
					break // at the end of the stream
				}
			}
			moved <- n
		}()
		require.True(t, bytes.Equal(want, receiveAll(t, r)))
		assert.Greater(t, <-moved, 1)
		for _, p := range pools {
			assert.Zero(t, p.Stats().Outstanding)
		}
	})
}

// TestConsumerThatHoldsAllButOne checks that a consumer that holds all leases of its share
// but one receives a buffer for every lease that it releases.
func TestConsumerThatHoldsAllButOne(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const limit = 32
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256, MaxLeases: limit})
		sender, r := newTestReceiver(t, p)
		const size = 2 << 20
		s := newStream(33)
		s.Send(t, sender, size)
		var held []Buffer
		got, err := s.receive(t, r, 0, func(b Buffer) {
			if held = append(held, b); len(held) == limit {
				require.NoError(t, held[0].Release())
				held = held[1:]
			}
		})
		require.ErrorIs(t, err, io.EOF)
		assert.Equal(t, size, got)
		require.NoError(t, ReleaseAll(held))
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// TestReturnDuringResumeIsNotForgotten releases a lease while the loop resumes receivers,
// in the turn that it was woken for. The receiver whose pause that return ends must be
// resumed too.
func TestReturnDuringResumeIsNotForgotten(t *testing.T) {
	k := newFakePool(t, 8, 8, refillLayouts["7.3"])
	wakes := 0
	k.pool.wake = func() { wakes++ }
	lease := func(s *share) Buffer {
		b, err := takeOne(k.pool, &uring.CQE{Res: 1, Flags: uring.CQEMore})
		require.NoError(t, err)
		b.lease.share = s
		s.taken++
		require.True(t, k.pool.pauseIfExhausted(s))
		return b
	}
	resumed := 0
	second := &share{limit: 1, receiver: resumeFunc(func() { resumed++ })}
	late := lease(second)
	first := &share{limit: 1, receiver: resumeFunc(func() { assert.NoError(t, late.Release()) })}
	require.NoError(t, lease(first).Release())
	require.Equal(t, 1, wakes)
	k.pool.beforeTurn(k.loop)
	require.Equal(t, 2, wakes, "the return in the turn asks for another one")
	require.Zero(t, resumed)
	k.pool.beforeTurn(k.loop)
	require.Equal(t, 1, resumed)
}

// resumeFunc is a function that implements resumer.
type resumeFunc func()

func (f resumeFunc) resume() { f() }

// TestShareHoldsWithSmallMessages has a consumer that keeps all it gets of a stream of small
// messages, with a pause in between. It always gets its whole share, and little more in the
// mode Provided.
func TestShareHoldsWithSmallMessages(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const limit = 32
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 1024, MaxLeases: limit})
		peer, r := newTestReceiver(t, p)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for err := error(nil); err == nil; { // until the receiver is closed
				_, err = peer.Write([]byte{1})
			}
		}()
		most := 0
		for round := range zcrxtest.Volume(30) {
			var held []Buffer
			for len(held) < limit {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				b, err := r.Recv(ctx)
				cancel()
				require.NoError(t, err, "%d leases are out", len(held))
				if held = append(held, b); len(held) == limit/2 {
					time.Sleep(time.Millisecond)
				}
			}
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				b, err := r.Recv(ctx)
				cancel()
				if err != nil {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					break
				}
				held = append(held, b)
			}
			if round > 2 { // the receiver has learned how small the messages are
				most = max(most, p.Stats().Outstanding)
			}
			require.NoError(t, ReleaseAll(held))
		}
		require.NoError(t, r.Close())
		<-sent
		t.Logf("%d leases, %d may be out", most, limit)
		if mode == DeviceLess {
			// A receive is limited in bytes, and what came while it was paused is a mixture of
			// long and short pieces: see PoolConfig.MaxLeases.
			return
		}
		assert.Less(t, most, 4*limit, "what it may hold, and what came in the last turn")
	})
}
