//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// autoEngine returns an engine in mode Auto, and checks at the end that nothing leaks.
func autoEngine(t *testing.T) *Engine {
	t.Helper()
	fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
	e, err := NewEngine(t.Context(), Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256}})
	require.NoError(t, err)
	require.Equal(t, zcrx.Provided, e.Mode())
	t.Cleanup(func() {
		assert.NoError(t, e.Close())
		zcrxtest.Settled(t, fds, goroutines)
	})
	return e
}

// collector is a Handler that keeps the bytes.
type collector struct {
	got   bytes.Buffer
	ended chan error
}

func (h *collector) handle(_ *Conn, buffers []zcrx.Buffer, err error) {
	for _, b := range buffers {
		h.got.Write(b.Bytes())
		_ = b.Release()
	}
	if err != nil {
		h.ended <- err
	}
}

// TestAutoChoosesByUse has connections read by goroutines, by a Handler and by fibers. No
// byte is lost when one goes from Go's poller to a loop.
func TestAutoChoosesByUse(t *testing.T) {
	e := autoEngine(t)
	data := pattern(4, 300_000)
	for name, use := range map[string]func(c *Conn) (mode zcrx.Mode, got []byte){
		"Read": func(c *Conn) (zcrx.Mode, []byte) {
			got, err := io.ReadAll(c)
			assert.NoError(t, err)
			return zcrx.Socket, got
		},
		"Handle": func(c *Conn) (zcrx.Mode, []byte) {
			head, err := c.Peek(t.Context(), 10)
			assert.NoError(t, err)
			assert.Equal(t, data[:10], head)
			n, err := io.ReadFull(c, make([]byte, 5))
			assert.NoError(t, err)
			h := &collector{ended: make(chan error, 1)}
			assert.NoError(t, c.Handle(h.handle))
			assert.ErrorIs(t, <-h.ended, io.EOF)
			return zcrx.Provided, append(bytes.Clone(data[:n]), h.got.Bytes()...)
		},
		"Go": func(c *Conn) (zcrx.Mode, []byte) {
			var got []byte
			_, err := io.ReadFull(c, make([]byte, 5))
			assert.NoError(t, err)
			ended := make(chan struct{})
			assert.NoError(t, c.SetDeadline(time.Now().Add(time.Hour)))
			assert.NoError(t, c.Go(func(c *Conn) {
				defer close(ended)
				assert.NotNil(t, c.Loop())
				got, err = io.ReadAll(c)
				assert.NoError(t, err)
			}))
			<-ended
			return zcrx.Provided, append(bytes.Clone(data[:5]), got...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			peer, c := peerPair(t, e)
			go func() {
				_, err := peer.Write(data)
				assert.NoError(t, err)
				assert.NoError(t, peer.CloseWrite())
			}()
			mode, got := use(c)
			assert.Equal(t, mode, c.Mode())
			assert.True(t, bytes.Equal(data, got), "%d bytes", len(got))
			_, err := c.Write([]byte("answer"))
			require.NoError(t, err)
			require.NoError(t, c.Close())
			got, err = io.ReadAll(peer)
			require.NoError(t, err)
			assert.Equal(t, "answer", string(got))
			peer.Close()
		})
	}
	assert.NotZero(t, e.Stats().Socket.Bytes)
	assert.Zero(t, e.Stats().Socket.Outstanding)
}

// TestGoWhileAGoroutineReads starts a fiber for a connection that a goroutine reads: both go
// on, as goroutines.
func TestGoWhileAGoroutineReads(t *testing.T) {
	e := autoEngine(t)
	peer, c := peerPair(t, e)
	defer peer.Close()
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(c, make([]byte, 4))
		read <- err
	}()
	require.Eventually(t, func() bool { return c.reading.held() }, time.Minute, time.Millisecond)
	wrote := make(chan error, 1)
	require.NoError(t, c.Go(func(c *Conn) {
		_, err := c.Write([]byte("from the function"))
		wrote <- err
	}))
	require.NoError(t, <-wrote)
	_, err := peer.Write([]byte("data"))
	require.NoError(t, err)
	require.NoError(t, <-read)
	require.NoError(t, c.Close())
}

// TestCloseDuringTheWayToALoop closes connections while they get a Handler.
func TestCloseDuringTheWayToALoop(t *testing.T) {
	e := autoEngine(t)
	for i := range 100 {
		peer, c := peerPair(t, e)
		h := &collector{ended: make(chan error, 1)}
		var both sync.WaitGroup
		both.Go(func() {
			if c.Handle(h.handle) == nil {
				assert.ErrorIs(t, <-h.ended, net.ErrClosed)
			}
		})
		both.Go(func() {
			time.Sleep(time.Duration(i) * time.Microsecond)
			assert.NoError(t, c.Close())
		})
		both.Wait()
		_, err := peer.Read(make([]byte, 1))
		assert.Error(t, err, "the connection is closed")
		peer.Close()
	}
}

// TestAutoServes has fibers and AcceptConn on listeners of one engine.
func TestAutoServes(t *testing.T) {
	e := autoEngine(t)
	address, stop := serve(t, e, func(c *Conn) {
		assert.Equal(t, zcrx.Provided, c.Mode())
		_, _ = c.WriteTo(c)
	})
	exchange(t, address, 1, 100_000)
	c, err := e.Dial(context.Background(), "tcp", address)
	require.NoError(t, err)
	assert.Equal(t, zcrx.Socket, c.Mode())
	_, err = c.Write([]byte("ping"))
	require.NoError(t, err)
	got := make([]byte, 4)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	assert.Equal(t, "ping", string(got))
	require.NoError(t, c.Close())
	stop()
}

// watchedContext counts the functions that wait for its end.
type watchedContext struct {
	context.Context
	done    chan struct{}
	watches atomic.Int32
}

func (c *watchedContext) Done() <-chan struct{} { return c.done }

func (c *watchedContext) AfterFunc(func()) (stop func() bool) {
	c.watches.Add(1)
	var once sync.Once
	return func() bool { once.Do(func() { c.watches.Add(-1) }); return true }
}

// A connection that goes to a loop leaves no watch of the context behind that it was read with.
func TestAutoLeavesNoWatchBehind(t *testing.T) {
	e, err := NewEngine(t.Context(), Config{Loops: 1})
	require.NoError(t, err)
	defer e.Close()
	ctx := &watchedContext{Context: context.Background(), done: make(chan struct{})}
	peer, c := peerPair(t, e)
	_, err = peer.Write([]byte("xyz"))
	require.NoError(t, err)
	_, err = c.Peek(ctx, 1)
	require.NoError(t, err)
	h, _ := toChannel()
	require.NoError(t, c.Handle(h))
	require.NoError(t, c.Close())
	require.NoError(t, peer.Close())
	assert.Zero(t, ctx.watches.Load())
}
