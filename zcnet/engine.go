package zcnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/nic"
)

// Engine is the loops and pools that serve connections. Any number of listeners and
// connections share it. All methods are safe from any goroutine.
type Engine struct {
	transport transport
	reason    error // why Auto took no better mode
	config    Config

	dialed connSet // and adopted ones; the listeners have their own

	mu        sync.Mutex
	listeners map[*Listener]struct{} // guarded by mu
	closed    bool                   // guarded by mu
}

// NewEngine makes an engine. The caller must Close it. Errors match
// zcrx.ErrNotSupported where the mode does not work; Auto and Socket always do.
func NewEngine(ctx context.Context, cfg Config) (*Engine, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	e := &Engine{config: cfg, listeners: map[*Listener]struct{}{}}
	if cfg.Mode != zcrx.Socket {
		t, err := newRingTransport(ctx, &cfg)
		if err == nil {
			e.transport, e.reason = t, t.pools.Reason()
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

// newRingTransport makes loops and pools, or nothing.
func newRingTransport(ctx context.Context, cfg *Config) (*ringTransport, error) {
	t := &ringTransport{sendZeroCopyFrom: cfg.SendZeroCopyFrom}
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

// Reason says why Auto took no better mode; nil else.
func (e *Engine) Reason() error { return e.reason }

// Group returns the engine's loops and pools; nil in Socket mode. It stays the
// engine's.
func (e *Engine) Group() *zcrx.Group { return e.transport.group() }

// Dial connects to address over network "tcp", "tcp4" or "tcp6". In ZeroCopy mode it
// takes a source port for which the interface's RSS leads the peer's packets to one
// of the engine's queues, if there is one among a thousand.
func (e *Engine) Dial(ctx context.Context, network, address string) (*Conn, error) {
	if err := checkNetwork(network); err != nil {
		return nil, err
	}
	steer := e.steering()
	tcp, err := dialTCP(ctx, network, address, steer)
	if err != nil {
		return nil, err
	}
	queue := -1
	if steer != nil {
		queue = steer.Queue(tcp)
	}
	conn, err := e.newConn(tcp, queue)
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return conn, nil
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
		return nil, errors.Join(fmt.Errorf("zcnet: dial %s %s: a %T is no TCP connection", network, address, c), c.Close())
	}
	return tcp, nil
}

// steering returns nil where source ports decide nothing, or nothing that is known: flow
// rules may do.
func (e *Engine) steering() *nic.Steering {
	if e.Mode() != zcrx.ZeroCopy {
		return nil
	}
	s, err := nic.NewSteering(e.config.Interface, e.Group().Queues())
	if err != nil {
		return nil
	}
	return s
}

// DialContext is Dial for what takes a function that makes net.Conns, such as
// http.Transport.
func (e *Engine) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := e.Dial(ctx, network, address)
	if err != nil {
		return nil, err // a nil interface, not one that holds a nil *Conn
	}
	return c, nil
}

// NewConn takes over an established connection: conn is closed for its caller. In
// any mode but Socket no buffered reader may hold bytes of conn, and it must not be a
// kernel TLS socket. On an error conn is still the caller's.
func (e *Engine) NewConn(conn *net.TCPConn) (*Conn, error) { return e.newConn(conn, -1) }

// newConn knows the hardware queue that the connection arrives on, if it is not
// negative.
func (e *Engine) newConn(conn *net.TCPConn, queue int) (*Conn, error) {
	if e.dialed.isClosed() {
		return nil, zcrx.ErrClosed
	}
	local, remote := conn.LocalAddr(), conn.RemoteAddr()
	s, err := e.transport.open(conn, queue)
	if err != nil {
		return nil, err
	}
	return e.dialed.admit(s, local, remote), nil
}

// Close ends the engine: its listeners, its connections, then pools and loops.
// Buffers that are out stay valid. It must not be called on one of its loops. It is
// idempotent.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	listeners := e.listeners
	e.listeners = nil
	e.mu.Unlock()
	var errs []error
	for l := range listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) { // its user may have closed it before
			errs = append(errs, err)
		}
		l.conns.closeAll()
	}
	e.dialed.closeAll()
	errs = append(errs, e.transport.close())
	return errors.Join(errs...)
}

// EngineStats is a snapshot of an engine's counters.
type EngineStats struct {
	Connections int              // that are open
	Group       zcrx.GroupStats  // of the pools; in Socket mode Total alone is filled in
	Loops       []zcrx.LoopStats // in the order of Group().Loops()
}

// Stats returns a snapshot of the engine's counters.
func (e *Engine) Stats() EngineStats {
	s := EngineStats{Connections: e.dialed.len()}
	e.mu.Lock()
	for l := range e.listeners {
		s.Connections += l.conns.len()
	}
	e.mu.Unlock()
	e.transport.addStats(&s)
	return s
}

// Dial connects with an engine of its own, which ends with the connection. Programs
// with more than one connection share an Engine.
func Dial(ctx context.Context, network, address string, cfg Config) (*Conn, error) {
	e, err := NewEngine(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c, err := e.Dial(ctx, network, address)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	e.dialed.whenEmpty(e.closeSoon)
	e.dialed.close()
	return c, nil
}

// closeSoon is Close, from one of the engine's loops too.
func (e *Engine) closeSoon() {
	if e.transport.onLoop() {
		go func() { _ = e.Close() }() // nobody is left to tell
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
