//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFiberChaos has fibers echo while they, their peers and other goroutines end, close,
// migrate, interrupt and take connections over at random, and while the listener shuts down.
// A peer never gets another byte than the one that it sent, every function that began runs
// its deferred calls, and nothing remains.
func TestFiberChaos(t *testing.T) {
	const rounds, peers = 3, 40
	cfg := Config{Loops: 2, MaxConns: peers / 2, Logger: slog.New(slog.DiscardHandler)}
	withEngine(t, cfg, func(t *testing.T, e *Engine) {
		for round := range rounds {
			k := chaos{engine: e}
			ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- ln.Serve(t.Context(), k.fiber) }()
			stop := make(chan struct{})
			var meddlers, clients sync.WaitGroup
			for range 2 {
				meddlers.Go(func() { k.meddle(stop) })
			}
			for i := range peers {
				clients.Go(func() { chaosPeer(t, ln.Addr().String(), int64(round*peers+i)) })
			}
			if round%2 == 1 {
				time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(20))*time.Millisecond)
				if err := ln.Shutdown(ctx); err != nil {
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				}
				cancel()
			}
			clients.Wait()
			close(stop)
			meddlers.Wait()
			if err := ln.Close(); err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
			}
			assert.ErrorIs(t, <-served, net.ErrClosed)
			noFibers(t, e)
			if round%2 == 0 { // the others may shut down before anybody comes
				assert.NotZero(t, k.begun.Load())
			}
			assert.Equal(t, k.begun.Load(), k.ended.Load(), "functions that ran their deferred calls")
		}
	})
}

type chaos struct {
	engine       *Engine
	begun, ended atomic.Int64
	mu           sync.Mutex
	conns        []*Conn // guarded by mu: all of a round, of which many are closed
}

// fiber echoes in a way chosen anew for each piece, until the connection or fiber ends.
func (k *chaos) fiber(c *Conn) {
	k.begun.Add(1)
	defer k.ended.Add(1)
	k.mu.Lock()
	k.conns = append(k.conns, c)
	k.mu.Unlock()
	p := make([]byte, 4096)
	for {
		err := k.echoPiece(c, p)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, context.DeadlineExceeded) {
			return
		}
	}
}

func (k *chaos) echoPiece(c *Conn, p []byte) error {
	switch rand.IntN(16) {
	case 0, 1, 2:
		b, err := c.Recv(context.Background())
		if err != nil {
			return err
		}
		return c.Send(b)
	case 3, 4:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(300))*time.Microsecond)
		defer cancel()
		head, err := c.Peek(ctx, 1+rand.IntN(100))
		if len(head) == 0 {
			return err
		}
		if _, err := c.Write(head); err != nil {
			return io.ErrClosedPipe // part of it may be sent
		}
		_, err = c.Discard(context.Background(), len(head))
		return err
	case 5:
		Await(func() { time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond) })
		return nil
	case 6:
		return k.migrate(c)
	case 7:
		return c.SetReadDeadline(time.Now().Add(time.Duration(rand.IntN(200)) * time.Microsecond))
	case 8:
		return k.endAtRandom(c)
	default:
		n, err := c.Read(p[:1+rand.IntN(len(p))])
		if n == 0 {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return c.SetReadDeadline(time.Time{})
			}
			return err
		}
		if _, err := c.Write(p[:n]); err != nil {
			return io.ErrClosedPipe
		}
		return nil
	}
}

// endAtRandom mostly does nothing.
func (k *chaos) endAtRandom(c *Conn) error {
	switch rand.IntN(30) {
	case 0:
		panic("on purpose")
	case 1:
		runtime.Goexit()
	case 2:
		return c.Close()
	case 3:
		return c.CloseWrite()
	case 4:
		return io.ErrUnexpectedEOF
	case 5:
		return c.CloseRead()
	case 6:
		return c.Go(func(c *Conn) {
			k.begun.Add(1)
			defer k.ended.Add(1)
			Await(func() { time.Sleep(100 * time.Microsecond) })
			_ = c.Close()
		})
	}
	return nil
}

// migrate takes the connection to another loop, or to the same. It fails where modes have no
// loops and for connections that have ended, which the next call shows.
func (k *chaos) migrate(c *Conn) error {
	g := k.engine.Group()
	if g == nil {
		return nil
	}
	loops := g.Loops()
	_ = c.Migrate(context.Background(), loops[rand.IntN(len(loops))])
	return nil
}

// meddle does to connections what fibers of them do not expect.
func (k *chaos) meddle(stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(500)) * time.Microsecond):
		}
		k.mu.Lock()
		if len(k.conns) == 0 {
			k.mu.Unlock()
			continue
		}
		c := k.conns[rand.IntN(len(k.conns))]
		k.mu.Unlock()
		// All may fail, because the connection may be closed.
		switch rand.IntN(40) {
		case 0:
			_ = c.Close()
		case 1:
			_ = c.CloseRead()
		case 2, 3, 4, 5:
			_ = k.migrate(c)
		case 6, 7:
			_ = c.Go(func(c *Conn) {
				k.begun.Add(1)
				defer k.ended.Add(1)
				Await(func() { time.Sleep(100 * time.Microsecond) })
				_ = c.SetReadDeadline(time.Unix(1, 0))
			})
		default:
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}
	}
}

// chaosPeer sends a pattern, and checks that what comes back is the beginning of it.
func chaosPeer(t *testing.T, address string, seed int64) {
	conn, err := net.Dial("tcp", address)
	if err != nil { // the listener shuts down
		assert.True(t, errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET), "%v", err)
		return
	}
	c := conn.(*net.TCPConn)
	defer c.Close()
	assert.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	want := pattern(seed, 64<<10)
	reset := rand.IntN(4) == 0
	var sender sync.WaitGroup
	sender.Go(func() {
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(4096))
			if _, err := c.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
			if reset && rand.IntN(8) == 0 {
				_ = c.SetLinger(0) // fails after the server has ended the connection
				_ = c.Close()
				return
			}
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
			}
		}
		_ = c.CloseWrite()
	})
	got, err := io.ReadAll(c)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the server neither answers nor ends")
	assert.True(t, bytes.HasPrefix(want, got), "%d bytes came back that are not the first of those sent", len(got))
	_ = c.Close()
	sender.Wait()
}
