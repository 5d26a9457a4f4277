package zcnet

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/zcrx-go/zcrx"
)

// transport is the layer below an Engine: a ringTransport with loops and pools, or, in
// Socket mode, a plainTransport. No other code depends on which of them it is.
type transport interface {
	mode() zcrx.Mode
	// open takes over a connection, which arrives on the given hardware queue, or on an
	// unknown one if queue is negative. On an error conn still belongs to the caller.
	open(conn *net.TCPConn, queue int) (socket, error)
	// listen makes an acceptor for a listening socket. The acceptor does not close ln.
	listen(ln *net.TCPListener) (acceptor, error)
	group() *zcrx.Group           // nil without loops
	socketPool() *zcrx.SocketPool // nil with loops
	addStats(s *EngineStats)
	fibers() *fiberTally
	close() error
}

// acceptor accepts the connections of a listening socket.
type acceptor interface {
	// accept waits for a connection.
	accept() (arrival, error)
	// serve accepts connections and runs the server's function for each, until ctx ends, the
	// listener is closing, or accepting fails. It returns why.
	serve(ctx context.Context, sv *server) error
	close() error
}

// arrival is a connection that was accepted. It receives nothing, and uses no buffers,
// before it is opened: no program has asked for it yet.
type arrival interface {
	// open begins to receive. After an error the connection is closed.
	open() (s socket, local, remote net.Addr, err error)
	close()
}

// plainTransport is the transport of Socket mode.
type plainTransport struct {
	pool  *zcrx.SocketPool
	tally *fiberTally
}

func newPlainTransport(cfg *Config) (*plainTransport, error) {
	pool, err := zcrx.NewSocketPool(cfg.Pool)
	if err != nil {
		return nil, err
	}
	return &plainTransport{pool, &fiberTally{logger: cfg.Logger}}, nil
}

func (t *plainTransport) mode() zcrx.Mode              { return zcrx.Socket }
func (t *plainTransport) group() *zcrx.Group           { return nil }
func (t *plainTransport) socketPool() *zcrx.SocketPool { return t.pool }
func (t *plainTransport) close() error                 { return nil }
func (t *plainTransport) fibers() *fiberTally          { return t.tally }

func (t *plainTransport) addStats(s *EngineStats) { s.Group.Total = t.pool.Stats() }

func (t *plainTransport) open(conn *net.TCPConn, _ int) (socket, error) {
	s, err := t.newSocket(conn)
	if err != nil {
		return nil, err // a nil interface, not one that holds a nil *plainSocket
	}
	return s, nil
}

func (t *plainTransport) newSocket(conn *net.TCPConn) (*plainSocket, error) {
	r, err := zcrx.NewSocketReceiver(t.pool, conn)
	if err != nil {
		return nil, err
	}
	return &plainSocket{TCPConn: conn, receiver: r, tally: t.tally}, nil
}

func (t *plainTransport) listen(ln *net.TCPListener) (acceptor, error) {
	return &plainAcceptor{transport: t, ln: ln}, nil
}

type plainAcceptor struct {
	transport *plainTransport
	ln        *net.TCPListener
}

func (a *plainAcceptor) accept() (arrival, error) { return acceptPlain(a.ln, a.transport) }

// acceptPlain waits, through Go's poller, for a connection that t will open.
func acceptPlain(ln *net.TCPListener, t transport) (arrival, error) {
	c, err := ln.AcceptTCP()
	if err != nil {
		return nil, unwrapOpError(err) // the listener wraps it again
	}
	return &plainArrival{t, c}, nil
}

// unwrapOpError returns the error in a *net.OpError.
func unwrapOpError(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

func (a *plainAcceptor) close() error { return nil }

type plainArrival struct {
	transport transport
	conn      *net.TCPConn
}

func (a *plainArrival) open() (s socket, local, remote net.Addr, err error) {
	if s, err = a.transport.open(a.conn, -1); err != nil {
		return nil, nil, nil, errors.Join(err, a.conn.Close())
	}
	return s, a.conn.LocalAddr(), a.conn.RemoteAddr(), nil
}

func (a *plainArrival) close() { _ = a.conn.Close() }

// ringTransport is the transport of all modes with io_uring.
type ringTransport struct {
	loops            []*zcrx.Loop
	pools            *zcrx.Group
	sendZeroCopyFrom int

	tally    fiberTally
	watchdog watchdog
	ending   sync.Once
	ended    chan struct{} // closed when fibers have ended, and loops are about to be closed
}

func (t *ringTransport) mode() zcrx.Mode              { return t.pools.Mode() }
func (t *ringTransport) group() *zcrx.Group           { return t.pools }
func (t *ringTransport) socketPool() *zcrx.SocketPool { return nil }
func (t *ringTransport) fibers() *fiberTally          { return &t.tally }

func (t *ringTransport) close() error {
	t.ending.Do(t.endFibers)
	return errors.Join(t.pools.Close(), closeLoops(t.loops))
}

// sendingTime bounds how long a closing engine waits for what was written to be sent.
const sendingTime = 2 * time.Second

// endFibers ends the fibers of all loops, and sends what they have written. The connections
// are closed.
func (t *ringTransport) endFibers() {
	t.watchdog.stop()
	ctx, cancel := context.WithTimeout(context.Background(), sendingTime)
	defer cancel()
	t.onEachLoop(ctx, (*scheduler).shutdown)
	t.onEachLoop(ctx, (*scheduler).whenSent)
	after, cancel := context.WithTimeout(context.Background(), sendingTime)
	defer cancel()
	if ctx.Err() != nil {
		t.onEachLoop(after, func(s *scheduler, done chan struct{}) {
			s.endAll()
			s.giveUp()
			s.whenGone(done)
		})
	}
	close(t.ended)
}

// onEachLoop calls fn on every loop and waits until it has closed done, or ctx ends. Closed
// loops are left out.
func (t *ringTransport) onEachLoop(ctx context.Context, fn func(s *scheduler, done chan struct{})) {
	var all []chan struct{}
	for _, loop := range t.pools.Loops() {
		done := make(chan struct{})
		if loop.Post(func() { fn(schedulerHere(), done) }) == nil {
			all = append(all, done)
		}
	}
	for _, done := range all {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

func (t *ringTransport) addStats(s *EngineStats) {
	s.Group = t.pools.Stats()
	for _, l := range t.pools.Loops() {
		s.Loops = append(s.Loops, l.Stats())
	}
}

func (t *ringTransport) open(conn *net.TCPConn, queue int) (socket, error) {
	f := currentFiber()
	if f == nil {
		return t.openPicked(conn, queue)
	}
	if pool := t.pools.Pool(f.sched.loop); pool != nil && t.mode() != zcrx.ZeroCopy {
		return t.openOn(pool, conn) // where the fiber does not have to wait for another loop
	}
	return awaitOwned(context.Background(), f, func(context.Context) (socket, error) {
		return t.openPicked(conn, queue)
	}, func(s socket) { _ = s.close(func() {}) })
}

func (t *ringTransport) openPicked(conn *net.TCPConn, queue int) (socket, error) {
	pool, err := t.pick(conn, queue)
	if err != nil {
		return nil, err
	}
	return t.openOn(pool, conn)
}

func (t *ringTransport) openOn(pool zcrx.BufferPool, conn *net.TCPConn) (socket, error) {
	r, err := zcrx.NewReceiver(pool, conn)
	if err != nil {
		return nil, err
	}
	return newRingSocket(r, t), nil
}

func (t *ringTransport) pick(conn *net.TCPConn, queue int) (zcrx.BufferPool, error) {
	if slices.Contains(t.pools.Queues(), queue) {
		return t.pools.PickQueue(queue)
	}
	return t.pools.Pick(conn)
}

func closeLoops(loops []*zcrx.Loop) error {
	var errs []error
	for _, l := range loops {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
