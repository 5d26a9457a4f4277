//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// inEndedFibers runs each function in a fiber of an engine of its own, which it closes while
// they wait. Engine.Close gives those that wait for a loop's connection 2 seconds.
func inEndedFibers(t *testing.T, uses ...func()) {
	t.Helper()
	own := ringEngine(t, Config{Loops: 1})
	begun := make(chan func(), len(uses))
	ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		_ = ln.Serve(context.Background(), func(*Conn) { use := uses[len(begun)]; begun <- use; use() })
	}()
	for range uses {
		defer dialNet(t, ln.Addr().String()).Close()
	}
	zcrxtest.Eventually(t, "all have begun", func() bool { return len(begun) == len(uses) })
	time.Sleep(20 * time.Millisecond)
	within(t, "Close", func() { require.NoError(t, own.Close()) })
}

// The fiber of a closed engine reads a connection of another one, which goes on: the next
// reader gets every byte.
func TestEngineCloseLeavesOtherEnginesReaders(t *testing.T) {
	reads := map[string]func(c *Conn) error{
		"Read": func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"Recv": func(c *Conn) error {
			b, err := c.Recv(context.Background())
			_ = b.Release()
			return err
		},
		"RecvBatch": func(c *Conn) error {
			var dst [4]zcrx.Buffer
			n, err := c.RecvBatch(context.Background(), dst[:])
			_ = zcrx.ReleaseAll(dst[:n])
			return err
		},
		"Peek": func(c *Conn) error {
			_, err := c.Peek(context.Background(), 1)
			_, _ = c.Discard(context.Background(), 1)
			return err
		},
		"WriteTo": func(c *Conn) error {
			_, err := c.WriteTo(writerFunc(func([]byte) (int, error) { return 0, io.ErrClosedPipe }))
			if errors.Is(err, io.ErrClosedPipe) {
				_, err = c.Discard(context.Background(), 1)
			}
			return err
		},
	}
	withEngine(t, Config{Loops: 1}, func(t *testing.T, other *Engine) {
		var conns, peers []net.Conn
		var names []string
		var uses []func()
		for name, read := range reads {
			peer, c := peerPair(t, other)
			conns, peers, names = append(conns, c), append(peers, peer), append(names, name)
			uses = append(uses, func() { _ = read(c) })
		}
		inEndedFibers(t, uses...)
		for i, name := range names {
			_, err := peers[i].Write([]byte("x"))
			require.NoError(t, err)
			within(t, name, func() { assert.NoError(t, reads[name](conns[i].(*Conn)), name) })
			require.NoError(t, conns[i].Close())
			require.NoError(t, peers[i].Close())
		}
	})
}

// The bytes come just when the fibers that wait for them are ended.
func TestEngineCloseLosesNoByteOfOtherEngines(t *testing.T) {
	other, err := NewEngine(t.Context(), Config{Mode: zcrx.Socket})
	require.NoError(t, err)
	const n = 64
	var conns [n]*Conn
	var peers [n]net.Conn
	var taken [n]int
	var waiting atomic.Int32
	var uses []func()
	for i := range conns {
		peers[i], conns[i] = peerPair(t, other)
		uses = append(uses, func() {
			waiting.Add(1)
			taken[i], _ = conns[i].Read(make([]byte, 1))
		})
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		zcrxtest.Eventually(t, "all wait", func() bool { return waiting.Load() == n })
		time.Sleep(19 * time.Millisecond) // inEndedFibers closes the engine after 20
		for _, peer := range peers {
			_, err := peer.Write([]byte("xy"))
			assert.NoError(t, err)
			time.Sleep(30 * time.Microsecond)
		}
	})
	inEndedFibers(t, uses...)
	writer.Wait()
	for i, c := range conns {
		within(t, "ReadFull", func() {
			_, err := io.ReadFull(c, make([]byte, 2-taken[i]))
			assert.NoError(t, err)
		})
		require.NoError(t, c.Close())
		require.NoError(t, peers[i].Close())
	}
	assert.Zero(t, other.Stats().Group.Total.Outstanding)
	require.NoError(t, other.Close())
}

// The fiber of a closed engine writes to a connection of another one, which is reset: the bytes
// before the next ones are not complete.
func TestEngineCloseResetsWhatItsFibersWriteTo(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, other *Engine) {
		peer, c := peerPair(t, other)
		inEndedFibers(t, func() { _, _ = c.Write(make([]byte, 16<<20)) })
		within(t, "Write", func() {
			_, err := c.Write([]byte("x"))
			assert.Error(t, err)
		})
		require.NoError(t, c.Close())
		require.NoError(t, peer.Close())
	})
}

// The fiber of a closed engine sends leased buffers to a connection of another one. They are
// released, and the peer does not see what comes into their memory after that.
func TestEngineCloseReleasesWhatItsFibersSend(t *testing.T) {
	withEngine(t, Config{Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 8}}, func(t *testing.T, other *Engine) {
		peer, c := peerPair(t, other)
		source, from := peerPair(t, other)
		const size = 1000
		_, err := source.Write(bytes.Repeat([]byte("A"), size))
		require.NoError(t, err)
		b, err := from.Recv(t.Context())
		require.NoError(t, err)
		raw, err := c.SyscallConn()
		require.NoError(t, err)
		zero, full := make([]byte, 64<<10), 0
		for full < 20 { // until the socket has taken nothing for a while
			require.NoError(t, raw.Control(func(fd uintptr) {
				full++
				if _, err := unix.SendmsgN(int(fd), zero, nil, nil, unix.MSG_DONTWAIT); err == nil {
					full = 0
				}
			}))
			if full > 0 {
				time.Sleep(5 * time.Millisecond)
			}
		}
		inEndedFibers(t, func() { _ = c.Send(b) })
		zcrxtest.Eventually(t, "the buffer is released", func() bool { return other.Stats().Group.Total.Outstanding == 0 })
		var held []zcrx.Buffer
		for range 2 { // the memory of b is used again
			_, err = source.Write(bytes.Repeat([]byte("B"), size))
			require.NoError(t, err)
			b, err := from.Recv(t.Context())
			require.NoError(t, err)
			held = append(held, b)
		}
		require.NoError(t, peer.SetReadDeadline(time.Now().Add(zcrxtest.Patience)))
		got, err := io.ReadAll(peer)
		require.Error(t, err)
		assert.True(t, isReset(err), "%v", err)
		assert.Zero(t, bytes.Count(got, []byte("B")), "bytes of another connection")
		require.NoError(t, zcrx.ReleaseAll(held))
		for _, c := range []io.Closer{c, from, peer, source} {
			require.NoError(t, c.Close())
		}
	})
}

// The fiber of a closed engine waits for its turn at a connection of another one.
func TestEngineCloseGivesUpATurn(t *testing.T) {
	own, other := ringEngine(t, Config{Loops: 1}), ringEngine(t, Config{Loops: 1})
	peer, c := peerPair(t, other)
	defer peer.Close()
	defer c.Close()
	read := make(chan error, 2)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	require.Eventually(t, func() bool { return c.reading.held() }, time.Minute, time.Millisecond)
	begun := make(chan struct{})
	ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() {
		_ = ln.Serve(context.Background(), func(*Conn) { close(begun); _, _ = c.Read(make([]byte, 1)) })
	}()
	defer dialNet(t, ln.Addr().String()).Close()
	<-begun
	time.Sleep(20 * time.Millisecond)
	require.NoError(t, own.Close())
	_, err = peer.Write([]byte("xy"))
	require.NoError(t, err)
	require.NoError(t, <-read)
	time.Sleep(20 * time.Millisecond)
	within(t, "Read", func() { _, err := c.Read(make([]byte, 1)); assert.NoError(t, err) })
}

func TestEngineCloseInACoroutine(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	result := make(chan error, 1)
	address, _ := serve(t, e, func(c *Conn) {
		next, end := iter.Pull(func(yield func(error) bool) { yield(e.Close()) })
		defer end()
		err, _ := next()
		result <- err
	})
	peer := dialNet(t, address)
	defer peer.Close()
	within(t, "Engine.Close", func() { assert.ErrorIs(t, <-result, errClosedOnLoop) })
}

// Two engines close each other, each on its loop.
func TestEnginesCloseEachOther(t *testing.T) {
	a, b := ringEngine(t, Config{Loops: 1}), ringEngine(t, Config{Loops: 1})
	var both sync.WaitGroup
	both.Add(2)
	done := make(chan struct{}, 2)
	start := func(own, other *Engine) {
		ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() {
			_ = ln.Serve(context.Background(), func(*Conn) {
				defer func() { done <- struct{}{} }()
				both.Done()
				Await(both.Wait)
				_ = other.Close()
			})
		}()
		dialNet(t, ln.Addr().String())
	}
	start(a, b)
	start(b, a)
	within(t, "Engine.Close of two engines", func() { <-done; <-done })
}

// The fiber of a closed engine dials with another one. What comes of it is closed.
func TestEngineCloseEndsADial(t *testing.T) {
	target, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer target.Close()
	for _, mode := range []zcrx.Mode{zcrx.Provided, zcrx.Socket} {
		t.Run(mode.String(), func(t *testing.T) {
			fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
			other, err := NewEngine(t.Context(), Config{Mode: mode, Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 64}})
			require.NoError(t, err)
			for range 20 {
				own := ringEngine(t, Config{Loops: 1})
				ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
				require.NoError(t, err)
				dialling := make(chan struct{})
				served := make(chan error)
				go func() {
					served <- ln.Serve(context.Background(), func(*Conn) {
						close(dialling)
						time.Sleep(5 * time.Millisecond) // Engine.Close gets in line
						c, err := other.Dial(context.Background(), "tcp", target.Addr().String())
						if err == nil {
							_ = c.Close()
						}
					})
				}()
				peer := dialNet(t, ln.Addr().String())
				<-dialling
				require.NoError(t, own.Close())
				require.ErrorIs(t, <-served, net.ErrClosed)
				peer.Close()
			}
			require.NoError(t, other.Close())
			zcrxtest.Settled(t, fds, goroutines)
		})
	}
}

// The fiber of a closed engine waits for its turn to send leased buffers, which are released.
func TestEngineCloseReleasesWhatWaitsToBeSent(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, other *Engine) {
		peer, c := peerPair(t, other)
		source, from := peerPair(t, other)
		_, err := source.Write(make([]byte, 1000))
		require.NoError(t, err)
		b, err := from.Recv(t.Context())
		require.NoError(t, err)
		ended := fillUp(c)
		zcrxtest.Eventually(t, "a writer has the turn", c.writing.held)
		inEndedFibers(t, func() { _ = c.Send(b) })
		zcrxtest.Eventually(t, "the buffer is released", func() bool { return other.Stats().Group.Total.Outstanding == 0 })
		for _, c := range []io.Closer{c, from, peer, source} {
			require.NoError(t, c.Close())
		}
		<-ended
	})
}

// The fiber of a closed engine is passed the turn to read when the connection is closed already:
// nothing stays in the inbox.
func TestEndedFiberIsPassedTheTurn(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, other *Engine) {
		own := ringEngine(t, Config{Loops: 1})
		peer, c := peerPair(t, other)
		_, err := peer.Write([]byte("xyz"))
		require.NoError(t, err)
		_, err = c.Peek(t.Context(), 1)
		require.NoError(t, err)
		inBody, leave, left := make(chan struct{}), make(chan struct{}), make(chan struct{})
		go func() {
			defer close(left)
			for range c.Chunks(context.Background(), 1) {
				close(inBody)
				<-leave
				break
			}
		}()
		<-inBody
		ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		go func() { _ = ln.Serve(context.Background(), func(*Conn) { _, _ = c.Read(make([]byte, 1)) }) }()
		defer dialNet(t, ln.Addr().String()).Close()
		zcrxtest.Eventually(t, "the fiber waits", func() bool {
			c.reading.mu.Lock()
			defer c.reading.mu.Unlock()
			return len(c.reading.waiting) == 1
		})
		blocked, goOn := make(chan struct{}), make(chan struct{}) // the fiber's loop
		require.NoError(t, own.Group().Loops()[0].Post(func() { close(blocked); <-goOn }))
		<-blocked
		closed := make(chan error, 1)
		go func() { closed <- own.Close() }()
		time.Sleep(20 * time.Millisecond)
		close(leave)
		<-left
		require.NoError(t, c.Close())
		close(goOn)
		require.NoError(t, <-closed)
		require.NoError(t, peer.Close())
		zcrxtest.Eventually(t, "nothing is out", func() bool { return other.Stats().Group.Total.Outstanding == 0 })
		assert.False(t, c.reading.held())
	})
}

// A fiber that was just woken when Engine.Close ends those that are left ends too.
func TestEngineCloseEndsReadyFibers(t *testing.T) {
	own, other := ringEngine(t, Config{Loops: 1}), ringEngine(t, Config{Loops: 1})
	peer, c := peerPair(t, other)
	ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	reads, ended := make(chan struct{}), make(chan struct{})
	go func() {
		_ = ln.Serve(context.Background(), func(s *Conn) {
			defer close(ended)
			_ = s.Close()
			close(reads)
			for err := error(nil); err == nil; {
				_, err = c.Read(make([]byte, 1))
			}
		})
	}()
	defer dialNet(t, ln.Addr().String()).Close()
	<-reads
	// The loop is busy when the 2 seconds are over, and the byte comes meanwhile.
	time.AfterFunc(sendingTime-150*time.Millisecond, func() {
		_ = own.Group().Loops()[0].Post(func() { time.Sleep(300 * time.Millisecond) })
	})
	time.AfterFunc(sendingTime-80*time.Millisecond, func() { _, _ = peer.Write([]byte("x")) })
	within(t, "Close", func() { assert.NoError(t, own.Close()) })
	within(t, "the fiber", func() { <-ended })
	assert.False(t, c.reading.held())
	require.NoError(t, c.Close())
	require.NoError(t, peer.Close())
}
