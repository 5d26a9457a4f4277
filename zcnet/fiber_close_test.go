//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// TestShutdownWaitsForWhatWasWritten ends a listener whose function has written and returned.
// A program may end when Shutdown has returned, and nothing of what was written may be lost.
func TestShutdownWaitsForWhatWasWritten(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // the kernel has all that was written
		}
		const size = 256 << 10 // more than the sockets take, which are small here
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served, ended := make(chan error), make(chan struct{})
		go func() {
			served <- ln.Serve(context.Background(), func(c *Conn) {
				defer close(ended)
				assert.NoError(t, c.SetWriteBuffer(4<<10))
				for written := 0; written < size; written += 16 << 10 {
					_, err := c.Write(make([]byte, 16<<10))
					assert.NoError(t, err)
				}
			})
		}()
		peer := dialNet(t, ln.Addr().String())
		defer peer.Close()
		require.NoError(t, peer.SetReadBuffer(4<<10))
		<-ended
		down, read := make(chan struct{}), make(chan int64, 1)
		go func() {
			select { // until Shutdown has returned, or waits
			case <-down:
			case <-time.After(300 * time.Millisecond):
			}
			n, err := io.Copy(io.Discard, peer)
			assert.NoError(t, err)
			read <- n
		}()
		require.NoError(t, ln.Shutdown(context.Background()))
		unsent := make(chan int)
		require.NoError(t, e.Group().Loops()[0].Post(func() { unsent <- len(schedulerHere().sending) }))
		assert.Zero(t, <-unsent, "connections with bytes that only this process has")
		close(down)
		require.ErrorIs(t, <-served, net.ErrClosed)
		assert.EqualValues(t, size, <-read)
	})
}

// TestCloseReadEndsAFiber shuts down the receiving side of connections whose fibers wait. They
// read what came before, then the end, and can still write.
func TestCloseReadEndsAFiber(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		address, stop := serve(t, e, func(c *Conn) {
			defer context.AfterFunc(ctx, func() { _ = c.CloseRead() })() // the peer may have ended it
			_, err := c.Peek(ctx, 4)
			assert.NoError(t, err)
			_, err = c.Write([]byte("hello"))
			assert.NoError(t, err)
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			_, err = c.Write(append([]byte(", you sent "), got...))
			assert.NoError(t, err)
		})
		for range 3 {
			peer := dialNet(t, address)
			defer peer.Close()
			_, err := peer.Write([]byte("this"))
			require.NoError(t, err)
			hello := make([]byte, 5)
			_, err = io.ReadFull(peer, hello)
			require.NoError(t, err)
			defer func() {
				rest, err := io.ReadAll(peer)
				assert.NoError(t, err)
				assert.Equal(t, ", you sent this", string(rest))
			}()
		}
		cancel()
		stop()
	})
}

// TestEngineCloseIsBounded closes an engine with unsent bytes on several loops, whose peers do
// not read. Close waits 2 seconds for all of them together.
func TestEngineCloseIsBounded(t *testing.T) {
	const loops = 3
	e, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Loops: loops, Pool: zcrx.PoolConfig{NumBuffers: 64}})
	require.NoError(t, err)
	used := map[*zcrx.Loop]bool{}
	for range loops {
		peer, c := peerPair(t, e)
		defer peer.Close()
		used[c.Loop()] = true
		require.NoError(t, peer.SetReadBuffer(4<<10))
		require.NoError(t, c.SetWriteBuffer(4<<10))
		written := make(chan error, 1)
		require.NoError(t, c.Go(func(c *Conn) {
			for range 16 {
				if _, err := c.Write(make([]byte, 16<<10)); err != nil {
					written <- err
					return
				}
			}
			written <- nil
		}))
		require.NoError(t, <-written)
	}
	require.Len(t, used, loops)
	begun := time.Now()
	require.NoError(t, e.Close())
	assert.Less(t, time.Since(begun), 20*time.Second, "not the 30 seconds of each connection")
}

// TestServeSpreadsConnections opens connections that stay, one after the other. Each loop gets
// its part of them.
func TestServeSpreadsConnections(t *testing.T) {
	const loops, conns = 4, 200
	withEngine(t, Config{Loops: loops}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // it has no loops
		}
		var mu sync.Mutex
		served := map[*zcrx.Loop]int{}
		address, stop := serve(t, e, func(c *Conn) {
			mu.Lock()
			served[c.Loop()]++
			mu.Unlock()
			_, err := c.Write([]byte("x"))
			assert.NoError(t, err)
			_, _ = c.WriteTo(c)
		})
		var peers []net.Conn
		for range conns {
			peer := dialNet(t, address)
			peers = append(peers, peer)
			_, err := io.ReadFull(peer, make([]byte, 1))
			require.NoError(t, err)
		}
		mu.Lock()
		for _, loop := range e.Group().Loops() {
			assert.Greater(t, served[loop], conns/loops/4)
		}
		mu.Unlock()
		for _, peer := range peers {
			assert.NoError(t, peer.Close())
		}
		stop()
	})
}

// TestEngineCloseWaitsForWritersMemory closes an engine while a fiber's large Write is sent from
// the fiber's memory. The fiber's deferred call uses that memory for something else: what the
// peer reads must all have been written.
func TestEngineCloseWaitsForWritersMemory(t *testing.T) {
	e, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 64}})
	require.NoError(t, err)
	peer, c := peerPair(t, e)
	defer peer.Close()
	p := bytes.Repeat([]byte("written "), 32<<20/8)
	writing := make(chan struct{})
	require.NoError(t, c.Go(func(c *Conn) {
		defer copy(p, bytes.Repeat([]byte("secrets "), len(p)/8))
		close(writing)
		_, err := c.Write(p)
		assert.ErrorIs(t, err, net.ErrClosed)
	}))
	<-writing
	_, err = io.CopyN(io.Discard, peer, 8) // the request is in flight
	require.NoError(t, err)
	gate := make(chan struct{})
	require.NoError(t, c.Loop().Post(func() { <-gate })) // what Close posts is run in one turn
	time.AfterFunc(100*time.Millisecond, func() { close(gate) })
	closed := make(chan error, 1)
	go func() { closed <- e.Close() }()
	<-gate
	time.Sleep(100 * time.Millisecond)
	got, _ := io.ReadAll(peer) // the end, or a reset
	require.NoError(t, <-closed)
	assert.Zero(t, bytes.Count(got, []byte("secrets ")), "pieces that were not written, in %d bytes", len(got))
}
