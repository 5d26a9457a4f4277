package zcrx

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Listener accepts TCP connections onto an engine's loops. It is a net.Listener,
// too. All methods are safe from any goroutine.
type Listener struct {
	engine *Engine
	tcp    *net.TCPListener
	conns  connSet

	// In any mode but Socket connections are accepted from a second fd of the
	// socket: a net.TCPListener hands out no fds.
	file *os.File
	raw  syscall.RawConn

	accepted chan *Conn    // unbuffered: what nobody accepts stays in the kernel's queue
	closing  chan struct{} // closed by Close
	ended    chan struct{} // closed when the acceptor has ended
	endErr   error         // why it did; read after ended
	closed   atomic.Bool

	total, retries atomic.Uint64
}

var _ net.Listener = (*Listener)(nil)

// Listen listens on address over network "tcp", "tcp4" or "tcp6", with an engine of
// its own, which ends when the listener and the last of its connections are closed.
func Listen(ctx context.Context, network, address string, cfg Config) (*Listener, error) {
	e, err := NewEngine(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l, err := e.Listen(ctx, network, address)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	l.conns.whenEmpty(e.closeSoon)
	return l, nil
}

// Listen listens on address over network "tcp", "tcp4" or "tcp6".
func (e *Engine) Listen(ctx context.Context, network, address string) (*Listener, error) {
	if err := checkNetwork(network); err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: controlListener}
	lc.SetMultipathTCP(false) // zero copy is for plain TCP
	ln, err := lc.Listen(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("zcrx: listen on %s %s: a %T is no TCP listener", network, address, ln), ln.Close())
	}
	l, err := e.NewListener(tcp)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return l, nil
}

// NewListener takes over a listening socket, for instance one of several on a port
// (SO_REUSEPORT) or one from a service manager. Its connections have its socket's
// options. On an error ln is still the caller's.
func (e *Engine) NewListener(ln *net.TCPListener) (*Listener, error) {
	l := &Listener{
		engine: e, tcp: ln,
		accepted: make(chan *Conn), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := l.openFile(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.Join(ErrClosed, l.closeFile())
	}
	e.listeners[l] = struct{}{}
	l.conns.whenEmpty(func() { e.forget(l) })
	go l.acceptLoop()
	return l, nil
}

func (l *Listener) openFile() (err error) {
	if l.engine.plain != nil {
		return nil
	}
	if l.file, err = l.tcp.File(); err != nil {
		return err
	}
	if l.raw, err = l.file.SyscallConn(); err != nil {
		return errors.Join(err, l.file.Close())
	}
	if l.engine.mode == ZeroCopy {
		// Here, for the packets that come before a connection is accepted.
		dropErr := errors.New("the listener is closed")
		_ = l.raw.Control(func(fd uintptr) { dropErr = dropUrgent(int(fd)) })
		if dropErr != nil {
			l.engine.warn("drop urgent packets", dropErr)
		}
	}
	return nil
}

func (l *Listener) closeFile() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

func (e *Engine) forget(l *Listener) {
	e.mu.Lock()
	delete(e.listeners, l)
	e.mu.Unlock()
}

// Engine is what serves the connections.
func (l *Listener) Engine() *Engine { return l.engine }

// Addr is where it listens.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// AcceptConn waits for the next connection, which the caller must Close. It
// answers net.ErrClosed after Close.
func (l *Listener) AcceptConn(ctx context.Context) (*Conn, error) {
	select {
	case c := <-l.accepted:
		return c, nil
	case <-l.ended:
		return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: l.endErr}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept is AcceptConn as net.Listener has it.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn(context.Background())
	if err != nil {
		return nil, err // not a Conn that is nil in a net.Conn that is not
	}
	return c, nil
}

// NetListener is the listener as a net.Listener, which it is.
func (l *Listener) NetListener() net.Listener { return l }

// Close ends listening. Connections that were accepted stay. A second Close answers
// net.ErrClosed.
func (l *Listener) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	close(l.closing)
	err := errors.Join(l.closeFile(), l.tcp.Close())
	if !onAnyLoop(l.engine.loops) { // the acceptor may wait for this very loop
		<-l.ended
	}
	l.conns.close()
	return err
}

// Shutdown ends listening, waits until every connection is closed, and closes those
// that are left when ctx ends, whose error it then answers. It must not be called
// on a loop.
func (l *Listener) Shutdown(ctx context.Context) error {
	err := l.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // closed before: the connections are left to wait for
	}
	gone := make(chan struct{})
	l.conns.whenEmpty(func() { close(gone) })
	select {
	case <-gone:
		return err
	case <-ctx.Done():
		l.conns.closeAll()
		return errors.Join(ctx.Err(), err)
	}
}

// ListenerStats is a snapshot of a listener's counters.
type ListenerStats struct {
	Accepted uint64 // connections so far
	Open     int    // connections that are not closed
	Retries  uint64 // times that accepting failed for a while, as without free fds
}

// Stats is a snapshot of the listener's counters.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{Accepted: l.total.Load(), Open: l.conns.len(), Retries: l.retries.Load()}
}

// acceptLoop is the acceptor: one goroutine that takes connections from the kernel
// and gives each to a loop.
func (l *Listener) acceptLoop() {
	defer close(l.ended)
	pause := time.Duration(0)
	for {
		c, err := l.acceptOne()
		switch {
		case l.isClosing():
			if err == nil {
				_ = c.Close()
			}
			l.endErr = net.ErrClosed
			return
		case err == nil:
			pause = 0
			l.total.Add(1)
			select {
			case l.accepted <- c:
			case <-l.closing:
				_ = c.Close()
			}
		case passingAcceptError(err):
			l.retries.Add(1)
			pause = min(max(5*time.Millisecond, 2*pause), time.Second)
			l.engine.warn("accept", err)
			select {
			case <-time.After(pause):
			case <-l.closing:
			}
		default:
			l.endErr = err
			return
		}
	}
}

func (l *Listener) isClosing() bool {
	select {
	case <-l.closing:
		return true
	default:
		return false
	}
}

// passingAcceptError tells errors that concern one connection, or that pass when
// others end, from those of the listening socket.
func passingAcceptError(err error) bool {
	for _, errno := range []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED,
		syscall.EINTR, syscall.EPROTO, syscall.EPERM, syscall.ENETDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (e *Engine) warn(what string, err error) {
	if e.config.Logger != nil {
		e.config.Logger.Warn("zcrx: "+what, "error", err)
	}
}

// acceptOne waits for one connection and puts it on a loop.
func (l *Listener) acceptOne() (*Conn, error) {
	e := l.engine
	if e.plain != nil {
		c, err := l.tcp.AcceptTCP()
		if err != nil {
			return nil, err
		}
		s, err := newPlainSocket(e.plain, c)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return l.conns.admit(s, c.LocalAddr(), c.RemoteAddr()), nil
	}
	fd, remote, err := acceptFD(l.raw)
	if err != nil {
		return nil, err
	}
	pool, err := e.group.pick(e.napiOf(fd))
	if err != nil {
		return nil, errors.Join(err, sys.Close(fd))
	}
	r := newReceiver(pool, fd)
	local := localAddr(fd)
	r.start()
	return l.conns.admit(e.newRingSocket(r), local, remote), nil
}

// napiOf is 0 where no queue is told from another.
func (e *Engine) napiOf(fd int) uint32 {
	if e.mode != ZeroCopy {
		return 0
	}
	return incomingNAPIOf(fd)
}
