package zcnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
)

// Listener accepts TCP connections and assigns them to an engine's loops. It implements
// net.Listener. All methods are safe for concurrent use.
type Listener struct {
	engine *Engine
	tcp    *net.TCPListener
	conns  connSet

	acceptor acceptor

	mu        sync.Mutex
	accepting bool          // guarded by mu: acceptLoop runs, or has run
	accepts   bool          // guarded by mu: AcceptConn was called
	serving   chan struct{} // guarded by mu: closed when Serve returns; nil if it does not run

	accepted chan arrival  // unbuffered
	closing  chan struct{} // closed by Close
	ended    chan struct{} // closed when acceptLoop has returned
	endErr   error         // why it returned; read after ended is closed
	closed   atomic.Bool

	total, retries atomic.Uint64
}

var _ net.Listener = (*Listener)(nil)

// Listen makes an engine and listens with it on address over network "tcp", "tcp4" or
// "tcp6". The engine is closed when the listener and all connections are closed, those that
// were dialled with the engine included. ctx is for Listen alone and does not limit the
// listener.
func Listen(ctx context.Context, network, address string, cfg Config) (*Listener, error) {
	e, err := NewEngine(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l, err := e.Listen(ctx, network, address)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	l.conns.whenEmpty(e.closeWhenIdle)
	return l, nil
}

// Listen listens on address over network "tcp", "tcp4" or "tcp6". The caller must Close
// the listener. ctx is for Listen alone and does not limit the listener.
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
		return nil, errors.Join(fmt.Errorf("zcnet: listen on %s %s: a %T is not a TCP listener", network, address, ln), ln.Close())
	}
	l, err := e.NewListener(tcp)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return l, nil
}

// NewListener takes over a listening socket, for instance one of several on a port
// (SO_REUSEPORT) or one from a service manager. From then on the caller must not use ln,
// and must Close the Listener. Accepted connections inherit the options of the listening
// socket. In modes ZeroCopy and DeviceLess ln must not use Multipath TCP, which package net
// enables by default (see net.ListenConfig.SetMultipathTCP). On an error ln still belongs
// to the caller.
func (e *Engine) NewListener(ln *net.TCPListener) (*Listener, error) {
	a, err := e.transport.listen(ln)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		engine: e, tcp: ln, acceptor: a,
		accepted: make(chan arrival), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.Join(zcrx.ErrClosed, a.close())
	}
	e.listeners[l] = struct{}{}
	l.conns.whenEmpty(func() { e.forget(l) })
	return l, nil
}

func (e *Engine) forget(l *Listener) {
	e.mu.Lock()
	delete(e.listeners, l)
	e.mu.Unlock()
}

// Engine returns the engine that serves the listener's connections.
func (l *Listener) Engine() *Engine { return l.engine }

// Addr returns the address that the listener listens on, a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// AcceptConn waits for the next connection and returns it. The caller must Close the
// connection. AcceptConn returns ctx's error if ctx ends first, and an error that matches
// net.ErrClosed after Close. In a Handler it returns an error that matches ErrWouldBlock.
func (l *Listener) AcceptConn(ctx context.Context) (*Conn, error) {
	if currentFiber() == nil && blocksLoop() {
		return nil, l.acceptError(ErrWouldBlock)
	}
	if err := l.startAccepting(); err != nil {
		return nil, l.acceptError(err)
	}
	return awaitResult(ctx, l.awaitArrival, func(c *Conn) { _ = c.Close() })
}

// awaitArrival is AcceptConn, once acceptLoop runs.
func (l *Listener) awaitArrival(ctx context.Context) (*Conn, error) {
	select {
	case a := <-l.accepted:
		c, err := l.admit(a)
		if err != nil {
			return nil, l.acceptError(err)
		}
		l.total.Add(1)
		return c, nil
	case <-l.closing:
		return nil, l.acceptError(net.ErrClosed)
	case <-l.ended:
		return nil, l.acceptError(l.endErr)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startAccepting makes AcceptConn the one that accepts.
func (l *Listener) startAccepting() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving != nil {
		return errServing
	}
	l.accepts = true
	l.runAcceptLoop()
	return nil
}

// runAcceptLoop starts acceptLoop, unless it runs or the listener is closed. It is called with
// mu held.
func (l *Listener) runAcceptLoop() {
	if !l.accepting && !l.isClosing() {
		l.accepting = true
		go l.acceptLoop()
	}
}

func (l *Listener) acceptError(err error) error {
	if errors.Is(err, zcrx.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: "accept", Net: "tcp", Addr: l.Addr(), Err: err}
}

// admit makes a connection of an arrival.
func (l *Listener) admit(a arrival) (*Conn, error) {
	s, local, remote, err := a.open()
	if err != nil {
		return nil, err
	}
	return l.conns.admit(s, local, remote, nil)
}

// Accept is AcceptConn without a context. It implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptConn(context.Background())
	if err != nil {
		return nil, err // a nil interface, not one that holds a nil *Conn
	}
	return c, nil
}

// Close stops listening. Connections that AcceptConn or Accept returned stay open. A
// second Close returns an error that matches net.ErrClosed.
func (l *Listener) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: net.ErrClosed}
	}
	l.mu.Lock()
	close(l.closing)
	serving := l.serving
	if !l.accepting {
		l.endErr = net.ErrClosed
		close(l.ended)
	}
	l.mu.Unlock()
	onLoop := zcrx.OnAnyLoop() // there it must not wait: Serve and acceptLoop may wait for that loop
	var err error
	switch {
	case serving == nil:
		err = l.closeSocket()
	case onLoop:
		go func() { <-serving; _ = l.closeSocket() }() // no caller is left to return an error to
	default:
		<-serving // until then the loops' requests use the socket
		err = l.closeSocket()
	}
	if !onLoop {
		<-l.ended
	}
	l.conns.close()
	return err
}

func (l *Listener) closeSocket() error { return errors.Join(l.acceptor.close(), l.tcp.Close()) }

// Shutdown stops listening and waits until all connections of the listener are closed, and what
// was written to them has been sent (see Conn.Close). If
// ctx ends first, Shutdown closes the connections that are left and returns an error that
// matches ctx's. In a Handler it returns an error that matches ErrWouldBlock, and does nothing.
// In the fiber of one of these connections it waits for that too, until ctx ends.
func (l *Listener) Shutdown(ctx context.Context) error {
	if f := currentFiber(); f != nil {
		_, err := awaitValue(f, func() (struct{}, error) { return struct{}{}, l.Shutdown(ctx) })
		return err
	}
	if blocksLoop() {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.Addr(), Err: ErrWouldBlock}
	}
	err := l.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // closed before; its connections may still be open
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
	Accepted uint64 // connections accepted so far
	Open     int    // connections that are open
	Retries  uint64 // temporary errors of accept, for instance because no fd was free
}

// Stats returns a snapshot of the listener's counters.
func (l *Listener) Stats() ListenerStats {
	return ListenerStats{Accepted: l.total.Load(), Open: l.conns.len(), Retries: l.retries.Load()}
}

// acceptLoop runs on one goroutine for each listener. It accepts connections and hands them
// to AcceptConn. At most one of them waits for that; the others stay in the kernel's queue.
func (l *Listener) acceptLoop() {
	defer close(l.ended)
	pause := time.Duration(0)
	for {
		a, err := l.acceptor.accept()
		switch {
		case l.isClosing():
			if err == nil {
				a.close()
			}
			l.endErr = net.ErrClosed
			return
		case err == nil:
			pause = 0
			select {
			case l.accepted <- a:
			case <-l.closing:
				a.close()
			}
		case isTemporaryAcceptError(err):
			l.retries.Add(1)
			pause = retryPause(pause)
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

// isTemporaryAcceptError reports whether err concerns a single connection, or resources
// that other connections will free, rather than the listening socket.
func isTemporaryAcceptError(err error) bool {
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
		e.config.Logger.Warn("zcnet: "+what, "error", err)
	}
}
