//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func TestConnBothWays(t *testing.T) {
	withConnPair(t, Config{Loops: 2}, func(t *testing.T, e *Engine, client, server *Conn) {
		assert.Equal(t, client.LocalAddr().String(), server.RemoteAddr().String())
		assert.Equal(t, client.RemoteAddr().String(), server.LocalAddr().String())
		want := zcrxtest.Pattern(40, 3<<20)
		go func() { // echo
			_, err := io.Copy(server, server)
			assert.NoError(t, err)
			assert.NoError(t, server.CloseWrite())
		}()
		go func() {
			n, err := client.WriteBuffers(net.Buffers{want[:1], nil, want[1:5000], want[5000:]})
			assert.NoError(t, err)
			assert.EqualValues(t, len(want), n)
			assert.NoError(t, client.CloseWrite())
		}()
		var got []byte
		for b, err := range client.Buffers(t.Context()) {
			require.NoError(t, err)
			got = append(got, b.Bytes()...)
			require.NoError(t, b.Release())
		}
		require.True(t, bytes.Equal(want, got), "%d bytes", len(got))
	})
}

func TestCloseEndsWhoWaits(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
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
			time.Sleep(time.Millisecond) // long enough for some of the calls to wait already
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

// TestCloseInTheMiddle calls Close from within the loops and functions that the connection
// calls.
func TestCloseInTheMiddle(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
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
				assert.Equal(t, want, string(chunk), "a chunk is valid until its round ends")
			}
		})
		run(func(c *Conn) {
			for b, err := range c.Buffers(t.Context()) {
				if err != nil {
					assert.ErrorIs(t, err, net.ErrClosed)
					break
				}
				_ = c.Close()
				assert.NotEmpty(t, b.Bytes(), "a leased buffer stays valid")
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
					return // package net's Close waits for Control
				}
				assert.NoError(t, c.Close())
				_, err := syscall.Getsockname(int(fd))
				assert.NoError(t, err, "the fd is open until the function returns")
			}))
			_ = c.Close()
		})
	})
}

// TestDeadlineMovesWhileItIsWaitedFor moves the read deadline while Recv waits, in half of
// the rounds at the moment in which Recv's context ends.
func TestDeadlineMovesWhileItIsWaitedFor(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		for i := range 50 {
			require.NoError(t, server.SetReadDeadline(time.Time{}))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				_, err := server.Recv(ctx)
				ended <- err
			}()
			var both sync.WaitGroup
			both.Go(func() {
				assert.NoError(t, server.SetReadDeadline(time.Now().Add(time.Hour)))
				assert.NoError(t, server.SetReadDeadline(time.Time{}))
			})
			if i%2 == 0 {
				both.Go(cancel)
				assert.ErrorIs(t, <-ended, context.Canceled)
			} else {
				both.Wait()
				assert.NoError(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
				assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
			}
			both.Wait()
			cancel()
		}
		require.NoError(t, server.SetReadDeadline(time.Time{}))
		_, err := client.Write([]byte("x"))
		require.NoError(t, err)
		b, err := server.Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "x", string(b.Bytes()))
		require.NoError(t, b.Release())
	})
}

func TestCloseRead(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		_, err := client.Write([]byte("before"))
		require.NoError(t, err)
		head, err := server.Peek(t.Context(), 6)
		require.NoError(t, err)
		require.NoError(t, server.CloseRead())
		assert.Equal(t, "before", string(head))
		rest, err := io.ReadAll(server)
		require.NoError(t, err)
		assert.Equal(t, "before", string(rest))
		_, err = server.Write([]byte("the other way"))
		require.NoError(t, err)
		got, err := client.Peek(t.Context(), 13)
		require.NoError(t, err)
		assert.Equal(t, "the other way", string(got))
	})
}

func TestRawConn(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		raw, err := server.SyscallConn()
		require.NoError(t, err)
		assert.ErrorContains(t, raw.Read(func(uintptr) bool { return true }), "must not be read: take received bytes with")
		require.NoError(t, raw.Write(func(uintptr) bool { return true }))
		assert.ErrorContains(t, raw.Write(func(uintptr) bool { return false }), "not ready")
		require.NoError(t, server.Close())
		assert.ErrorIs(t, raw.Control(func(uintptr) {}), net.ErrClosed)
		assert.ErrorIs(t, raw.Write(func(uintptr) bool { return true }), net.ErrClosed)
		require.NoError(t, client.Close())
	})
}

// TestErrorsOfAClosedConn shows that they have the type that package net's have.
func TestErrorsOfAClosedConn(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		require.NoError(t, c.Close())
		for name, err := range map[string]any{ // callers assert the type
			"SetDeadline": c.SetDeadline(time.Time{}), "SetReadDeadline": c.SetReadDeadline(time.Time{}),
			"CloseWrite": c.CloseWrite(), "Close": c.Close(), "SetNoDelay": c.SetNoDelay(true),
		} {
			assert.IsType(t, &net.OpError{}, err, name)
		}
	})
}

// TestDeadlineOfAClosedConnLeavesNoTimer closes a connection while its deadline is set. A
// timer would keep the connection in memory.
func TestDeadlineOfAClosedConnLeavesNoTimer(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		c.setSocket(&preempted{socket: c.socket(), meanwhile: func() { assert.NoError(t, c.Close()) }})
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		c.readLimit.mu.Lock()
		defer c.readLimit.mu.Unlock()
		assert.Nil(t, c.readLimit.timer)
	})
}

// TestInterruptedReaderReadsOn has one goroutine interrupt another's Read by a deadline in
// the past. The reader takes the deadline away and reads on, as it may with package net.
func TestInterruptedReaderReadsOn(t *testing.T) {
	run := func(t *testing.T, peer, c net.Conn) {
		p := make([]byte, 1)
		for range zcrxtest.Volume(10_000) {
			var interrupting sync.WaitGroup
			interrupting.Go(func() {
				runtime.Gosched() // often the other one waits already
				_ = c.SetReadDeadline(time.Unix(1, 0))
			})
			_, err := c.Read(p)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.NoError(t, c.SetReadDeadline(time.Time{}))
			interrupting.Wait()
			_, err = peer.Write([]byte{1})
			require.NoError(t, err)
			_, err = c.Read(p)
			require.NoError(t, err, "the deadline was taken away")
		}
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

// TestInterrupterIsPreempted is a round of TestInterruptedReaderReadsOn in which the one who
// interrupts loses the processor between the socket's deadline and the connection's.
func TestInterrupterIsPreempted(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		goOn := make(chan struct{})
		c.setSocket(&preempted{socket: c.socket(), meanwhile: func() {
			select {
			case <-goOn:
			case <-time.After(100 * time.Millisecond): // the reader may have to wait for us
			}
		}})
		interrupted := make(chan error, 1)
		go func() { interrupted <- c.SetReadDeadline(time.Unix(1, 0)) }()
		p := make([]byte, 1)
		_, err := c.Read(p)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Time{}))
		close(goOn)
		require.NoError(t, <-interrupted)
		_, err = peer.Write([]byte{1})
		require.NoError(t, err)
		_, err = c.Read(p)
		assert.NoError(t, err, "the deadline was taken away after it had been met")
	})
}
