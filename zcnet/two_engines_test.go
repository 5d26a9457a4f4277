//go:build linux && cgo

package zcnet

import (
	"errors"
	"io"
	"iter"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// onEveryOther runs the test with an engine of every mode, and another engine of every mode
// with loops, on one of which a Handler calls.
func onEveryOther(t *testing.T, test func(t *testing.T, e *Engine, onLoop func(func()))) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		for _, mode := range []zcrx.Mode{zcrx.Provided, zcrx.DeviceLess} {
			if mode == zcrx.DeviceLess && zcrx.Have(zcrx.FeatureDeviceLess) != nil {
				continue
			}
			other, err := NewEngine(t.Context(), Config{Mode: mode, Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 64}})
			require.NoError(t, err)
			test(t, e, func(fn func()) {
				done := make(chan struct{})
				require.NoError(t, other.Group().Loops()[0].Post(func() { fn(); close(done) }))
				<-done
			})
			require.NoError(t, other.Close())
		}
	})
}

// TestOtherEnginesConnectionsDoNotBlockALoop calls what would wait on another engine's loop.
func TestOtherEnginesConnectionsDoNotBlockALoop(t *testing.T) {
	onEveryOther(t, func(t *testing.T, e *Engine, onLoop func(func())) {
		peer, c := peerPair(t, e)
		p := make([]byte, 1<<20)
		var err error
		onLoop(func() {
			for n := 0; err == nil && n < 1<<10; n++ {
				_, err = c.Write(p)
			}
		})
		require.ErrorIs(t, err, ErrWouldBlock, "nobody reads from it")
		onLoop(func() { err = c.Close() })
		require.NoError(t, err)
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
	})
}

// TestTwoEnginesCloseEachOthersConnections has the Handlers of two engines close connections
// of the other one.
func TestTwoEnginesCloseEachOthersConnections(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		other, err := NewEngine(t.Context(), Config{Mode: e.Mode(), Loops: 1})
		require.NoError(t, err)
		var all sync.WaitGroup
		for range 100 {
			peerA, a := peerPair(t, e)
			peerB, b := peerPair(t, other)
			handle := func(c, to *Conn) {
				require.NoError(t, c.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
					_ = zcrx.ReleaseAll(buffers)
					if err == nil {
						_ = to.Close()
					}
				}))
			}
			handle(a, b)
			handle(b, a)
			for _, peer := range []*net.TCPConn{peerA, peerB} {
				all.Go(func() {
					_, _ = peer.Write([]byte{1})
					_, _ = io.Copy(io.Discard, peer) // until it is closed
					_ = peer.Close()
				})
			}
			defer a.Close()
			defer b.Close()
		}
		// Of two that close each other at the same time, one may be left: the message that
		// would have had it closed came to a closed connection.
		time.AfterFunc(500*time.Millisecond, func() { _ = other.Close(); _ = e.Close() })
		all.Wait()
		require.NoError(t, other.Close())
		zcrxtest.Eventually(t, "no Close is under way", func() bool { return e.Stats().Connections == 0 })
	})
}

// TestCloseWithLingerLeavesTheLoopAlone closes a connection whose written bytes nobody takes,
// on its own loop, with a long SO_LINGER: the loop's other connections go on meanwhile.
func TestCloseWithLingerLeavesTheLoopAlone(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // no loop
		}
		peer, c := peerPair(t, e)
		require.NoError(t, c.SetLinger(30))
		p := make([]byte, 1<<20)
		var err error
		loop := e.Group().Loops()[0]
		closed := make(chan struct{})
		require.NoError(t, loop.Post(func() {
			for err == nil {
				_, err = c.Write(p)
			}
			_ = c.Close()
			close(closed)
		}))
		<-closed
		require.ErrorIs(t, err, ErrWouldBlock)
		otherPeer, other := peerPair(t, e)
		_, err = otherPeer.Write([]byte("on"))
		require.NoError(t, err)
		require.NoError(t, other.SetReadDeadline(time.Now().Add(zcrxtest.Patience/2)))
		_, err = io.ReadFull(other, p[:2])
		require.NoError(t, err, "less than the 30 seconds of SO_LINGER")
		require.NoError(t, other.Close())
		require.NoError(t, otherPeer.Close())
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close()) // a reset ends the lingering
	})
}

// TestCloseWithInheritedLinger is the same with SO_LINGER from the listening socket, which the
// program made.
func TestCloseWithInheritedLinger(t *testing.T) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 30})
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, 200_000)
		})
	}}
	e := ringEngine(t, Config{Loops: 1})
	own, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ln, err := e.NewListener(own.(*net.TCPListener))
	require.NoError(t, err)
	defer ln.Close()
	peer := dialNet(t, ln.Addr().String())
	defer func() { _ = peer.SetLinger(0); _ = peer.Close() }() // a reset ends the lingering
	require.NoError(t, peer.SetReadBuffer(4096))
	c, err := ln.AcceptConn(t.Context())
	require.NoError(t, err)
	loop := e.Group().Loops()[0]
	ran := make(chan struct{})
	require.NoError(t, loop.Post(func() {
		for err == nil {
			_, err = c.Write(make([]byte, 1<<20))
		}
		_ = c.Close()
		_ = loop.Post(func() { close(ran) })
	}))
	select {
	case <-ran:
	case <-time.After(zcrxtest.Patience / 2): // less than the 30 seconds
		t.Error("close(2) stops the loop")
	}
}

// TestEngineOfListenLivesWithDialledConnections closes the listener whose engine a connection
// was dialled with.
func TestEngineOfListenLivesWithDialledConnections(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		server, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer server.Close()
		ln, err := Listen(t.Context(), "tcp", "127.0.0.1:0", Config{Mode: e.Mode(), Loops: 1})
		require.NoError(t, err)
		c, err := ln.Engine().Dial(t.Context(), "tcp", server.Addr().String())
		require.NoError(t, err)
		peer, err := server.Accept()
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		_, err = peer.Write([]byte("still"))
		require.NoError(t, err)
		p := make([]byte, 5)
		_, err = io.ReadFull(c, p)
		require.NoError(t, err)
		assert.Equal(t, "still", string(p))
		_, err = ln.Engine().Dial(t.Context(), "tcp", server.Addr().String())
		require.ErrorIs(t, err, net.ErrClosed, "it is about to end")
		_, ok := errors.AsType[*net.OpError](err)
		assert.True(t, ok, "%T", err)
		require.NoError(t, c.Close())
		require.NoError(t, peer.Close())
	})
}

// TestEngineCloseEndsDial dials an address that never answers: a listener whose queue is full.
func TestEngineCloseEndsDial(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		address, closeListener := fullListener(t)
		defer closeListener()
		own, err := NewEngine(t.Context(), Config{Mode: e.Mode(), Loops: 1})
		require.NoError(t, err)
		dialled := make(chan error, 1)
		go func() {
			_, err := own.Dial(t.Context(), "tcp", address)
			dialled <- err
		}()
		time.Sleep(50 * time.Millisecond) // it connects
		require.NoError(t, own.Close())
		err = <-dialled
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = own.Dial(t.Context(), "tcp", address)
		assert.ErrorIs(t, err, net.ErrClosed, "without connecting first")
	})
}

// fullListener returns the address of a socket that listens with room for one connection,
// which is there.
func fullListener(t *testing.T) (address string, closeAll func()) {
	t.Helper()
	var conns []net.Conn
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	sa, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	address = (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: sa.(*syscall.SockaddrInet4).Port}).String()
	for range 2 {
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			break
		}
		conns = append(conns, c)
	}
	return address, func() {
		_ = syscall.Close(fd)
		for _, c := range conns {
			_ = c.Close()
		}
	}
}

// TestTimeoutOfTheConnectionIsATimeout has TCP give up on a peer that has vanished.
func TestTimeoutOfTheConnectionIsATimeout(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		err := c.opError("read", &zcrx.KernelError{Op: "receive", Errno: syscall.ETIMEDOUT})
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		err = c.opError("read", &zcrx.KernelError{Op: "receive", Errno: syscall.ECONNRESET})
		require.ErrorAs(t, err, &timeout)
		assert.False(t, timeout.Timeout())
		require.NoError(t, c.Close())
	})
}

// inCoroutine runs fn in a coroutine of the caller.
func inCoroutine(fn func()) {
	next, stop := iter.Pull(func(func(int) bool) { fn() })
	defer stop()
	next()
}

// A coroutine in a Handler, in a program without fibers, does not wait either.
func TestCoroutinesOfHandlersDoNotBlockALoop(t *testing.T) {
	was := codeOnLoops.Swap(false)
	defer codeOnLoops.Store(was)
	withEngine(t, Config{Loops: 1}, func(t *testing.T, other *Engine) {
		own := ringEngine(t, Config{Loops: 1})
		peer, c := peerPair(t, other)
		ownPeer, handled := peerPair(t, own)
		results := make(chan error, 2)
		codeOnLoops.Store(false) // as it is before the first Handler
		require.NoError(t, handled.Handle(func(handled *Conn, buffers []zcrx.Buffer, err error) {
			if _ = zcrx.ReleaseAll(buffers); err != nil {
				return
			}
			_, _ = handled.Write([]byte("queued"))
			inCoroutine(func() {
				_, err := handled.Write([]byte("its own connection"))
				results <- err
				for err = nil; err == nil; {
					_, err = c.Write(make([]byte, 1<<20))
				}
				results <- err
			})
		}))
		_, err := ownPeer.Write([]byte("x"))
		require.NoError(t, err)
		within(t, "its own connection", func() { assert.ErrorIs(t, <-results, ErrWouldBlock) })
		within(t, "another engine's connection", func() { assert.ErrorIs(t, <-results, ErrWouldBlock) })
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
		require.NoError(t, c.Close())
		require.NoError(t, handled.Close())
		require.NoError(t, ownPeer.Close())
		require.NoError(t, own.Close())
	})
}
