//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// modelConn is a connection with a peer of package net, and what must be true of it: each
// byte has the value that its place in the stream says.
type modelConn struct {
	conn *Conn
	peer *net.TCPConn

	sent, received int // by the peer; by the connection's reads
	written, read  int // by the connection; by the peer
	peerEnded      bool
	closed         bool
	passed         bool // the read deadline has passed

	handled chan []byte // what a Handler got, and nil at the end; nil: there is no Handler
}

// modelStream returns n bytes of a connection's stream from offset on.
func modelStream(offset, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		at := offset + i
		b[i] = byte(at ^ at>>8 ^ at>>16)
	}
	return b
}

// TestConnModel runs random sequences of calls on connections of two engines, and compares
// each byte, count and error with what it must be.
func TestConnModel(t *testing.T) {
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 64, MaxLeases: 16}}, func(t *testing.T, e *Engine) {
		other, err := NewEngine(t.Context(), Config{Mode: e.Mode(), Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 8}})
		require.NoError(t, err)
		defer other.Close()
		rapid.Check(t, func(rt *rapid.T) {
			m := &connModel{t: t, engines: []*Engine{e, other}}
			defer m.closeAll()
			m.open(rt)
			rt.Repeat(m.actions())
			m.finish(rt)
		})
		for _, e := range []*Engine{e, other} {
			zcrxtest.Eventually(t, "every lease is back", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
		}
	})
}

// connModel is the state of one sequence.
type connModel struct {
	t       *testing.T
	engines []*Engine
	conns   []*modelConn
}

// modelPatience bounds what must come.
func modelPatience() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), zcrxtest.Patience)
}

func (m *connModel) open(rt *rapid.T) {
	e := m.engines[rapid.IntRange(0, len(m.engines)-1).Draw(rt, "engine")]
	peer, conn := peerPair(m.t, e)
	m.conns = append(m.conns, &modelConn{conn: conn, peer: peer})
}

func (m *connModel) pick(rt *rapid.T) *modelConn {
	return m.conns[rapid.IntRange(0, len(m.conns)-1).Draw(rt, "connection")]
}

// reader picks a connection that may be read from.
func (m *connModel) reader(rt *rapid.T) *modelConn {
	c := m.pick(rt)
	if c.closed || c.handled != nil || c.passed {
		rt.Skip("it cannot be read from")
	}
	return c
}

// waiting is how many bytes have been sent and not received.
func (c *modelConn) waiting() int { return c.sent - c.received }

// got checks bytes that were received.
func (c *modelConn) got(rt *rapid.T, b []byte) {
	require.LessOrEqual(rt, len(b), c.waiting(), "more than was sent")
	require.True(rt, bytes.Equal(modelStream(c.received, len(b)), b), "%d bytes at %d differ", len(b), c.received)
	c.received += len(b)
}

func (m *connModel) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"open": func(rt *rapid.T) {
			if len(m.conns) >= 6 {
				rt.Skip("enough")
			}
			m.open(rt)
		},
		"peer sends": func(rt *rapid.T) {
			c := m.pick(rt)
			n := rapid.IntRange(1, 20_000).Draw(rt, "bytes")
			if c.peerEnded || c.closed || c.waiting()+n > 60_000 { // else it might wait
				rt.Skip("it cannot")
			}
			_, err := c.peer.Write(modelStream(c.sent, n))
			require.NoError(rt, err)
			c.sent += n
		},
		"peer ends": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.peerEnded || c.closed {
				rt.Skip("it has")
			}
			require.NoError(rt, c.peer.CloseWrite())
			c.peerEnded = true
		},
		"read": func(rt *rapid.T) {
			c := m.reader(rt)
			p := make([]byte, rapid.IntRange(0, 30_000).Draw(rt, "room"))
			if len(p) > 0 && c.waiting() == 0 && !c.peerEnded {
				rt.Skip("it would wait")
			}
			n, err := c.conn.Read(p)
			if len(p) > 0 && c.waiting() == 0 {
				require.Equal(rt, io.EOF, err)
				require.Zero(rt, n)
				return
			}
			require.NoError(rt, err)
			c.got(rt, p[:n])
		},
		"receive": func(rt *rapid.T) {
			c := m.reader(rt)
			if c.waiting() == 0 && !c.peerEnded {
				rt.Skip("it would wait")
			}
			batch := make([]zcrx.Buffer, rapid.IntRange(1, 4).Draw(rt, "buffers"))
			ctx, cancel := modelPatience()
			defer cancel()
			n, err := c.conn.RecvBatch(ctx, batch)
			if c.waiting() == 0 {
				require.Equal(rt, io.EOF, err)
				return
			}
			require.NoError(rt, err)
			for _, b := range batch[:n] {
				c.got(rt, b.Bytes())
			}
			require.NoError(rt, zcrx.ReleaseAll(batch[:n]))
		},
		"peek": func(rt *rapid.T) {
			c := m.reader(rt)
			n := rapid.IntRange(0, 40_000).Draw(rt, "bytes")
			if c.waiting() < n && !c.peerEnded {
				rt.Skip("it would wait")
			}
			ctx, cancel := modelPatience()
			defer cancel()
			b, err := c.conn.Peek(ctx, n)
			if c.waiting() < n {
				require.Equal(rt, io.EOF, err)
				n = c.waiting()
			} else {
				require.NoError(rt, err)
			}
			require.True(rt, bytes.Equal(modelStream(c.received, n), b), "%d bytes", len(b))
		},
		"chunks": func(rt *rapid.T) {
			c := m.reader(rt)
			n := rapid.IntRange(0, 30_000).Draw(rt, "bytes")
			if c.waiting() < n && !c.peerEnded {
				rt.Skip("it would wait")
			}
			leaveAfter := rapid.IntRange(1, 5).Draw(rt, "rounds")
			ctx, cancel := modelPatience()
			defer cancel()
			for b, err := range c.conn.Chunks(ctx, n) {
				if err != nil {
					require.Equal(rt, io.EOF, err)
					require.Zero(rt, c.waiting())
					break
				}
				c.got(rt, b)
				if leaveAfter--; leaveAfter == 0 {
					break
				}
			}
		},
		"read with an ended context": func(rt *rapid.T) {
			c := m.reader(rt)
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_, err := c.conn.Recv(ctx)
			require.ErrorIs(rt, err, context.Canceled)
		},
		"deadline passes": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.closed || c.handled != nil {
				rt.Skip("it has none")
			}
			require.NoError(rt, c.conn.SetReadDeadline(time.Unix(1, 0)))
			_, err := c.conn.Read(make([]byte, 1))
			require.ErrorIs(rt, err, os.ErrDeadlineExceeded)
			c.passed = true
		},
		"deadline moves": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.closed {
				rt.Skip("it has none")
			}
			require.NoError(rt, c.conn.SetReadDeadline(rapid.SampledFrom([]time.Time{{}, time.Now().Add(time.Hour)}).Draw(rt, "deadline")))
			c.passed = false
		},
		"write": func(rt *rapid.T) {
			c := m.pick(rt)
			n := rapid.IntRange(0, 20_000).Draw(rt, "bytes")
			if c.closed || c.written-c.read+n > 60_000 {
				rt.Skip("it cannot")
			}
			k, err := c.conn.Write(modelStream(c.written, n))
			require.NoError(rt, err)
			require.Equal(rt, n, k)
			c.written += n
		},
		"peer reads": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.closed || c.written == c.read {
				rt.Skip("nothing")
			}
			c.peerReads(rt)
		},
		"migrate": func(rt *rapid.T) {
			c := m.pick(rt)
			loops := m.engines[0].Group()
			if c.closed || c.conn.Loop() == nil || loops == nil || loops.Pool(c.conn.Loop()) == nil {
				rt.Skip("it is on no loop of an engine with two")
			}
			ctx, cancel := modelPatience()
			defer cancel()
			to := loops.Loops()[rapid.IntRange(0, 1).Draw(rt, "loop")]
			if err := c.conn.Migrate(ctx, to); err != nil { // the stream has ended
				require.True(rt, c.peerEnded && errors.Is(err, io.EOF), "%v", err)
			}
		},
		"handle": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.closed || c.handled != nil {
				rt.Skip("it cannot")
			}
			handled := make(chan []byte, 1<<16)
			require.NoError(rt, c.conn.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
				for _, b := range buffers {
					handled <- bytes.Clone(b.Bytes())
				}
				_ = zcrx.ReleaseAll(buffers)
				if err != nil {
					handled <- nil
				}
			}))
			c.handled = handled
		},
		"what a Handler gets": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.closed || c.handled == nil {
				rt.Skip("it has none")
			}
			c.awaitHandler(rt)
		},
		"close": func(rt *rapid.T) {
			c := m.pick(rt)
			if c.closed {
				require.ErrorIs(rt, c.conn.Close(), net.ErrClosed)
				_, err := c.conn.Read(nil)
				require.ErrorIs(rt, err, net.ErrClosed)
				_, err = c.conn.Write([]byte{1})
				require.ErrorIs(rt, err, net.ErrClosed)
				return
			}
			require.NoError(rt, c.conn.Close())
			c.closed = true
		},
	}
}

func (c *modelConn) peerReads(rt *rapid.T) {
	p := make([]byte, c.written-c.read)
	_ = c.peer.SetReadDeadline(time.Now().Add(zcrxtest.Patience))
	_, err := io.ReadFull(c.peer, p)
	require.NoError(rt, err)
	require.True(rt, bytes.Equal(modelStream(c.read, len(p)), p))
	c.read += len(p)
}

// awaitHandler waits until the Handler got all that was sent.
func (c *modelConn) awaitHandler(rt *rapid.T) {
	timeout := time.After(zcrxtest.Patience)
	for c.waiting() > 0 {
		select {
		case b := <-c.handled:
			require.NotNil(rt, b, "the end comes before %d bytes", c.waiting())
			c.got(rt, b)
		case <-timeout:
			require.Fail(rt, fmt.Sprintf("%d bytes do not come", c.waiting()))
		}
	}
}

// finish reads every open connection to the last byte that was sent, and what it wrote.
func (m *connModel) finish(rt *rapid.T) {
	for _, c := range m.conns {
		switch {
		case c.closed:
			continue
		case c.handled != nil:
			c.awaitHandler(rt)
		default:
			require.NoError(rt, c.conn.SetReadDeadline(time.Now().Add(zcrxtest.Patience)))
			p := make([]byte, c.waiting())
			_, err := io.ReadFull(c.conn, p)
			require.NoError(rt, err)
			c.got(rt, p)
		}
		if c.written > c.read {
			c.peerReads(rt)
		}
	}
}

func (m *connModel) closeAll() {
	for _, c := range m.conns {
		_ = c.conn.Close()
		_ = c.peer.Close()
	}
}
