//go:build linux && cgo

package zcnet

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// What several tests of this package use.

// inEveryMode runs the test as a subtest for every mode that needs no interface. With -short,
// in emulated machines, it leaves out Socket mode, which depends on no kernel.
func inEveryMode(t *testing.T, test func(t *testing.T, mode zcrx.Mode)) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		if mode == zcrx.Socket && testing.Short() {
			continue
		}
		t.Run(mode.String(), func(t *testing.T) {
			if mode == zcrx.DeviceLess {
				f := zcrx.FeatureDeviceLess
				skip.Unless(t, f.String(), f.MinKernel(), zcrx.Have(f))
			}
			test(t, mode)
		})
	}
}

// withEngine runs the test with an engine in every mode that needs no interface. It closes
// the engine, and checks that the test closed its connections and that nothing leaks.
func withEngine(t *testing.T, cfg Config, test func(t *testing.T, e *Engine)) {
	inEveryMode(t, func(t *testing.T, mode zcrx.Mode) {
		fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
		cfg := cfg
		cfg.Mode = mode
		if cfg.Pool.NumBuffers == 0 {
			cfg.Pool.NumBuffers = 256
		}
		e, err := NewEngine(t.Context(), cfg)
		require.NoError(t, err)
		test(t, e)
		// A peer sees the end of a connection before the connection is off the engine's list.
		assert.Eventually(t, func() bool { return e.Stats().Connections == 0 }, 10*time.Second, time.Millisecond,
			"the test closes its connections")
		s := e.Stats()
		require.NoError(t, e.Close())
		assert.Equal(t, mode, e.Mode())
		assert.Zero(t, s.Group.Total.Outstanding)
		zcrxtest.Settled(t, fds, goroutines)
	})
}

// withConnPair is withEngine, with a connection of the engine to itself, whose ends it
// closes.
func withConnPair(t *testing.T, cfg Config, test func(t *testing.T, e *Engine, client, server *Conn)) {
	withEngine(t, cfg, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		test(t, e, client, server)
	})
}

// connPair returns both ends of a connection of the engine to itself.
func connPair(t testing.TB, e *Engine) (client, server *Conn) {
	t.Helper()
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client, err = e.Dial(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.AcceptConn(t.Context())
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return client, server
}

// peerPair returns a connection of the engine and its peer, a connection of package net.
func peerPair(t testing.TB, e *Engine) (peer *net.TCPConn, c *Conn) {
	t.Helper()
	peer, own := zcrxtest.TCPPair(t)
	c, err := e.NewConn(own)
	require.NoError(t, err)
	return peer, c
}

// fillUp writes without end. The channel gets the error that ends it.
func fillUp(c *Conn) <-chan error {
	ended := make(chan error, 1)
	go func() {
		p := make([]byte, 1<<20)
		for {
			if _, err := c.Write(p); err != nil {
				ended <- err
				return
			}
		}
	}()
	return ended
}

// echo serves the listener's connections until it is closed, sending back what they bring.
func echo(t *testing.T, ln *Listener) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		for {
			c, err := ln.AcceptConn(context.Background())
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				break
			}
			all.Go(func() {
				_, err := io.Copy(c, c)
				if err != nil {
					assert.True(t, isReset(err) || errors.Is(err, syscall.ENOTCONN), "%v", err)
				}
				_ = c.CloseWrite() // fails if the peer has reset the connection
				assert.NoError(t, c.Close())
			})
		}
		all.Wait()
	}()
	return done
}

// collect reads from peer up to the end of the stream, and sends all of it to the channel.
func collect(t *testing.T, peer io.Reader) <-chan []byte {
	got := make(chan []byte, 1)
	go func() {
		all, err := io.ReadAll(peer)
		assert.NoError(t, err)
		got <- all
	}()
	return got
}

// unsent returns the number of bytes in the socket's send queue that are not sent, because
// the peer has no room for them.
func unsent(t *testing.T, c *Conn) (n int) {
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD)
	}))
	require.NoError(t, err)
	return n
}

// isReset reports whether err is one of the two errors that a writer gets after a reset.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// preempted is a socket whose caller loses the processor after the first setReadDeadline:
// meanwhile runs then.
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

// toChannel returns a Handler that releases the buffers and sends the final error to the
// channel.
func toChannel() (Handler, <-chan error) {
	ended := make(chan error, 1)
	return func(_ *Conn, buffers []zcrx.Buffer, err error) {
		_ = zcrx.ReleaseAll(buffers)
		if err != nil {
			ended <- err
		}
	}, ended
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// ringEngine returns an engine whose connections have fibers.
func ringEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	cfg.Mode = zcrx.Provided
	if cfg.Pool.NumBuffers == 0 {
		cfg.Pool.NumBuffers = 256
	}
	e, err := NewEngine(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// within fails the test if fn takes 20 seconds.
func within(t *testing.T, what string, fn func()) bool {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
		return true
	case <-time.After(20 * time.Second):
		t.Errorf("%s does not end", what)
		return false
	}
}
