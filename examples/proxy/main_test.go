package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

// target listens, and has serve called on a goroutine for each connection, which it closes.
func target(t *testing.T, serve func(conn *net.TCPConn)) (address string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				serve(conn.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, ln.Close())
		all.Wait()
	})
	return ln.Addr().String()
}

func dialProxy(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	return conn.(*net.TCPConn)
}

// TestBothDirections has the target send back what it gets, while the client sends.
func TestBothDirections(t *testing.T) {
	to := target(t, func(conn *net.TCPConn) {
		_, err := io.Copy(conn, conn)
		assert.NoError(t, err)
	})
	address := exampletest.Serve(t, run, "-to", to, "-conns", "3")
	var all sync.WaitGroup
	for _, size := range []int{0, 1, 100, 4096, 1_000_003, 16 << 20} { // more than -conns
		all.Go(func() {
			conn, err := net.Dial("tcp", address)
			if !assert.NoError(t, err) {
				return
			}
			defer conn.Close()
			want := exampletest.Bytes(size)
			go func() {
				_, err := conn.Write(want)
				assert.NoError(t, err)
				assert.NoError(t, conn.(*net.TCPConn).CloseWrite())
			}()
			got, err := io.ReadAll(conn)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(want, got), "%d bytes of %d", len(got), size)
		})
	}
	all.Wait()
}

// TestAnswerAfterTheEnd has the target answer when it has read the end of the stream.
func TestAnswerAfterTheEnd(t *testing.T) {
	to := target(t, func(conn *net.TCPConn) {
		got, err := io.ReadAll(conn)
		assert.NoError(t, err)
		_, err = conn.Write(append([]byte("you sent "), got...))
		assert.NoError(t, err)
	})
	conn := dialProxy(t, exampletest.Serve(t, run, "-to", to))
	defer conn.Close()
	_, err := conn.Write([]byte("hello"))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "you sent hello", string(got))
}

// TestTargetResets checks that a client learns that the target is gone, and that the proxy
// still works then.
func TestTargetResets(t *testing.T) {
	var begun atomic.Bool
	to := target(t, func(conn *net.TCPConn) {
		if begun.CompareAndSwap(false, true) { // the first connection
			assert.NoError(t, conn.SetLinger(0))
			return
		}
		_, err := io.Copy(conn, conn)
		assert.NoError(t, err)
	})
	address := exampletest.Serve(t, run, "-to", to)
	conn := dialProxy(t, address)
	got, _ := io.ReadAll(conn) // the end, or a reset
	assert.Empty(t, got)
	conn.Close()

	conn = dialProxy(t, address)
	defer conn.Close()
	_, err := conn.Write([]byte("still there?"))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	got, err = io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "still there?", string(got))
}

// TestNoTarget checks that the proxy closes a connection that it cannot pass on.
func TestNoTarget(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := ln.Addr().String()
	require.NoError(t, ln.Close())
	conn := dialProxy(t, exampletest.Serve(t, run, "-to", nobody))
	defer conn.Close()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Empty(t, got)
}
