//go:build linux && cgo

package zcnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func TestListenerClose(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = ln.AcceptConn(ended)
		assert.ErrorIs(t, err, context.Canceled)
		waits := make(chan error)
		for range 3 {
			go func() {
				c, err := ln.Accept()
				assert.Nil(t, c)
				waits <- err
			}()
		}
		closes := make(chan error)
		for range 3 {
			go func() { closes <- ln.Close() }()
		}
		good := 0
		for range 3 {
			if err := <-closes; err == nil {
				good++
			} else {
				assert.ErrorIs(t, err, net.ErrClosed)
			}
			assert.ErrorIs(t, <-waits, net.ErrClosed)
		}
		assert.Equal(t, 1, good)
	})
}

// TestConnectionsOutliveTheirListener checks that closing a listener leaves its connections
// open, and that closing the engine closes them.
func TestConnectionsOutliveTheirListener(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e) // which has closed its listener
		served := make(chan error)
		go func() {
			_, err := io.Copy(server, server)
			served <- err
		}()
		_, err := client.Write([]byte("there"))
		require.NoError(t, err)
		got := make([]byte, 5)
		_, err = io.ReadFull(client, got)
		require.NoError(t, err)
		assert.Equal(t, "there", string(got))
		assert.Equal(t, 2, e.Stats().Connections)
		require.NoError(t, e.Close(), "a listener that is closed before is not an error")
		assert.ErrorIs(t, server.Close(), net.ErrClosed)
		assert.ErrorIs(t, client.Close(), net.ErrClosed)
		<-served
	})
}

func TestShutdown(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		listen := func() (*Listener, *net.TCPConn, *Conn) {
			ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			peer, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			c, err := ln.AcceptConn(t.Context())
			require.NoError(t, err)
			return ln, peer.(*net.TCPConn), c
		}
		// The connection ends before the context.
		ln, peer, c := listen()
		done := make(chan error)
		for range 2 {
			go func() { done <- ln.Shutdown(t.Context()) }()
		}
		<-ln.ended
		_, err := c.Write([]byte("last words"))
		require.NoError(t, err)
		select {
		case <-done:
			t.Fatal("Shutdown did not wait for the connection")
		default:
		}
		require.NoError(t, c.Close())
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		got, err := io.ReadAll(peer)
		require.NoError(t, err)
		assert.Equal(t, "last words", string(got))
		peer.Close()
		require.NoError(t, ln.Shutdown(t.Context()), "a second time: nothing is left to wait for")

		// The context ends before the connection.
		ln, peer, c = listen()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- ln.Shutdown(ctx) }()
		<-ln.ended
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
		assert.ErrorIs(t, c.Close(), net.ErrClosed)
		assert.Zero(t, ln.Stats().Open)
		peer.Close()

		// There is no connection.
		ln, err = e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, ln.Shutdown(t.Context()))
	})
}

// TestResetBeforeAccept checks that connections that were reset before accept are returned,
// that reading them returns the reset, and that the listener goes on.
func TestResetBeforeAccept(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		for range 20 {
			d, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			require.NoError(t, d.(*net.TCPConn).SetLinger(0))
			d.Close()
		}
		for range 20 {
			c, err := ln.AcceptConn(t.Context())
			require.NoError(t, err)
			_, err = c.Recv(t.Context())
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			require.NoError(t, c.Close())
		}
		assert.EqualValues(t, 20, ln.Stats().Accepted)
		require.NoError(t, ln.Close())
	})
}

// TestTemporaryAcceptErrors looks at errors by themselves, because a test cannot cause
// ENFILE without disturbing other programs.
func TestTemporaryAcceptErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ECONNABORTED} {
		assert.True(t, isTemporaryAcceptError(&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}))
	}
	for _, err := range []error{syscall.EBADF, syscall.EINVAL, net.ErrClosed, errors.New("other")} {
		assert.False(t, isTemporaryAcceptError(err))
	}
}

const fewFDsChild = "ZCRX_TEST_FEW_FDS"

// TestFewFDs checks that a listener in a process without free fds goes on once there are
// some. It runs in a child process.
func TestFewFDs(t *testing.T) {
	if mode := os.Getenv(fewFDsChild); mode != "" {
		acceptWithFewFDs(t, mode)
		return
	}
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFewFDs$", "-test.v")
		cmd.Env = append(os.Environ(), fewFDsChild+"="+e.Mode().String())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "survived")
	})
}

func acceptWithFewFDs(t *testing.T, name string) {
	mode, err := zcrx.ParseMode(name)
	require.NoError(t, err)
	e, err := NewEngine(t.Context(), Config{Mode: mode, Pool: zcrx.PoolConfig{NumBuffers: 64}})
	require.NoError(t, err)
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var peers []net.Conn
	for range 8 {
		d, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		peers = append(peers, d)
	}
	var conns []*Conn
	accept := func() {
		c, err := ln.AcceptConn(t.Context())
		require.NoError(t, err)
		conns = append(conns, c)
	}
	accept()
	var hogs []*os.File
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 64, Max: 64}))
	for {
		f, err := os.Open("/dev/null")
		if err != nil {
			require.ErrorIs(t, err, syscall.EMFILE)
			break
		}
		hogs = append(hogs, f)
	}
	others := make(chan struct{})
	go func() {
		defer close(others)
		for range peers[1:] { // the first of them may have been accepted before
			accept()
		}
	}()
	zcrxtest.Eventually(t, "accept fails", func() bool { return ln.Stats().Retries > 1 })
	for _, f := range hogs {
		f.Close()
	}
	<-others
	for i, p := range peers {
		require.NoError(t, conns[i].Close())
		_, err = p.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF)
		p.Close()
	}
	require.NoError(t, ln.Close())
	require.NoError(t, e.Close())
	fmt.Println("survived " + strings.ToLower(name))
}

// TestConnectionsThatWaitToBeAcceptedHoldNothing: a connection that no AcceptConn has
// returned takes no buffer from one that is served, however small the pool.
func TestConnectionsThatWaitToBeAcceptedHoldNothing(t *testing.T) {
	withEngine(t, Config{Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 4}}, func(t *testing.T, e *Engine) {
		const size = 1 << 20
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer ln.Close()
		s := zcrxtest.NewStream(8)
		var senders sync.WaitGroup
		for range 3 {
			peer, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			senders.Go(func() {
				_, err := s.Write(peer, 0, size)
				assert.NoError(t, err)
				assert.NoError(t, peer.Close())
			})
		}
		for range 3 {
			c, err := ln.AcceptConn(t.Context())
			require.NoError(t, err)
			s.AssertRead(t, c, size)
			require.NoError(t, c.Close())
		}
		senders.Wait()
		assert.EqualValues(t, 3, ln.Stats().Accepted)
	})
}
