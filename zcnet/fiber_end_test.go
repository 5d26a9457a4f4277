//go:build linux && cgo

package zcnet

import (
	"context"
	"iter"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// The fiber of a closed engine reads a connection of another one, which goes on.
func TestEngineCloseLeavesOtherEnginesConnections(t *testing.T) {
	for name, use := range map[string]func(c *Conn) error{
		"reads":  func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err },
		"writes": func(c *Conn) error { _, err := c.Write(make([]byte, 16<<20)); return err },
	} {
		t.Run(name, func(t *testing.T) {
			own, other := ringEngine(t, Config{Loops: 1}), ringEngine(t, Config{Loops: 1})
			peer, c := peerPair(t, other)
			defer peer.Close()
			defer c.Close()
			begun := make(chan struct{})
			ln, err := own.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go func() { _ = ln.Serve(context.Background(), func(*Conn) { close(begun); _ = use(c) }) }()
			defer dialNet(t, ln.Addr().String()).Close()
			<-begun
			time.Sleep(20 * time.Millisecond)
			within(t, "Close", func() { require.NoError(t, own.Close()) })
			if name == "reads" {
				_, err = peer.Write([]byte("x"))
				require.NoError(t, err)
				within(t, "Read", func() { _, err := c.Read(make([]byte, 1)); assert.NoError(t, err) })
				return
			}
			within(t, "Write", func() {
				_, err := c.Write([]byte("x")) // the connection is reset: the bytes before are not complete
				assert.Error(t, err)
			})
		})
	}
}

// The fiber of a closed engine waits for its turn at a connection of another one.
func TestEngineCloseGivesUpATurn(t *testing.T) {
	own, other := ringEngine(t, Config{Loops: 1}), ringEngine(t, Config{Loops: 1})
	peer, c := peerPair(t, other)
	defer peer.Close()
	defer c.Close()
	read := make(chan error, 2)
	go func() { _, err := c.Read(make([]byte, 1)); read <- err }()
	require.Eventually(t, func() bool { return len(c.reading) == 1 }, time.Minute, time.Millisecond)
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
