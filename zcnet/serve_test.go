//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"iter"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// While MaxConns functions run, connections wait in the kernel's queue and take no fds.
func TestMaxConnsLeavesOthersInTheQueue(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1, MaxConns: 1})
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	free := make(chan struct{})
	go func() { _ = ln.Serve(t.Context(), func(*Conn) { Await(func() { <-free }) }) }()
	first := dialNet(t, ln.Addr().String())
	defer first.Close()
	require.Eventually(t, func() bool { return e.Stats().Fibers.Open == 1 }, time.Minute, time.Millisecond)
	var peers []net.Conn
	release := make(chan struct{})
	require.NoError(t, e.Group().Loops()[0].Post(func() { <-release }))
	for range 200 {
		peers = append(peers, dialNet(t, ln.Addr().String()))
	}
	fds := zcrxtest.OpenFDs(t)
	close(release)
	time.Sleep(300 * time.Millisecond)
	assert.LessOrEqual(t, zcrxtest.OpenFDs(t)-fds, 3)
	close(free)
	for _, p := range peers {
		_, err := p.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		p.Close()
	}
	require.NoError(t, ln.Shutdown(t.Context()))
}

// Another process that shares the listening socket must be able to accept as before.
func TestServeLeavesASharedListenerAlone(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	own, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	file, err := own.(*net.TCPListener).File()
	require.NoError(t, err)
	other, err := net.FileListener(file) // as another process would have it
	require.NoError(t, err)
	file.Close()
	ln, err := e.NewListener(own.(*net.TCPListener))
	require.NoError(t, err)
	go func() { _ = ln.Serve(context.Background(), func(*Conn) {}) }()
	accepted := make(chan error, 1)
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				accepted <- err
				return
			}
			c.Close()
		}
	}()
	for range 100 {
		c := dialNet(t, own.Addr().String())
		_, _ = c.Read(make([]byte, 1))
		c.Close()
	}
	if !within(t, "Close of the other listener", func() { other.Close(); <-accepted }) {
		dialNet(t, ln.Addr().String()).Close()
	}
	ln.Close()
}

// A fiber that accepts does not keep its loop from going on.
func TestAcceptInAFiber(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var begun atomic.Bool
	address, stop := serve(t, e, func(c *Conn) {
		if begun.Swap(true) {
			_, _ = c.WriteTo(c)
			return
		}
		d, err := ln.AcceptConn(context.Background())
		if assert.NoError(t, err) {
			_, _ = d.WriteTo(d)
			assert.NoError(t, d.Close())
		}
	})
	peer := dialNet(t, address)
	defer peer.Close()
	zcrxtest.Eventually(t, "the fiber accepts", begun.Load)
	within(t, "another connection", func() { exchange(t, address, 1, 1000) })
	exchange(t, ln.Addr().String(), 1, 1000)
	assert.NoError(t, ln.Close())
	peer.Close()
	stop()
}

// In a Handler, which may not wait, calls that wait for others return ErrWouldBlock.
func TestCallsThatWaitInAHandler(t *testing.T) {
	withConnPair(t, Config{Loops: 1}, func(t *testing.T, e *Engine, client, server *Conn) {
		if e.Mode() == zcrx.Socket {
			return // a Handler runs on a goroutine
		}
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		results := make(chan error, 3)
		require.NoError(t, server.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
			_ = zcrx.ReleaseAll(buffers)
			if err != nil {
				return
			}
			_, err = ln.AcceptConn(context.Background())
			results <- err
			results <- ln.Shutdown(context.Background())
			results <- e.Close()
		}))
		_, err = client.Write([]byte("x"))
		require.NoError(t, err)
		require.ErrorIs(t, <-results, ErrWouldBlock)
		require.ErrorIs(t, <-results, ErrWouldBlock)
		require.ErrorIs(t, <-results, errClosedOnLoop)
		require.NoError(t, ln.Close())
	})
}

// Shutdown in a fiber of the listener waits for that, until its context ends.
func TestShutdownInAFiber(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served, result := make(chan error, 1), make(chan error, 1)
	go func() {
		served <- ln.Serve(context.Background(), func(c *Conn) {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			result <- ln.Shutdown(ctx)
		})
	}()
	peer := dialNet(t, ln.Addr().String())
	defer peer.Close()
	within(t, "Shutdown", func() { assert.Error(t, <-result); <-served })
}

func TestGoInACoroutine(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	address, stop := serve(t, e, func(c *Conn) {
		ran := make(chan struct{})
		next, end := iter.Pull(func(yield func(error) bool) {
			yield(c.Go(func(*Conn) { close(ran) }))
		})
		defer end()
		err, _ := next()
		assert.NoError(t, err)
		Await(func() { <-ran })
		_, err = c.Write([]byte("done"))
		assert.NoError(t, err)
	})
	peer := dialNet(t, address)
	defer peer.Close()
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	assert.Equal(t, "done", string(got))
	stop()
}
