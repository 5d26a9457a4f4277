//go:build linux && cgo

package zcrx

import (
	"bytes"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTrySendAndWaitWritable sends, waits for room, and sets options of the socket.
func TestTrySendAndWaitWritable(t *testing.T) {
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

// TestWaitWritableExpires closes the channel that WaitWritable gets.
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

// TestSendZeroCopyRefused checks for which errnos of a send the caller must send with a
// copy.
func TestSendZeroCopyRefused(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOMEM, syscall.ENOBUFS, syscall.EOPNOTSUPP, syscall.EINVAL} {
		refused, err := zeroCopyError(errno, false)
		assert.ErrorIs(t, err, ErrNotZeroCopy)
		assert.True(t, refused, "for good")
	}
	for _, test := range []struct {
		errno    syscall.Errno
		timedOut bool
		want     error
	}{
		{syscall.EINTR, false, ErrNotZeroCopy}, // only this send
		{syscall.ECANCELED, false, ErrClosed},
		{syscall.ECANCELED, true, os.ErrDeadlineExceeded},
		{syscall.EPIPE, false, syscall.EPIPE},
	} {
		refused, err := zeroCopyError(test.errno, test.timedOut)
		assert.ErrorIs(t, err, test.want)
		assert.False(t, refused)
	}
}

// TestResetThatASendMetIsNoEnd shows that Recv returns ECONNRESET also if a send got that
// error before, which the kernel reports once.
func TestResetThatASendMetIsNoEnd(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256})
		for range 5 {
			peer, r := newTestReceiver(t, p)
			resetWhilePaused(t, peer, r)
			var err error
			eventually(t, "a send meets the reset", func() bool {
				_, err = r.TrySend([][]byte{{1}})
				return err != nil
			})
			require.ErrorIs(t, err, syscall.ECONNRESET)
			require.ErrorIs(t, receiveToError(t, r), syscall.ECONNRESET)
			require.NoError(t, r.Close())
		}
	})
}
