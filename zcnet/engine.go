package zcnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/nic"
)

// Engine holds the loops and pools that serve connections. Any number of listeners and
// connections share it. All methods are safe for concurrent use.
type Engine struct {
	transport transport
	reason    error // why Auto selected no better mode
	config    Config

	dialed connSet // of Dial and NewConn; each listener has a set of its own

	// ending is done when Close is called.
	ending context.Context
	end    context.CancelFunc

	mu        sync.Mutex
	listeners map[*Listener]struct{} // guarded by mu
	closed    bool                   // guarded by mu
}

// NewEngine makes an engine. The caller must Close it. ctx limits how long NewEngine
// waits for loops and pools. If the mode is not available, the error matches
// zcrx.ErrNotSupported. Mode Socket is always available, and Auto falls back to it.
func NewEngine(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{config: cfg, listeners: map[*Listener]struct{}{}}
	e.ending, e.end = context.WithCancel(context.Background())
	if cfg.Mode != zcrx.Socket {
		t, err := newRingTransport(ctx, &cfg)
		if err == nil {
			e.transport, e.reason = t, t.pools.Reason()
			if cfg.Mode == zcrx.Auto && t.mode() == zcrx.Provided {
				if e.transport, err = newAutoTransport(t, &cfg); err != nil {
					return nil, errors.Join(err, t.close())
				}
			}
			return e, nil
		}
		if cfg.Mode != zcrx.Auto || !errors.Is(err, zcrx.ErrNotSupported) {
			return nil, err
		}
		e.reason = err
	}
	plain, err := newPlainTransport(&cfg)
	if err != nil {
		return nil, err
	}
	e.transport = plain
	return e, nil
}

// newRingTransport makes the loops and their pools. On an error it closes what it made.
func newRingTransport(ctx context.Context, cfg *Config) (*ringTransport, error) {
	t := &ringTransport{sendZeroCopyFrom: cfg.SendZeroCopyFrom, ended: make(chan struct{})}
	t.tally.logger = cfg.Logger
	t.watchdog = watchdog{tally: &t.tally, threshold: cfg.StallThreshold}
	for range cfg.Loops {
		l, err := zcrx.NewLoop(cfg.Loop)
		if err != nil {
			return nil, errors.Join(err, closeLoops(t.loops))
		}
		t.loops = append(t.loops, l)
	}
	g, err := zcrx.NewGroup(ctx, zcrx.GroupConfig{
		Mode: cfg.Mode, Interface: cfg.Interface, Queues: cfg.Queues, Loops: t.loops, Pool: cfg.Pool,
	})
	if err != nil {
		return nil, errors.Join(err, closeLoops(t.loops))
	}
	t.pools = g
	return t, nil
}

// Mode returns how bytes come into buffers.
func (e *Engine) Mode() zcrx.Mode { return e.transport.mode() }

// Reason returns why Auto selected no better mode. It returns nil if it selected the best
// one, or if the mode was named.
func (e *Engine) Reason() error { return e.reason }

// SocketPool returns the pool of an engine in Socket mode, or in mode Auto without zero copy,
// else nil. It belongs to the engine.
func (e *Engine) SocketPool() *zcrx.SocketPool { return e.transport.socketPool() }

// Group returns the engine's loops and pools, or nil in Socket mode. It belongs to the
// engine: the caller must not close it or replace its loops.
func (e *Engine) Group() *zcrx.Group {
	codeOnLoops.Store(true) // with Loop.Post and the like
	return e.transport.group()
}

// Dial connects to address over network "tcp", "tcp4" or "tcp6". The caller must Close
// the connection. In ZeroCopy mode Dial looks at up to 1000 source ports for one whose
// packets the interface's RSS delivers to a queue of the engine; if it finds none, the
// kernel chooses the port.
func (e *Engine) Dial(ctx context.Context, network, address string) (*Conn, error) {
	if err := checkNetwork(network); err != nil {
		return nil, err
	}
	if e.dialed.isClosed() {
		return nil, dialError(network, zcrx.ErrClosed)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(e.ending, func() { cancel(zcrx.ErrClosed) })()
	steer := e.steering()
	dial := func(ctx context.Context) (*net.TCPConn, error) { return dialTCP(ctx, network, address, steer) }
	tcp, err := awaitResult(ctx, dial, func(tcp *net.TCPConn) { _ = tcp.Close() })
	if err != nil {
		if errors.Is(context.Cause(ctx), zcrx.ErrClosed) {
			err = dialError(network, zcrx.ErrClosed)
		}
		return nil, err
	}
	queue := -1
	if steer != nil {
		queue = steer.Queue(tcp)
	}
	decided := false
	defer func() {
		if !decided { // the fiber that dials is ended
			_ = tcp.Close()
		}
	}()
	conn, err := e.newConn(tcp, queue)
	decided = true
	if errors.Is(err, zcrx.ErrClosed) {
		_ = tcp.Close()
		return nil, dialError(network, err)
	}
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return conn, nil
}

// dialError returns err as package net does.
func dialError(network string, err error) error {
	if errors.Is(err, zcrx.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: "dial", Net: network, Err: err}
}

func dialTCP(ctx context.Context, network, address string, steer *nic.Steering) (*net.TCPConn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false) // zero copy is for plain TCP
	if steer != nil {
		d.ControlContext = steer.Control
	}
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("zcnet: dial %s %s: a %T is not a TCP connection", network, address, c), c.Close())
	}
	return tcp, nil
}

// steering returns nil if the source port does not decide which queue packets arrive on,
// or if that is not known: flow rules may decide it.
func (e *Engine) steering() *nic.Steering {
	if e.Mode() != zcrx.ZeroCopy {
		return nil
	}
	s, err := nic.NewSteering(e.config.Interface, e.transport.group().Queues())
	if err != nil {
		return nil
	}
	return s
}

// DialContext is Dial with the signature of net.Dialer.DialContext, for http.Transport
// and others.
func (e *Engine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := e.Dial(ctx, network, address)
	if err != nil {
		return nil, err // a nil interface, not one that holds a nil *Conn
	}
	return c, nil
}

// NewConn takes over an established connection. From then on the caller must not use
// conn, and must Close the Conn. No bytes of conn may be left in a buffered reader: the
// Conn would not receive them. Modes ZeroCopy and DeviceLess refuse sockets of kernel TLS
// and of Multipath TCP with a *zcrx.UnsupportedError. On an error conn still belongs to
// the caller.
func (e *Engine) NewConn(conn *net.TCPConn) (*Conn, error) { return e.newConn(conn, -1) }

// newConn is NewConn for a connection that arrives on the given hardware queue, or on an
// unknown one if queue is negative.
func (e *Engine) newConn(conn *net.TCPConn, queue int) (*Conn, error) {
	if e.dialed.isClosed() {
		return nil, zcrx.ErrClosed
	}
	local, remote := conn.LocalAddr(), conn.RemoteAddr()
	s, err := e.transport.open(conn, queue)
	if err != nil {
		return nil, err
	}
	return e.dialed.admit(s, local, remote, nil)
}

// Close closes the engine's listeners and connections, then its pools and loops. Leased
// buffers stay valid until they are released. On a loop, but for fibers of other engines, Close
// returns an error and closes nothing, because it waits for loops. Fibers of the engine end: calls that wait for a
// connection return an error, and a fiber that waits in Await ends as by runtime.Goexit. What
// fibers and Handlers have written is still sent, for up to 2 seconds. Close is idempotent.
func (e *Engine) Close() error {
	if g := e.transport.group(); g != nil && zcrx.OnAnyLoop() {
		f := currentFiber()
		if f == nil || slices.Contains(g.Loops(), f.sched.loop) {
			return errClosedOnLoop
		}
		_, err := awaitValue(f, func() (struct{}, error) { return struct{}{}, e.Close() })
		return err
	}
	e.end()
	e.mu.Lock()
	e.closed = true
	listeners := e.listeners
	e.listeners = nil
	e.mu.Unlock()
	var errs []error
	for l := range listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // the program may have closed it before
			errs = append(errs, err)
		}
		l.conns.closeAll()
	}
	e.dialed.closeAll()
	errs = append(errs, e.transport.close())
	return errors.Join(errs...)
}

var errClosedOnLoop = errors.New("zcnet: Engine.Close waits for loops, and may not be called on one: use a goroutine")

// EngineStats is a snapshot of an engine's counters.
type EngineStats struct {
	Connections int              // open connections
	Group       zcrx.GroupStats  // counters of the pools; in Socket mode only Total is set
	Loops       []zcrx.LoopStats // in the order of Group().Loops()
	Fibers      FiberStats
	// Socket has the counters of connections that goroutines read, in mode Auto without
	// zero copy: see Config.Mode.
	Socket zcrx.PoolStats
}

// Stats returns a snapshot of the engine's counters.
func (e *Engine) Stats() EngineStats {
	s := EngineStats{Connections: e.dialed.len(), Fibers: e.transport.fibers().stats()}
	e.mu.Lock()
	for l := range e.listeners {
		s.Connections += l.conns.len()
	}
	e.mu.Unlock()
	e.transport.addStats(&s)
	return s
}

// Dial makes an engine and connects with it. The engine is closed with the connection.
// Programs with more than one connection should share an Engine.
func Dial(ctx context.Context, network, address string, cfg Config) (*Conn, error) {
	e, err := NewEngine(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c, err := e.Dial(ctx, network, address)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.closeWhenIdle()
	return c, nil
}

// closeWhenIdle closes the engine when the connections that were dialled are closed. From
// now on there will be no others.
func (e *Engine) closeWhenIdle() {
	e.dialed.whenEmpty(e.closeSoon)
	e.dialed.close()
}

// closeSoon is Close, but may also be called on one of the engine's loops.
func (e *Engine) closeSoon() {
	if zcrx.OnAnyLoop() {
		go func() { _ = e.Close() }() // no caller is left to return an error to
		return
	}
	_ = e.Close()
}

func checkNetwork(network string) error {
	switch network {
	case "tcp", "tcp4", "tcp6":
		return nil
	}
	return fmt.Errorf("zcnet: network %q: allowed are tcp, tcp4 and tcp6", network)
}
