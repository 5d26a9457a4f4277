//go:build linux && cgo

package zcrx

import (
	"bytes"
	"io"
	"math"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTryRecv takes a stream as a connection type of one's own does: it waits for
// Readable and for something else.
func TestTryRecv(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64, MaxLeases: 8})
		assert.Equal(t, 8, p.MaxLeases())
		sender, r := newTestReceiver(t, p)
		assert.Same(t, p, r.Pool())
		n, err := r.TryRecv(nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		n, err = r.TryRecv(make([]Buffer, 1))
		assert.NoError(t, err)
		assert.Zero(t, n, "nothing is there")
		select {
		case <-r.Readable():
			t.Fatal("nothing has come")
		default:
		}

		want := pattern(90, 1<<20)
		send(t, sender, want)
		var got []byte
		dst := make([]Buffer, 3)
		for err == nil {
			n, err = r.TryRecv(dst)
			for _, b := range dst[:n] {
				got = append(got, b.Bytes()...)
			}
			require.NoError(t, ReleaseAll(dst[:n]))
			if n == 0 && err == nil {
				select {
				case <-r.Readable():
				case <-t.Context().Done():
					t.Fatal("it does not come")
				}
			}
		}
		assert.ErrorIs(t, err, io.EOF)
		assert.True(t, bytes.Equal(want, got), "%d bytes", len(got))
	})
}

// TestReceiverSends, waits for room, and has its socket's options set.
func TestReceiverSends(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		peer, r := newTestReceiver(t, openTestPool(t, l, mode, PoolConfig{NumBuffers: 16}))
		want := pattern(91, 32<<20)
		got := make(chan []byte, 1)
		waits, left := 0, [][]byte{want}
		for len(left[0]) > 0 {
			n, err := r.TrySend(left)
			left[0] = left[0][n:]
			if err == nil {
				continue
			}
			require.ErrorIs(t, err, syscall.EAGAIN)
			if waits++; waits == 1 {
				go func() {
					all, err := io.ReadAll(peer)
					assert.NoError(t, err)
					got <- all
				}()
			}
			require.NoError(t, r.WaitWritable(nil))
		}
		assert.Positive(t, waits)
		require.NoError(t, r.Shutdown(syscall.SHUT_WR))
		assert.True(t, bytes.Equal(want, <-got))

		require.NoError(t, r.SetReadBuffer(10_000))
		size := 0
		require.NoError(t, r.Control(func(fd uintptr) { size, _ = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF) }))
		assert.Equal(t, 20_000, size)
		require.NoError(t, r.Close())
		_, err := r.TrySend([][]byte{{1}})
		for _, err := range []error{err, r.WaitWritable(nil), r.Shutdown(syscall.SHUT_RD), r.Control(func(uintptr) {}), r.SetReadBuffer(1)} {
			assert.ErrorIs(t, err, ErrClosed)
		}
	})
}

// TestWaitWritableExpires when its channel is closed.
func TestWaitWritableExpires(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	_, r := newTestReceiver(t, openTestPool(t, l, Provided, PoolConfig{NumBuffers: 16}))
	var err error
	for err == nil {
		_, err = r.TrySend([][]byte{make([]byte, 1<<20)})
	}
	require.ErrorIs(t, err, syscall.EAGAIN)
	expired := make(chan struct{})
	close(expired)
	assert.ErrorContains(t, r.WaitWritable(expired), "i/o timeout")
}

func TestSkip(t *testing.T) {
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
