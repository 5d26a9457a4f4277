//go:build linux && cgo

package zcrx

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// The pool's scenarios that a real kernel can show, on a device-less pool. The
// others (several completions in one buffer, a kernel that takes entries one by
// one) need the fake kernel of pool_test.go, or a network interface.

// takeBuffers receives n whole buffers and keeps them.
func takeBuffers(t *testing.T, r *Receiver, n int) []Buffer {
	t.Helper()
	out := make([]Buffer, 0, n)
	for len(out) < n {
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		out = append(out, b)
	}
	return out
}

// onHeldLoop runs fn while the loop can do nothing.
func onHeldLoop(t *testing.T, l *Loop, fn func()) {
	t.Helper()
	held, hold := make(chan struct{}), make(chan struct{})
	require.NoError(t, l.Post(func() { close(held); <-hold }))
	<-held
	defer close(hold)
	fn()
}

func newDeviceLessPool(t *testing.T, cfg PoolConfig) (*Loop, *Pool) {
	t.Helper()
	needDeviceLess(t)
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, cfg)
	require.NoError(t, err)
	return l, p
}

func TestRealBufferHasLengthAndCapacityOfCompletion(t *testing.T) {
	_, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 8})
	sender, r := newTestReceiver(t, p)
	_, err := sender.Write(pattern(1, 2048))
	require.NoError(t, err)
	b := takeBuffers(t, r, 1)[0]
	assert.Equal(t, pattern(1, 2048), b.Bytes())
	assert.Equal(t, 2048, cap(b.Bytes()))
	require.NoError(t, b.Release())
}

// TestRealSmallRefillQueue returns 150 buffers into a refill queue of 8 while the
// owner can do nothing, and then all at once through the owner's flushes.
func TestRealSmallRefillQueue(t *testing.T) {
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
	// The loop drains and flushes on its own, and the receive goes on.
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

func TestRealDestroyWithWaitingReturns(t *testing.T) {
	l, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 16, RefillEntries: 2})
	sender, r := newTestReceiver(t, p)
	go func() { _, _ = sender.Write(pattern(3, 32*int(pageSize()))) }() // the receiver ends it
	hold := takeBuffers(t, r, 16)
	onHeldLoop(t, l, func() {
		release(t, hold[:8]...)
		assert.Equal(t, 6, p.Stats().Waiting)
		release(t, hold[8:15]...)
	})
	require.NoError(t, r.Close())
	require.NoError(t, l.Close())
	assert.False(t, p.freed, "one lease is out")
	assert.Equal(t, 1, p.Stats().Outstanding)
	assert.NotNil(t, hold[15].Bytes(), "still readable")
	release(t, hold[15])
	assert.True(t, p.freed)
}

// TestDryPoolSleeps holds every buffer while data waits: the loop sleeps, and goes
// on when they come back.
func TestDryPoolSleeps(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const buffers = 16
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: buffers, MaxLeases: MaxNumBuffers})
		sender, r := newTestReceiver(t, p)
		want := pattern(4, 4*buffers*int(pageSize()))
		send(t, sender, want)
		var got []byte
		held := takeBuffers(t, r, buffers)
		for _, b := range held {
			got = append(got, b.Bytes()...)
		}
		eventually(t, "the receive ended for want of a buffer, and the loop sleeps", func() bool {
			// Before 7.2.10 the receive may just pause.
			ended := p.Stats().RearmedNoBuffer > 0 || olderKernel(sys.KernelRelease(), 7, 2, 10) && mode == DeviceLess
			return ended && l.asleep.Load()
		})
		before := l.Stats().Turns
		time.Sleep(100 * time.Millisecond) // in which a loop that tried again would have had thousands
		assert.LessOrEqual(t, l.Stats().Turns, before+10)
		release(t, held...)
		got = append(got, receiveAll(t, r)...)
		assert.True(t, bytes.Equal(want, got))
	})
}
