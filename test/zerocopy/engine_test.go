//go:build nic

package zerocopy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/nettest"
	"golang.org/x/sync/errgroup"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// newEngine returns an engine of two queues and three loops.
func newEngine(t *testing.T) *zcnet.Engine {
	t.Helper()
	e, err := zcnet.NewEngine(t.Context(), zcnet.Config{
		Mode: zcrx.ZeroCopy, Interface: device, Queues: []int{1, 2}, Loops: 3,
		Pool: zcrx.PoolConfig{NumBuffers: 512},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		s := e.Stats()
		assert.NoError(t, e.Close())
		assert.Zero(t, s.Group.Total.Outstanding)
	})
	return e
}

// takeStream receives a stream of size bytes with Conn.Buffers, checks it and closes c.
func takeStream(t *testing.T, c *zcnet.Conn, size int64) error {
	var s stream
	for b, err := range c.Buffers(t.Context()) {
		if err != nil {
			return err
		}
		if err := errors.Join(s.check(b.Bytes()), b.Release()); err != nil {
			return err
		}
	}
	return errors.Join(s.end(size), c.Close())
}

// orClose closes the sender's end if the receiver's failed, because the sender may be waiting
// for it.
func orClose(out *net.TCPConn, err error) error {
	if err != nil {
		_ = out.Close()
		err = fmt.Errorf("connection to %v: %w", out.RemoteAddr(), err)
	}
	return err
}

// TestAcceptedConnections accepts connections that arrive on two queues. The engine must hand
// each to a loop of its queue; on another one the kernel would end it with EFAULT.
func TestAcceptedConnections(t *testing.T) {
	const size, each = 1 << 20, 6
	w := newWire(t)
	e := newEngine(t)
	p := beginProof(t, 1, 2)
	var all errgroup.Group
	var conns []connection
	for _, queue := range []int{1, 2} {
		l, err := e.Listen(t.Context(), "tcp4", deviceAddr4.String()+":0")
		require.NoError(t, err)
		to := l.Addr().(*net.TCPAddr)
		steer(t, rule{to: to.AddrPort(), queue: queue})
		for range each {
			var c connection
			require.NoError(t, w.inPeer(func() (err error) {
				c.out, err = net.DialTCP("tcp", nil, to)
				return err
			}))
			conns = append(conns, c)
			in, err := l.AcceptConn(t.Context())
			require.NoError(t, err)
			go func() { _ = send(c.out, size) }() // if it fails, the receiver does too
			all.Go(func() error { return orClose(c.out, takeStream(t, in, size)) })
		}
		require.NoError(t, l.Close())
	}
	require.NoError(t, all.Wait())
	assert.NoError(t, p.check(2*each*size, conns...))
	byNAPI := uint64(0)
	for _, m := range e.Stats().Group.Members {
		assert.Positive(t, m.PicksByNAPI, "queue %d", m.Queue)
		assert.Zero(t, m.PicksByTurn)
		byNAPI += m.PicksByNAPI
	}
	assert.EqualValues(t, 2*each, byNAPI)
	for _, c := range conns {
		assert.NoError(t, c.out.Close())
	}
}

// TestConnIsANetConn runs the conformance test of a net.Conn on connections of a zero-copy
// engine. Their other end is an ordinary connection.
func TestConnIsANetConn(t *testing.T) {
	w := newWire(t)
	e := newEngine(t)
	l, err := e.Listen(t.Context(), "tcp4", deviceAddr4.String()+":0")
	require.NoError(t, err)
	defer l.Close()
	to := l.Addr().(*net.TCPAddr)
	steer(t, rule{to: to.AddrPort(), queue: 1})
	nettest.TestConn(t, func() (here, there net.Conn, stop func(), err error) {
		var out *net.TCPConn
		err = w.inPeer(func() (err error) {
			out, err = net.DialTCP("tcp", nil, to)
			return err
		})
		if err != nil {
			return nil, nil, nil, err
		}
		in, err := l.Accept()
		if err != nil {
			return nil, nil, nil, errors.Join(err, out.Close())
		}
		return in, out, func() {
			_ = in.Close() // the test may have closed one or both
			_ = out.Close()
		}, nil
	})
}

// TestDialledConnections dials connections. RSS spreads flows over four queues; the engine
// must choose source ports for which packets arrive on its two.
func TestDialledConnections(t *testing.T) {
	const size, count = 1 << 20, 12
	w := newWire(t)
	e := newEngine(t)
	p := beginProof(t, 1, 2)
	var l *net.TCPListener
	require.NoError(t, w.inPeer(func() (err error) {
		l, err = net.ListenTCP("tcp", &net.TCPAddr{IP: senderAddr4.AsSlice()})
		return err
	}))
	defer l.Close()
	var all errgroup.Group
	var conns []connection
	for range count {
		in, err := e.Dial(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		out, err := l.AcceptTCP()
		require.NoError(t, err)
		conns = append(conns, connection{out: out})
		_, err = in.Write([]byte("go"))
		require.NoError(t, err)
		all.Go(func() error {
			if _, err := io.ReadFull(out, make([]byte, 2)); err != nil {
				return err
			}
			_ = send(out, size) // if it fails, the receiver does too
			return nil
		})
		all.Go(func() error { return orClose(out, takeStream(t, in, size)) })
	}
	require.NoError(t, all.Wait())
	assert.NoError(t, p.check(count*size, conns...))
	byPort := uint64(0)
	for _, m := range e.Stats().Group.Members {
		assert.Zero(t, m.PicksByTurn)
		byPort += m.PicksByPort
	}
	assert.EqualValues(t, count, byPort)
	for _, c := range conns {
		assert.NoError(t, c.out.Close())
	}
}
