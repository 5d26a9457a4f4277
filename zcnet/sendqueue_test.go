//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// The deadline wakes the fiber that waits, on its loop, also after a move.
func TestWriteDeadlineAfterMigrate(t *testing.T) {
	e := ringEngine(t, Config{Loops: 2})
	loops := e.Group().Loops()
	big := make([]byte, 16<<20)
	address, stop := serve(t, e, func(c *Conn) {
		for i := range 6 {
			to := loops[i%2]
			assert.NoError(t, c.SetWriteDeadline(time.Time{}))
			assert.NoError(t, c.Migrate(context.Background(), to))
			ended := make(chan struct{})
			assert.NoError(t, c.Go(func(c *Conn) {
				defer close(ended)
				assert.NoError(t, c.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
				_, err := c.Write(big)
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			}))
			Await(func() { <-ended })
		}
	})
	peer := dialNet(t, address)
	defer peer.Close()
	require.Eventually(t, func() bool { return e.Stats().Fibers.Started > 0 }, time.Minute, time.Millisecond)
	within(t, "the fiber", func() {
		for e.Stats().Fibers.Open > 0 {
			time.Sleep(time.Millisecond)
		}
	})
	peer.Close()
	stop()
}

// CloseWrite ends the stream behind what was written before: a later Write fails at once, also
// while that is unsent.
func TestWriteBehindCloseWrite(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	address, stop := serve(t, e, func(c *Conn) {
		_, err := c.Write([]byte("last"))
		assert.NoError(t, err)
		assert.NoError(t, c.CloseWrite())
		_, err = c.Write([]byte("later"))
		assert.ErrorIs(t, err, syscall.EPIPE)
	})
	peer := dialNet(t, address)
	defer peer.Close()
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	assert.Equal(t, "last", string(got))
	stop()
}

// fillQueue writes in a fiber until no more fits the queue, because the peer does not read.
// It returns how many bytes it has written.
func fillQueue(t *testing.T, c *Conn) int {
	assert.NoError(t, c.SetWriteBuffer(1))
	n := 0
	for {
		assert.NoError(t, c.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
		k, err := c.Write(make([]byte, 10_000))
		n += k
		if err != nil {
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			if c.socket().(*ringSocket).queue.unsent.Load() > mostUnsent-10_000 {
				return n
			}
		}
	}
}

// Close ends reads at once, also while what was written is unsent.
func TestCloseWakesReadersWhileBytesAreUnsent(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	inFiber, onGoroutine := make(chan error, 1), make(chan error, 1)
	address, stop := serve(t, e, func(c *Conn) {
		two := c
		assert.NoError(t, c.Go(func(c *Conn) {
			_, err := c.Read(make([]byte, 1))
			inFiber <- err
		}))
		go func() {
			_, err := two.Read(make([]byte, 1))
			onGoroutine <- err
		}()
		fillQueue(t, c)
	})
	peer := dialNet(t, address)
	defer peer.Close()
	within(t, "Read in a fiber", func() { assert.ErrorIs(t, <-inFiber, net.ErrClosed) })
	within(t, "Read on a goroutine", func() { assert.ErrorIs(t, <-onGoroutine, net.ErrClosed) })
	peer.Close()
	stop()
}

// A closed connection that goes on sending must hold none of the pool's buffers.
func TestClosedConnHoldsNoBuffers(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	ended := make(chan struct{})
	address, stop := serve(t, e, func(c *Conn) {
		fillQueue(t, c)
		close(ended)
	})
	peer := dialNet(t, address)
	defer peer.Close()
	<-ended
	require.NoError(t, peer.SetWriteDeadline(time.Now().Add(200*time.Millisecond)))
	_, _ = peer.Write(make([]byte, 4<<20))
	zcrxtest.Eventually(t, "no buffer is held", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
	peer.Close()
	stop()
}

// A Handler gets the error of Close, and nothing more, while what was written is unsent.
func TestHandlerOfAConnThatStillSends(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	peer, c := peerPair(t, e)
	defer peer.Close()
	require.NoError(t, c.SetWriteBuffer(1))
	ended := make(chan error, 10)
	require.NoError(t, c.Handle(func(c *Conn, buffers []zcrx.Buffer, err error) {
		_ = zcrx.ReleaseAll(buffers)
		if err != nil {
			ended <- err
			return
		}
		for {
			if _, err := c.Write(make([]byte, 10_000)); err != nil {
				assert.ErrorIs(t, err, ErrWouldBlock)
				break
			}
		}
		assert.NoError(t, c.Close())
	}))
	_, err := peer.Write([]byte("x"))
	require.NoError(t, err)
	within(t, "the Handler", func() { assert.ErrorIs(t, <-ended, net.ErrClosed) })
	_, err = peer.Write([]byte("more"))
	require.NoError(t, err)
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	assert.Greater(t, len(got), 200_000)
	peer.Close()
	require.NoError(t, e.Close())
	assert.Empty(t, ended)
}

// Shutdown waits until what was written is sent, and a connection counts until then.
// A connection whose function has returned counts while it has unsent bytes: for MaxConns, in
// the statistics and for Shutdown.
func TestConnCountsUntilAllIsSent(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1, MaxConns: 1})
	var total atomic.Int64
	var socket atomic.Pointer[ringSocket]
	var begun atomic.Int64
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		served <- ln.Serve(t.Context(), func(c *Conn) {
			if begun.Add(1) > 1 {
				return
			}
			socket.Store(c.socket().(*ringSocket))
			total.Store(int64(fillQueue(t, c)))
			close(ended)
		})
	}()
	peer := dialNet(t, ln.Addr().String())
	defer peer.Close()
	<-ended
	zcrxtest.Eventually(t, "the function has returned", func() bool { return e.Stats().Fibers.Open == 0 })
	assert.Equal(t, 1, ln.Stats().Open)
	second := dialNet(t, ln.Addr().String())
	defer second.Close()
	time.Sleep(50 * time.Millisecond)
	assert.EqualValues(t, 1, begun.Load(), "MaxConns counts connections that are still sending")
	shut := make(chan error, 1)
	go func() {
		shut <- ln.Shutdown(context.Background())
		assert.Zero(t, socket.Load().queue.unsent.Load(), "unsent when Shutdown returns")
	}()
	time.Sleep(100 * time.Millisecond)
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	assert.Len(t, got, int(total.Load()))
	require.NoError(t, <-shut)
	require.ErrorIs(t, <-served, net.ErrClosed)
}
