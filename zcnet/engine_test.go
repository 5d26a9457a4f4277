//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func TestUnknownNetwork(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		for _, network := range []string{"", "udp", "unix", "tcp5"} {
			_, err := e.Dial(t.Context(), network, "127.0.0.1:1")
			assert.ErrorContains(t, err, "allowed are tcp, tcp4 and tcp6")
			_, err = e.Listen(t.Context(), network, "127.0.0.1:0")
			assert.ErrorContains(t, err, "allowed are tcp, tcp4 and tcp6")
		}
		c, err := e.DialContext(t.Context(), "tcp", "127.0.0.1:0")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.Nil(t, c)
	})
}

func TestNewConnThatFails(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		require.NoError(t, e.Close())
		peer, own := zcrxtest.TCPPair(t)
		_, err := e.NewConn(own)
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = own.Write([]byte("still mine"))
		require.NoError(t, err)
		got := make([]byte, 10)
		_, err = io.ReadFull(peer, got)
		require.NoError(t, err)
		assert.Equal(t, "still mine", string(got))

		ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
		require.NoError(t, err)
		_, err = e.NewListener(ln)
		assert.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, ln.Close(), "ln still belongs to the caller")

		require.NoError(t, own.Close())
		_, err = e.NewConn(own)
		assert.ErrorIs(t, err, net.ErrClosed)
		peer.Close()
	})
	e, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Pool: zcrx.PoolConfig{NumBuffers: 8}})
	require.NoError(t, err)
	defer e.Close()
	peer, own := zcrxtest.TCPPair(t)
	peer.Close()
	own.Close()
	_, err = e.NewConn(own)
	assert.ErrorIs(t, err, net.ErrClosed, "the connection is closed, not the engine")
}

// TestPrivateEngines checks that the engines that Listen and Dial make are closed with their
// last connection, also if that is closed on a loop.
func TestPrivateEngines(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode zcrx.Mode) {
		cfg := Config{Mode: mode, Pool: zcrx.PoolConfig{NumBuffers: 64}}
		fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
		for _, onLoop := range []bool{false, true} {
			for _, listenerFirst := range []bool{false, true} {
				ln, err := Listen(t.Context(), "tcp", "127.0.0.1:0", cfg)
				require.NoError(t, err)
				client, err := Dial(t.Context(), "tcp", ln.Addr().String(), cfg)
				require.NoError(t, err)
				server, err := ln.AcceptConn(t.Context())
				require.NoError(t, err)
				if listenerFirst {
					require.NoError(t, ln.Close())
				}
				if onLoop {
					require.NoError(t, server.Handle(func(c *Conn, b []zcrx.Buffer, _ error) { _ = zcrx.ReleaseAll(b); _ = c.Close() }))
					require.NoError(t, client.Handle(func(c *Conn, b []zcrx.Buffer, _ error) { _ = zcrx.ReleaseAll(b); _ = c.Close() }))
					require.NoError(t, client.CloseWrite())
				} else {
					require.NoError(t, client.Close())
					require.NoError(t, server.Close())
				}
				if !listenerFirst {
					require.NoError(t, ln.Close())
				}
			}
		}
		zcrxtest.Settled(t, fds, goroutines)

		ln, err := Listen(t.Context(), "tcp", "127.0.0.1:0", cfg)
		require.NoError(t, err)
		address := ln.Addr().String()
		_, err = Listen(t.Context(), "tcp", address, cfg)
		assert.ErrorIs(t, err, syscall.EADDRINUSE)
		require.NoError(t, ln.Close())
		_, err = Dial(t.Context(), "tcp", address, cfg)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		zcrxtest.Settled(t, fds, goroutines)
	})
}

// TestEngineClosedUnderTraffic closes an engine whose connections are busy, and checks that
// all calls end and nothing leaks.
func TestEngineClosedUnderTraffic(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode zcrx.Mode) {
		fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
		for range 2 {
			e, err := NewEngine(t.Context(), Config{Mode: mode, Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 128}})
			require.NoError(t, err)
			ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var all sync.WaitGroup
			all.Go(func() {
				for {
					c, err := ln.AcceptConn(context.Background())
					if err != nil {
						assert.ErrorIs(t, err, net.ErrClosed)
						return
					}
					all.Go(func() {
						_, _ = io.Copy(c, c) // the error depends on which side is closed first
						_ = c.Close()
					})
				}
			})
			for range 8 {
				c, err := e.Dial(t.Context(), "tcp", ln.Addr().String())
				require.NoError(t, err)
				all.Go(func() { _, _ = io.Copy(io.Discard, c) })
				all.Go(func() { assert.Error(t, <-fillUp(c)) })
			}
			zcrxtest.Eventually(t, "bytes flow", func() bool { return e.Stats().Group.Total.Bytes > 1<<20 })
			var closers sync.WaitGroup
			for range 3 {
				closers.Go(func() { assert.NoError(t, e.Close()) })
			}
			closers.Wait()
			_, err = e.Dial(t.Context(), "tcp", ln.Addr().String())
			assert.Error(t, err)
			_, err = e.Listen(t.Context(), "tcp", "127.0.0.1:0")
			assert.ErrorIs(t, err, net.ErrClosed)
			all.Wait()
			require.NoError(t, e.Close())
			assert.Zero(t, e.Stats().Connections)
			zcrxtest.Eventually(t, "all leases are back", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
		}
		zcrxtest.Settled(t, fds, goroutines)
	})
}

// TestEngineCloseBehindListenerClose checks that Engine.Close returns no error for a
// listener that the program has closed and whose connections are open.
func TestEngineCloseBehindListenerClose(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		other, err := NewEngine(t.Context(), Config{Mode: e.Mode(), Pool: zcrx.PoolConfig{NumBuffers: 64}})
		require.NoError(t, err)
		client, server := connPair(t, other)
		require.NoError(t, other.Close())
		assert.ErrorIs(t, client.Close(), net.ErrClosed)
		assert.ErrorIs(t, server.Close(), net.ErrClosed)
	})
}
