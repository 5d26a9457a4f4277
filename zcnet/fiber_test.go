//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// serve listens and runs fn for each connection. It returns the address. The listener ends
// with stop, which waits for Serve and for the functions.
func serve(t testing.TB, e *Engine, fn func(*Conn)) (address string, stop func()) {
	t.Helper()
	ln, err := e.Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- ln.Serve(context.Background(), fn) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			assert.NoError(t, ln.Shutdown(context.Background()))
			assert.ErrorIs(t, <-served, net.ErrClosed)
		})
	}
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

// noFibers waits until every function has ended, which is soon after its connection is closed.
func noFibers(t *testing.T, e *Engine) {
	t.Helper()
	assert.Eventually(t, func() bool { return e.Stats().Fibers.Open == 0 }, time.Minute, time.Millisecond)
}

func dialNet(t testing.TB, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	return c.(*net.TCPConn)
}

func TestServeEchoes(t *testing.T) {
	withEngine(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		echoWith := map[string]func(c *Conn){
			"Read and Write": func(c *Conn) {
				p := make([]byte, 8192)
				for {
					n, err := c.Read(p)
					if err != nil {
						return
					}
					if _, err := c.Write(p[:n]); err != nil {
						return
					}
				}
			},
			"Buffers and Send": func(c *Conn) {
				for b, err := range c.Buffers(context.Background()) {
					if err != nil || c.Send(b) != nil {
						return
					}
				}
			},
			"WriteTo": func(c *Conn) { _, _ = c.WriteTo(c) },
			"Chunks": func(c *Conn) {
				for chunk, err := range c.Chunks(context.Background(), 1<<30) {
					if err != nil {
						return
					}
					if _, err := c.Write(chunk); err != nil {
						return
					}
				}
			},
			"Peek and Discard": func(c *Conn) {
				for {
					p, err := c.Peek(context.Background(), 1)
					if err != nil {
						return
					}
					if _, err := c.Write(p); err != nil {
						return
					}
					if _, err := c.Discard(context.Background(), len(p)); err != nil {
						return
					}
				}
			},
		}
		for name, fn := range echoWith {
			t.Run(name, func(t *testing.T) {
				address, stop := serve(t, e, fn)
				size := 1 << 20
				if strings.HasPrefix(name, "Peek") {
					size = 2000
				}
				var all sync.WaitGroup
				for i := range 8 {
					all.Go(func() { exchange(t, address, int64(i), size) })
				}
				all.Wait()
				stop()
				noFibers(t, e)
			})
		}
	})
}

// exchange sends size bytes to an echo server and compares what comes back.
func exchange(t *testing.T, address string, seed int64, size int) {
	c, err := net.Dial("tcp", address)
	if !assert.NoError(t, err) {
		return
	}
	defer c.Close()
	want := pattern(seed, size)
	go func() {
		_, err := c.Write(want)
		assert.NoError(t, err)
		assert.NoError(t, c.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(c)
	assert.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "%d bytes come back, of %d", len(got), len(want))
}

// pattern returns size bytes that differ with seed.
func pattern(seed int64, size int) []byte {
	p := make([]byte, size)
	x := uint64(seed)*2654435761 + 1
	for i := range p {
		x = x*6364136223846793005 + 1442695040888963407
		p[i] = byte(x >> 56)
	}
	return p
}

// TestFiberWritesMuch writes more than the peer reads at first: the fiber waits, its loop
// goes on, and every byte arrives in order.
func TestFiberWritesMuch(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		big := pattern(1, 8<<20)
		address, stop := serve(t, e, func(c *Conn) {
			for rest := big; len(rest) > 0; {
				n := min(len(rest), 1+len(rest)%70_000) // small ones and large ones
				w, err := c.Write(rest[:n])
				assert.NoError(t, err)
				assert.Equal(t, n, w)
				rest = rest[n:]
			}
			_, err := c.WriteBuffers(net.Buffers{big[:10], nil, big[10:100_000]})
			assert.NoError(t, err)
		})
		slow := dialNet(t, address)
		defer slow.Close()
		fast := dialNet(t, address)
		got, err := io.ReadAll(fast) // the other connection does not stop this one
		require.NoError(t, err)
		fast.Close()
		assert.True(t, bytes.Equal(append(bytes.Clone(big), big[:100_000]...), got))
		got, err = io.ReadAll(slow)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(append(bytes.Clone(big), big[:100_000]...), got))
		stop()
	})
}

// TestFiberWriteDeadline ends a large write when its peer does not read. What the kernel took
// is counted exactly.
func TestFiberWriteDeadline(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		big := pattern(2, 32<<20)
		written := make(chan int, 1)
		again := make(chan struct{})
		address, stop := serve(t, e, func(c *Conn) {
			_, err := c.Write([]byte("head"))
			assert.NoError(t, err)
			assert.NoError(t, c.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
			n, err := c.Write(big)
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.NoError(t, c.SetWriteDeadline(time.Time{}))
			Await(func() { <-again })
			_, err = c.Write([]byte("tail"))
			assert.NoError(t, err)
			written <- n
		})
		peer := dialNet(t, address)
		defer peer.Close()
		require.Eventually(t, func() bool { return e.Stats().Fibers.Started > 0 }, time.Minute, time.Millisecond)
		time.AfterFunc(300*time.Millisecond, func() { close(again) })
		time.Sleep(200 * time.Millisecond)
		got, err := io.ReadAll(peer)
		require.NoError(t, err)
		want := "head" + string(big[:<-written]) + "tail"
		assert.True(t, bytes.Equal([]byte(want), got), "%d bytes, of %d", len(got), len(want))
		stop()
	})
}

func TestFiberReadDeadline(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		address, stop := serve(t, e, func(c *Conn) {
			p := make([]byte, 10)
			assert.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Millisecond)))
			_, err := c.Read(p)
			assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.NoError(t, c.SetReadDeadline(time.Time{}))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			defer cancel()
			_, err = c.Recv(ctx)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			_, err = c.Write([]byte("go"))
			assert.NoError(t, err)
			n, err := c.Read(p)
			assert.NoError(t, err)
			assert.Equal(t, "data", string(p[:n]))
			_, err = c.Read(p)
			assert.ErrorIs(t, err, io.EOF)
		})
		peer := dialNet(t, address)
		p := make([]byte, 2)
		_, err := io.ReadFull(peer, p)
		require.NoError(t, err)
		_, err = peer.Write([]byte("data"))
		require.NoError(t, err)
		require.NoError(t, peer.CloseWrite())
		_, err = peer.Read(p)
		assert.ErrorIs(t, err, io.EOF)
		peer.Close()
		stop()
	})
}

// logBuffer is a logger's output.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func (b *logBuffer) logger() *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func panicsOnPurpose(*Conn) { panic("on purpose") }

func TestFiberPanicAndGoexitEndTheConnection(t *testing.T) {
	var log logBuffer
	withEngine(t, Config{Loops: 1, Logger: log.logger()}, func(t *testing.T, e *Engine) {
		var served atomic.Int64
		address, stop := serve(t, e, func(c *Conn) {
			p := make([]byte, 1)
			if _, err := c.Read(p); err != nil {
				return
			}
			served.Add(1)
			switch p[0] {
			case 'p':
				panicsOnPurpose(c)
			case 'e':
				defer func() { served.Add(100) }()
				runtime.Goexit()
			}
			_, _ = c.Write(p)
		})
		for _, what := range "pepxxe" {
			c := dialNet(t, address)
			_, err := c.Write([]byte{byte(what)})
			require.NoError(t, err)
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			if what == 'x' {
				assert.Equal(t, "x", string(got))
			} else {
				assert.Empty(t, got)
			}
			c.Close()
		}
		stop()
		noFibers(t, e)
		s := e.Stats().Fibers
		assert.EqualValues(t, 6+200, served.Load())
		assert.EqualValues(t, 2, s.Panics)
		assert.EqualValues(t, 6, s.Started)
		assert.Contains(t, log.String(), "panicsOnPurpose")
	})
}

// TestEngineCloseEndsFibers closes an engine whose fibers wait for bytes, room, a context,
// and for Await. All of them end, and their deferred calls run.
func TestEngineCloseEndsFibers(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode zcrx.Mode) {
		fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
		e, err := NewEngine(t.Context(), Config{Mode: mode, Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256}})
		require.NoError(t, err)
		var begun, ended atomic.Int64
		forever := make(chan struct{})
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := make(chan error)
		go func() {
			served <- ln.Serve(context.Background(), func(c *Conn) {
				i := begun.Add(1)
				defer ended.Add(1)
				switch i % 4 {
				case 0:
					_, err := c.Read(make([]byte, 1))
					assert.ErrorIs(t, err, net.ErrClosed)
				case 1:
					_, err := c.Write(make([]byte, 64<<20))
					assert.ErrorIs(t, err, net.ErrClosed)
				case 2:
					_, err := c.Recv(t.Context())
					assert.ErrorIs(t, err, net.ErrClosed)
				case 3:
					Await(func() { <-forever })
				}
			})
		}()
		for range 16 {
			defer dialNet(t, ln.Addr().String()).Close()
		}
		require.Eventually(t, func() bool { return begun.Load() == 16 }, time.Minute, time.Millisecond)
		require.NoError(t, e.Close())
		assert.ErrorIs(t, <-served, net.ErrClosed)
		if mode != zcrx.Socket {
			assert.EqualValues(t, 16, ended.Load())
			assert.Zero(t, e.Stats().Fibers.Open)
		}
		close(forever)
		zcrxtest.Settled(t, fds+16, goroutines)
	})
}

func TestMaxConns(t *testing.T) {
	withEngine(t, Config{Loops: 2, MaxConns: 3}, func(t *testing.T, e *Engine) {
		var open, most atomic.Int64
		address, stop := serve(t, e, func(c *Conn) {
			n := open.Add(1)
			defer open.Add(-1)
			for {
				m := most.Load()
				if n <= m || most.CompareAndSwap(m, n) {
					break
				}
			}
			_, _ = c.WriteTo(c)
		})
		var all sync.WaitGroup
		for i := range 30 {
			all.Go(func() { exchange(t, address, int64(i), 10_000) })
		}
		all.Wait()
		stop()
		assert.LessOrEqual(t, most.Load(), int64(3))
	})
}

// TestCloseSendsWhatWasWritten closes connections right behind a write, which is on its way
// in the ring then.
func TestCloseSendsWhatWasWritten(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		data := pattern(3, 200_000)
		address, stop := serve(t, e, func(c *Conn) {
			for rest := data; len(rest) > 0; rest = rest[min(10_000, len(rest)):] {
				_, err := c.Write(rest[:min(10_000, len(rest))])
				assert.NoError(t, err)
			}
		})
		for range 20 {
			c := dialNet(t, address)
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got), "%d bytes", len(got))
			c.Close()
		}
		stop()
	})
}

// TestCloseWriteBehindWrites ends the sending side behind what was written.
func TestCloseWriteBehindWrites(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		address, stop := serve(t, e, func(c *Conn) {
			_, err := c.Write([]byte("last words"))
			assert.NoError(t, err)
			assert.NoError(t, c.CloseWrite())
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			assert.Equal(t, "answer", string(got))
		})
		c := dialNet(t, address)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "last words", string(got))
		_, err = c.Write([]byte("answer"))
		require.NoError(t, err)
		c.Close()
		stop()
	})
}

// TestTwoFibersOfAConnection reads in one fiber and writes in another.
func TestTwoFibersOfAConnection(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		var total atomic.Int64
		address, stop := serve(t, e, func(c *Conn) {
			written := make(chan struct{})
			assert.NoError(t, c.Go(func(c *Conn) {
				defer close(written)
				for range 100 {
					_, err := c.Write(make([]byte, 30_000))
					assert.NoError(t, err)
				}
				assert.NoError(t, c.CloseWrite())
			}))
			n, err := io.Copy(io.Discard, struct{ io.Reader }{c})
			assert.NoError(t, err)
			total.Add(n)
			Await(func() { <-written }) // Serve closes the connection behind this function
		})
		c := dialNet(t, address)
		var got int64
		var reading sync.WaitGroup
		reading.Go(func() { got, _ = io.Copy(io.Discard, c) })
		_, err := c.Write(make([]byte, 1<<20))
		require.NoError(t, err)
		require.NoError(t, c.CloseWrite())
		reading.Wait()
		stop()
		c.Close()
		assert.EqualValues(t, 3_000_000, got)
		assert.EqualValues(t, 1<<20, total.Load())
	})
}

// TestProxyInFibers dials in a fiber and passes bytes on in both directions.
func TestProxyInFibers(t *testing.T) {
	withEngine(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		target, stopTarget := serve(t, e, func(c *Conn) { _, _ = c.WriteTo(c) })
		address, stop := serve(t, e, func(c *Conn) {
			to, err := e.Dial(context.Background(), "tcp", target)
			if !assert.NoError(t, err) {
				return
			}
			defer to.Close()
			back := make(chan struct{})
			assert.NoError(t, to.Go(func(to *Conn) {
				defer close(back)
				_, err := to.WriteTo(c)
				assert.NoError(t, err)
				_ = c.CloseWrite()
			}))
			_, err = c.WriteTo(to)
			assert.NoError(t, err)
			assert.NoError(t, to.CloseWrite())
			Await(func() { <-back })
		})
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() { exchange(t, address, int64(i), 1<<20) })
		}
		all.Wait()
		stop()
		stopTarget()
	})
}

func TestAwait(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		errFailed := errors.New("failed")
		address, stop := serve(t, e, func(c *Conn) {
			n, err := AwaitValue(func() (int, error) { time.Sleep(time.Millisecond); return 5, nil })
			assert.NoError(t, err)
			assert.Equal(t, 5, n)
			_, err = AwaitValue(func() (int, error) { return 0, errFailed })
			assert.ErrorIs(t, err, errFailed)
			func() {
				defer func() { assert.Contains(t, fmt.Sprint(recover()), "in the awaited function") }()
				Await(func() { panic("in the awaited function") })
			}()
			func() {
				defer func() {
					if currentFiber() != nil {
						assert.Contains(t, fmt.Sprint(recover()), "Goexit")
					}
				}()
				if currentFiber() != nil { // on a goroutine it ends that
					Await(runtime.Goexit)
				}
			}()
			_, err = c.Write([]byte("done"))
			assert.NoError(t, err)
		})
		c := dialNet(t, address)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "done", string(got))
		c.Close()
		stop()
	})
}

// TestCoroutineInAFiber makes a coroutine in a fiber, which cannot wait: it gets an error
// instead of stopping the loop.
func TestCoroutineInAFiber(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // there it may wait
		}
		address, stop := serve(t, e, func(c *Conn) {
			next, end := iter.Pull2(c.Buffers(context.Background()))
			defer end()
			_, err, _ := next()
			assert.ErrorIs(t, err, ErrWouldBlock)
			_, err = c.Write([]byte("done"))
			assert.NoError(t, err)
		})
		c := dialNet(t, address)
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "done", string(got))
		c.Close()
		stop()
	})
}

func stallsOnPurpose() {
	time.Sleep(300 * time.Millisecond)
}

// TestStallIsReported blocks a loop in a fiber and in a Handler.
func TestStallIsReported(t *testing.T) {
	var log logBuffer
	e, err := NewEngine(t.Context(), Config{
		Mode: zcrx.Provided, Loops: 1, StallThreshold: 20 * time.Millisecond, Logger: log.logger(),
		Pool: zcrx.PoolConfig{NumBuffers: 64},
	})
	require.NoError(t, err)
	defer e.Close()
	address, stop := serve(t, e, func(*Conn) { stallsOnPurpose() })
	c := dialNet(t, address)
	_, err = io.ReadAll(c)
	require.NoError(t, err)
	c.Close()
	stop()
	byFiber := e.Stats().Fibers.Stalls
	assert.NotZero(t, byFiber)

	client, server := connPair(t, e)
	handled := make(chan struct{})
	require.NoError(t, server.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
		if err == nil {
			_ = zcrx.ReleaseAll(buffers)
			stallsOnPurpose()
			close(handled)
		}
	}))
	_, err = client.Write([]byte("x"))
	require.NoError(t, err)
	<-handled
	client.Close()
	server.Close()
	assert.Greater(t, e.Stats().Fibers.Stalls, byFiber)
	assert.GreaterOrEqual(t, e.Stats().Fibers.LongestStall, 20*time.Millisecond)
	assert.Contains(t, log.String(), "TestStallIsReported.func", "the function's name")
	assert.Contains(t, log.String(), "stallsOnPurpose", "the stack")
}

func TestServeAndAcceptExclude(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.Error(t, ln.Serve(t.Context(), nil))
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error)
		go func() { served <- ln.Serve(ctx, func(c *Conn) { _, _ = c.WriteTo(c) }) }()
		exchange(t, ln.Addr().String(), 1, 1000)
		_, err = ln.AcceptConn(t.Context())
		require.ErrorIs(t, err, errServing)
		require.ErrorIs(t, ln.Serve(t.Context(), func(*Conn) {}), errServing)
		cancel()
		require.ErrorIs(t, <-served, context.Canceled)
		c := dialNet(t, ln.Addr().String())
		defer c.Close()
		own, err := ln.AcceptConn(t.Context())
		require.NoError(t, err)
		defer own.Close()
		require.ErrorIs(t, ln.Serve(t.Context(), func(*Conn) {}), errAccepting)
		require.NoError(t, ln.Close())
		require.ErrorIs(t, ln.Serve(t.Context(), func(*Conn) {}), net.ErrClosed)
	})
}

// TestOneSystemCallPerTurn counts the calls of a loop whose connections all write in each
// turn.
func TestOneSystemCallPerTurn(t *testing.T) {
	e, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 256}})
	require.NoError(t, err)
	defer e.Close()
	address, stop := serve(t, e, func(c *Conn) { _, _ = c.WriteTo(c) })
	const conns, rounds = 50, 20
	var peers []*net.TCPConn
	for range conns {
		c := dialNet(t, address)
		defer c.Close()
		peers = append(peers, c)
	}
	require.Eventually(t, func() bool { return e.Stats().Fibers.Open == conns }, time.Minute, time.Millisecond)
	before := e.Stats().Loops[0]
	p := make([]byte, 10)
	for range rounds {
		for _, c := range peers {
			_, err := c.Write(p)
			require.NoError(t, err)
		}
		for _, c := range peers {
			_, err := io.ReadFull(c, p)
			require.NoError(t, err)
		}
	}
	after := e.Stats().Loops[0]
	assert.LessOrEqual(t, after.Calls-before.Calls, after.Turns-before.Turns)
	for _, c := range peers {
		c.Close()
	}
	stop()
}
