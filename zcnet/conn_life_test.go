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
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// How connections, listeners and engines begin and end.

// peerPair is a connection of the engine, and its peer outside.
func peerPair(t testing.TB, e *Engine) (peer *net.TCPConn, c *Conn) {
	t.Helper()
	peer, own := zcrxtest.TCPPair(t)
	c, err := e.NewConn(own)
	require.NoError(t, err)
	return peer, c
}

// fillUp writes until the socket takes no more, and returns how the write ends.
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

func TestCloseEndsWhoWaits(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		for range 10 {
			peer, c := peerPair(t, e)
			calls := []func() error{
				func() error { _, err := c.Recv(context.Background()); return err },
				func() error { _, err := c.Read(make([]byte, 1)); return err },
				func() error { _, err := c.Peek(context.Background(), 1); return err },
				func() error { _, err := c.WriteTo(io.Discard); return err },
				func() error { return <-fillUp(c) },
				func() error { return <-fillUp(c) },
			}
			ends := make(chan error)
			for _, call := range calls {
				go func() { ends <- call() }()
			}
			time.Sleep(time.Millisecond) // some wait already, some do not
			closes := make(chan error)
			for range 4 {
				go func() { closes <- c.Close() }()
			}
			good := 0
			for range 4 {
				if err := <-closes; err == nil {
					good++
				} else {
					assert.ErrorIs(t, err, net.ErrClosed)
				}
			}
			assert.Equal(t, 1, good)
			for range calls {
				assert.ErrorIs(t, <-ends, net.ErrClosed)
			}
			for _, err := range []error{
				c.Close(), c.CloseRead(), c.CloseWrite(), c.SetDeadline(time.Time{}), c.SetNoDelay(true),
			} {
				assert.ErrorIs(t, err, net.ErrClosed)
			}
			_, err := c.Write(nil)
			assert.ErrorIs(t, err, net.ErrClosed)
			peer.Close()
		}
	})
}

// TestCloseInTheMiddle of what its own caller is doing.
func TestCloseInTheMiddle(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		run := func(what func(c *Conn)) {
			peer, c := peerPair(t, e)
			_, err := peer.Write(zcrxtest.Pattern(1, 100_000))
			require.NoError(t, err)
			_, err = c.Peek(t.Context(), 100)
			require.NoError(t, err)
			what(c)
			_, err = c.Recv(t.Context())
			assert.ErrorIs(t, err, net.ErrClosed)
			peer.Close()
		}
		run(func(c *Conn) {
			for chunk, err := range c.Chunks(t.Context(), 50) {
				assert.NoError(t, err)
				want := string(chunk)
				assert.NoError(t, c.Close())
				assert.Equal(t, want, string(chunk), "it is valid up to the end of its round")
			}
		})
		run(func(c *Conn) {
			for b, err := range c.Buffers(t.Context()) {
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					break
				}
				_ = c.Close()
				assert.NotEmpty(t, b.Bytes(), "what is out stays")
				assert.NoError(t, b.Release())
			}
		})
		run(func(c *Conn) {
			n, err := c.WriteTo(writerFunc(func(p []byte) (int, error) { return 7, c.Close() }))
			assert.ErrorIs(t, err, io.ErrShortWrite)
			assert.EqualValues(t, 7, n)
		})
		run(func(c *Conn) {
			raw, err := c.SyscallConn()
			require.NoError(t, err)
			assert.NoError(t, raw.Control(func(fd uintptr) {
				if e.Mode() == zcrx.Socket {
					return // package net waits
				}
				assert.NoError(t, c.Close())
				_, err := syscall.Getsockname(int(fd))
				assert.NoError(t, err, "it is open as long as it is used")
			}))
			_ = c.Close()
		})
	})
}

// TestEngineClosedUnderTraffic ends everybody, and leaves nothing.
func TestEngineClosedUnderTraffic(t *testing.T) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == zcrx.DeviceLess {
				needDeviceLess(t)
			}
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
							_, _ = io.Copy(c, c) // it ends with whichever side is closed first
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
				zcrxtest.Eventually(t, "all are back", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
			}
			zcrxtest.Settled(t, fds, goroutines)
		})
	}
}

func TestNewConnThatFails(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
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
		require.NoError(t, ln.Close(), "it was still the caller's")

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
	assert.ErrorIs(t, err, net.ErrClosed, "of the connection")
}

// TestPrivateEngines end with their last connection, wherever that is closed.
func TestPrivateEngines(t *testing.T) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == zcrx.DeviceLess {
				needDeviceLess(t)
			}
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
}

func TestListenerClose(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
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

// TestConnectionsOutliveTheirListener, and an engine that is closed ends them.
func TestConnectionsOutliveTheirListener(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e) // the listener is closed
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
		require.NoError(t, e.Close(), "a listener that is closed is no error")
		assert.ErrorIs(t, server.Close(), net.ErrClosed)
		assert.ErrorIs(t, client.Close(), net.ErrClosed)
		<-served // it ends with whichever is closed first
	})
}

func TestShutdown(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		listen := func() (*Listener, *net.TCPConn, *Conn) {
			ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			peer, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			c, err := ln.AcceptConn(t.Context())
			require.NoError(t, err)
			return ln, peer.(*net.TCPConn), c
		}
		// Gracefully: whoever is served is served to the end.
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
			t.Fatal("it did not wait")
		default:
		}
		require.NoError(t, c.Close())
		require.NoError(t, <-done)
		require.NoError(t, <-done)
		got, err := io.ReadAll(peer)
		require.NoError(t, err)
		assert.Equal(t, "last words", string(got))
		peer.Close()
		require.NoError(t, ln.Shutdown(t.Context()), "once more: nothing is left")

		// Out of patience.
		ln, peer, c = listen()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- ln.Shutdown(ctx) }()
		<-ln.ended
		cancel()
		assert.ErrorIs(t, <-done, context.Canceled)
		assert.ErrorIs(t, c.Close(), net.ErrClosed)
		assert.Zero(t, ln.Stats().Open)
		peer.Close()

		// Nobody there.
		ln, err = e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, ln.Shutdown(t.Context()))
	})
}

// TestResetBeforeAccept: the listener survives it, and whoever accepts is told.
func TestResetBeforeAccept(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
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

// TestPassingAcceptErrors has the system's table full: ENFILE cannot be brought about
// without harming others.
func TestPassingAcceptErrors(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ECONNABORTED} {
		assert.True(t, passingAcceptError(&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", errno)}))
	}
	for _, err := range []error{syscall.EBADF, syscall.EINVAL, net.ErrClosed, errors.New("other")} {
		assert.False(t, passingAcceptError(err))
	}
}

const fewFDsChild = "ZCRX_TEST_FEW_FDS"

// TestFewFDs accepts in a process that has no free fd, until it has one again.
func TestFewFDs(t *testing.T) {
	if mode := os.Getenv(fewFDsChild); mode != "" {
		acceptWithFewFDs(t, mode)
		return
	}
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
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
	zcrxtest.Eventually(t, "the acceptor holds a connection, which needs no fd any more", func() bool { return ln.Stats().Accepted == 1 })
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
	var conns []*Conn
	accept := func() {
		c, err := ln.AcceptConn(t.Context())
		require.NoError(t, err)
		conns = append(conns, c)
	}
	accept()
	zcrxtest.Eventually(t, "the acceptor notices", func() bool { return ln.Stats().Retries > 1 })
	for _, f := range hogs {
		f.Close()
	}
	for range peers[1:] {
		accept()
	}
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

// TestMoveUnderTraffic takes a connection round and round while it sends and
// receives, its writer waiting for room most of the time.
func TestMoveUnderTraffic(t *testing.T) {
	inEveryConnMode(t, Config{Loops: 3, Pool: zcrx.PoolConfig{NumBuffers: 64}, SendZeroCopyFrom: 1 << 16}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		if e.Mode() == zcrx.Socket {
			assert.ErrorContains(t, server.socket.moveTo(t.Context(), nil), "is on no loop")
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
			return
		}
		server.socket.(*ringSocket).evenIfCopied = true
		const total = 8 << 20
		s := zcrxtest.NewStream(50)
		var all sync.WaitGroup
		for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
			all.Go(func() {
				_, err := s.Write(ends[0], 0, total)
				assert.NoError(t, err)
				assert.NoError(t, ends[0].CloseWrite())
			})
			all.Go(func() { s.AssertRead(t, ends[1], total) })
		}
		moves := 0
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			loops := e.Group().Loops()
			for ; ; moves++ {
				if server.socket.moveTo(context.Background(), loops[moves%len(loops)]) != nil {
					return // at the end of the stream
				}
			}
		}()
		all.Wait()
		<-moved
		assert.Greater(t, moves, 3)
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	})
}

// TestMoveToALoopThatGoes ends the connection, in whatever moment that happens.
func TestMoveToALoopThatGoes(t *testing.T) {
	inEveryConnMode(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // it is on no loop
		}
		for i := range 12 {
			l, err := zcrx.NewLoop(zcrx.LoopConfig{})
			require.NoError(t, err)
			p, err := zcrx.OpenPool(t.Context(), l, e.Mode(), zcrx.Queue{}, zcrx.PoolConfig{NumBuffers: 16})
			require.NoError(t, err)
			client, server := connPair(t, e)
			written := fillUp(server)
			h, ended := toChannel()
			if i%2 == 0 {
				require.NoError(t, server.Handle(h))
			}
			move := make(chan error)
			go func() { move <- server.socket.(*ringSocket).MoveTo(context.Background(), p) }()
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * 20 * time.Microsecond)
			}
			require.NoError(t, l.Close())
			if err := <-move; err != nil {
				assert.ErrorIs(t, err, zcrx.ErrClosed)
			}
			if i%2 == 0 {
				assert.ErrorIs(t, <-ended, net.ErrClosed)
			} else {
				_, err := server.Recv(t.Context())
				assert.ErrorIs(t, err, net.ErrClosed)
			}
			assert.ErrorIs(t, <-written, net.ErrClosed)
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
		}
	})
}
