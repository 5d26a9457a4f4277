//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// TestReviewHandlerClosesFreshConnection: a Handler closes a connection that was accepted
// while it ran.
func TestReviewHandlerClosesFreshConnection(t *testing.T) {
	e, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 64}})
	require.NoError(t, err)
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	first, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer first.Close()
	c, err := ln.AcceptConn(t.Context())
	require.NoError(t, err)
	running, fresh, closed := make(chan struct{}), make(chan *Conn), make(chan error, 1)
	require.NoError(t, c.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
		_ = zcrx.ReleaseAll(buffers)
		if err == nil {
			close(running) // it takes its time
			closed <- (<-fresh).Close()
		}
	}))
	_, err = first.Write([]byte("everybody out"))
	require.NoError(t, err)
	<-running
	second, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	defer second.Close()
	other, err := ln.AcceptConn(t.Context())
	require.NoError(t, err)
	fresh <- other
	require.NoError(t, <-closed)
	ended := make(chan error, 1)
	go func() { ended <- e.Close() }()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(5 * time.Second):
		t.Fatal("Engine.Close does not return")
	}
}

// TestReviewPeekThenReset: what Peek tells of the end, reading on tells again.
func TestReviewPeekThenReset(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		_, err := peer.Write([]byte("0123456789"))
		require.NoError(t, err)
		p, err := c.Peek(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, p, 10)
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
		p, err = c.Peek(t.Context(), 100)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Len(t, p, 10)
		n, err := io.Copy(io.Discard, c)
		assert.EqualValues(t, 10, n)
		assert.ErrorIs(t, err, syscall.ECONNRESET, "the stream was cut, and looks complete")
	})
}

// TestReviewResetBehindWrite: the same, where a Write met the reset first.
func TestReviewResetBehindWrite(t *testing.T) {
	withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 256}}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		flooded := zcrxtest.NewStream(3).Flood(t, peer)
		time.Sleep(100 * time.Millisecond)
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
		<-flooded
		var err error
		zcrxtest.Eventually(t, "a write meets the reset", func() bool {
			_, err = c.Write([]byte{1})
			return err != nil
		})
		_, err = io.Copy(io.Discard, c)
		assert.ErrorIs(t, err, syscall.ECONNRESET, "the stream was cut, and looks complete")
	})
}

// TestReviewZeroLengthAfterClose: "after Close everything answers net.ErrClosed".
func TestReviewZeroLengthAfterClose(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		require.NoError(t, c.Close())
		_, err := c.Read(nil)
		assert.ErrorIs(t, err, net.ErrClosed, "Read, as net.TCPConn's")
		_, err = c.RecvBatch(t.Context(), nil)
		assert.ErrorIs(t, err, net.ErrClosed, "RecvBatch")
		_, err = c.Discard(t.Context(), 0)
		assert.ErrorIs(t, err, net.ErrClosed, "Discard")
		_, err = c.Peek(t.Context(), 0)
		assert.ErrorIs(t, err, net.ErrClosed, "Peek")
		_, err = c.Write(nil)
		assert.ErrorIs(t, err, net.ErrClosed, "Write")
	})
	own, other := zcrxtest.TCPPair(t)
	defer other.Close()
	require.NoError(t, own.Close())
	_, err := own.Read(nil)
	assert.ErrorIs(t, err, net.ErrClosed, "net.TCPConn")
}

// TestReviewErrorTypes: "Errors but io.EOF and a context's are *net.OpError".
func TestReviewErrorTypes(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		require.NoError(t, c.Close())
		for name, err := range map[string]error{
			"SetDeadline": c.SetDeadline(time.Time{}), "SetReadDeadline": c.SetReadDeadline(time.Time{}),
			"CloseWrite": c.CloseWrite(), "Close": c.Close(), "SetNoDelay": c.SetNoDelay(true),
		} {
			_, ok := err.(*net.OpError)
			assert.True(t, ok, "%s: %T", name, err)
			_, ok = err.(net.Error)
			assert.True(t, ok, "%s: %T is no net.Error", name, err)
		}
	})
}

// TestReviewPeekWithEndedContext: "Peek returns what there is and the error: io.EOF, a
// context's, or another".
func TestReviewPeekWithEndedContext(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		_, err := peer.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = c.Peek(t.Context(), 5)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		p, err := c.Peek(ctx, 6) // waits, then ends
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "hello", string(p))
		p, err = c.Peek(ctx, 6) // has ended before
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, "hello", string(p), "ended context")
		require.NoError(t, c.SetReadDeadline(time.Now().Add(-1)))
		p, err = c.Peek(t.Context(), 6)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, "hello", string(p), "deadline that has passed")
	})
}

// TestReviewInterruptedReader: one goroutine interrupts the other's Read by a deadline in
// the past; that one takes the deadline away, and reads on. As with net.TCPConn.
func TestReviewInterruptedReader(t *testing.T) {
	const rounds = 20_000
	run := func(t *testing.T, peer net.Conn, c net.Conn) {
		stuck := 0
		p := make([]byte, 1)
		for range rounds {
			var interrupted sync.WaitGroup
			interrupted.Go(func() {
				runtime.Gosched() // the other one waits already, often
				_ = c.SetReadDeadline(time.Unix(1, 0))
			})
			_, err := c.Read(p)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, c.SetReadDeadline(time.Time{})) // it has been heard
			interrupted.Wait()
			_, err = peer.Write([]byte{1})
			require.NoError(t, err)
			if _, err = c.Read(p); err != nil {
				stuck++
				require.NoError(t, c.SetReadDeadline(time.Time{}))
				_, err = c.Read(p)
				require.NoError(t, err)
			}
		}
		assert.Zero(t, stuck, "times that the deadline had been taken away, and was there, of %d", rounds)
	}
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		run(t, peer, c)
	})
	t.Run("net", func(t *testing.T) {
		peer, c := zcrxtest.TCPPair(t)
		defer c.Close()
		run(t, peer, c)
	})
}

// preempted is a socket whose caller loses the processor behind the first setReadDeadline.
type preempted struct {
	socket
	happened  atomic.Bool
	meanwhile func()
}

func (s *preempted) setReadDeadline(t time.Time) error {
	err := s.socket.setReadDeadline(t)
	if s.happened.CompareAndSwap(false, true) {
		s.meanwhile()
	}
	return err
}

// TestReviewInterruptedReaderPreempted is one round of the test above in which the one who
// interrupts loses the processor between the socket's deadline and the connection's.
func TestReviewInterruptedReaderPreempted(t *testing.T) {
	e, err := NewEngine(t.Context(), Config{Mode: zcrx.Socket})
	require.NoError(t, err)
	defer e.Close()
	peer, c := peerPair(t, e)
	defer c.Close()
	defer peer.Close()
	heard := make(chan struct{})
	c.socket = &preempted{socket: c.socket, meanwhile: func() {
		select {
		case <-heard:
		case <-time.After(time.Second): // it may be that it has to wait for us
		}
	}}
	interrupted := make(chan error, 1)
	go func() { interrupted <- c.SetReadDeadline(time.Unix(1, 0)) }()
	p := make([]byte, 1)
	_, err = c.Read(p)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, c.SetReadDeadline(time.Time{}))
	close(heard)
	require.NoError(t, <-interrupted)
	_, err = peer.Write([]byte{1})
	require.NoError(t, err)
	_, err = c.Read(p)
	assert.NoError(t, err, "the deadline was taken away after it had been met")
}

// TestReviewIdleInbox: "an idle one does not keep room for many".
func TestReviewIdleInbox(t *testing.T) {
	withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 1024}}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		const size = 4 << 20
		s := zcrxtest.NewStream(5)
		go func() { _, _ = s.Write(peer, 0, size) }()
		p := make([]byte, 100)
		for got := 0; got < size; {
			n, err := c.Read(p)
			require.NoError(t, err)
			got += n
		}
		busy := cap(c.inbox.buffers)
		for range 1000 { // what came lately: one at a time
			_, err := peer.Write([]byte{1})
			require.NoError(t, err)
			_, err = c.Read(p)
			require.NoError(t, err)
		}
		t.Logf("room for %d buffers while busy, %d afterwards", busy, cap(c.inbox.buffers))
		assert.LessOrEqual(t, cap(c.inbox.buffers), 2*mostBatch)
	})
}

// TestReviewAllocations of a Read.
func TestReviewAllocations(t *testing.T) {
	withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 1024}}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		p, one := make([]byte, 100), []byte{1}
		read := testing.AllocsPerRun(2000, func() {
			_, _ = peer.Write(one)
			_, _ = c.Read(p)
		})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		recv := testing.AllocsPerRun(2000, func() {
			_, _ = peer.Write(one)
			b, _ := c.Recv(ctx)
			_ = b.Release()
		})
		write := testing.AllocsPerRun(2000, func() {
			_, _ = c.Write(one)
			_, _ = peer.Read(p)
		})
		t.Logf("allocations: Read %v, Recv with a context %v, Write %v", read, recv, write)
	})
}
