package zcnet

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// serve accepts on every loop, with one request of the ring that goes on (multishot accept).
// The loops share the listening socket: the kernel wakes one of them for each connection.
func (a *ringAcceptor) serve(ctx context.Context, sv *server) error {
	// Otherwise the request would end instead of waiting.
	if err := a.setNonblock(false); err != nil {
		return err
	}
	defer func() { _ = a.setNonblock(true) }() // only AcceptConn needs it
	var places []*servedLoop
	for _, loop := range a.transport.pools.Loops() {
		p := newServedLoop(a, sv, loop)
		if err := loop.Post(p.arm); err != nil {
			sv.fail(err)
			break
		}
		places = append(places, p)
	}
	err := sv.wait(ctx)
	for _, p := range places {
		if p.loop.Post(p.stop) != nil {
			continue // the loop has cancelled the request
		}
		select {
		case <-p.ended:
		case <-a.transport.ended:
		}
	}
	return err
}

func (a *ringAcceptor) setNonblock(nonblocking bool) error {
	var err error
	if cerr := a.raw.Control(func(fd uintptr) { err = sys.SetNonblock(int(fd), nonblocking) }); cerr != nil {
		return cerr
	}
	return err
}

// servedLoop accepts connections on a loop. It belongs to the loop's thread.
type servedLoop struct {
	acceptor *ringAcceptor
	server   *server
	loop     *zcrx.Loop
	fd       int      // the listening socket; open until ended is closed
	local    net.Addr // of every connection; nil if the listener listens on all addresses

	armed    bool          // the request is in flight
	full     bool          // there are as many connections as may be
	stopping bool          // stop was called
	pause    time.Duration // after the last temporary error
	held     []int         // connections that were accepted when it was full
	ended    chan struct{} // closed when nothing is in flight any more, after stop

	prepares  func(*uring.SQE)
	completes func(*uring.CQE)
}

func newServedLoop(a *ringAcceptor, sv *server, loop *zcrx.Loop) *servedLoop {
	p := &servedLoop{acceptor: a, server: sv, loop: loop, ended: make(chan struct{})}
	_ = a.raw.Control(func(fd uintptr) { p.fd = int(fd) }) // serve has used it just now
	if at, ok := sv.listener.Addr().(*net.TCPAddr); ok && !at.IP.IsUnspecified() {
		p.local = at
	}
	p.prepares = func(s *uring.SQE) { s.PrepMultishotAccept(p.fd, sys.SockCloseOnExec) }
	p.completes = p.complete
	return p
}

// arm starts the request.
func (p *servedLoop) arm() {
	if p.armed || p.full || p.stopping {
		return
	}
	err := p.loop.Start(p.prepares, p.completes)
	switch {
	case errors.Is(err, zcrx.ErrQueueFull):
		_ = p.loop.Post(p.arm) // a closed loop accepts nothing
	case err != nil:
		p.server.fail(err)
	default:
		p.armed = true
	}
}

// stop ends accepting.
func (p *servedLoop) stop() {
	p.stopping = true
	for _, fd := range p.held {
		_ = sys.Close(fd)
	}
	p.held = nil
	if !p.armed {
		close(p.ended)
		return
	}
	p.cancel()
}

// cancel ends the request.
func (p *servedLoop) cancel() {
	err := p.loop.Start(func(s *uring.SQE) { s.PrepCancelFD(p.fd, uring.CancelAll) }, func(*uring.CQE) {})
	if errors.Is(err, zcrx.ErrQueueFull) {
		_ = p.loop.Post(p.cancel) // a closing loop cancels it
	}
}

// complete takes a connection, or the end of the request.
func (p *servedLoop) complete(c *uring.CQE) {
	if !c.More() {
		p.armed = false
	}
	retry := time.Duration(0)
	switch errno := c.Errno(); {
	case errno == 0:
		p.pause = 0
		p.accepted(int(c.Res))
	case errno == syscall.ECANCELED:
	case isTemporaryAcceptError(errno):
		l := p.server.listener
		l.retries.Add(1)
		l.engine.warn("accept", errno)
		p.pause = retryPause(p.pause)
		retry = p.pause
	default:
		p.server.fail(os.NewSyscallError("accept", errno))
		return
	}
	switch {
	case p.armed:
	case p.stopping:
		close(p.ended)
	case retry > 0:
		time.AfterFunc(retry, func() { _ = p.loop.Post(p.arm) }) // a closed loop accepts nothing
	default:
		p.arm()
	}
}

// accepted takes a new connection.
func (p *servedLoop) accepted(fd int) {
	if p.stopping {
		_ = sys.Close(fd)
		return
	}
	if p.full || !p.server.enter(p.room) {
		p.held = append(p.held, fd)
		if !p.full {
			p.full = true
			p.cancel()
		}
		return
	}
	p.admit(fd)
}

// room is called, on any goroutine, when a function has ended.
func (p *servedLoop) room() {
	_ = p.loop.Post(func() { // a closed loop accepts nothing
		for len(p.held) > 0 {
			if !p.server.enter(p.room) {
				return
			}
			fd := p.held[0]
			p.held = p.held[1:]
			p.admit(fd)
		}
		p.full = false
		p.arm()
	})
}

// admit starts the function for a connection, on the loop that receives for it.
func (p *servedLoop) admit(fd int) {
	a, sv, l := p.acceptor, p.server, p.server.listener
	pool := a.transport.pools.Pool(p.loop)
	if a.transport.mode() == zcrx.ZeroCopy {
		picked, err := a.transport.pools.PickNAPI(sys.IncomingNAPI(fd))
		if err == nil {
			pool = picked
		}
	}
	local := p.local
	if local == nil {
		local = localAddr(fd)
	}
	remote := remoteAddr(fd)
	s := newRingSocket(zcrx.NewReceiverFD(pool, fd), a.transport)
	c, err := l.conns.admit(s, local, remote)
	if err != nil {
		sv.leave() // the listener is closed, and so is the connection
		return
	}
	l.total.Add(1)
	if a.transport.startFiber(pool.Loop(), func() { sv.serve(c) }, sv.name) != nil {
		_ = c.Close()
		sv.leave()
	}
}
