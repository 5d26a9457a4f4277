package zcnet

import (
	"context"
	"errors"
	"net"
	"os"
	"sync/atomic"
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
		places = append(places, newServedLoop(a, sv, loop))
	}
	armed := 0
	for _, p := range places {
		p.all = places
		if err := p.loop.Post(p.arm); err != nil {
			sv.fail(err)
			break
		}
		armed++
	}
	err := sv.wait(ctx)
	for _, p := range places[:armed] {
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
	all      []*servedLoop // of the server
	open     atomic.Int64  // functions that run on the loop; any goroutine may load and store it

	fd    int      // the listening socket; open until ended is closed
	local net.Addr // of every connection; nil if the listener listens on all addresses

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

// most connections that a loop may have more than the one with the fewest, and an eighth of
// these, before it leaves new ones to that.
const serveSlack = 2

// target returns the place that a new connection goes to. In copying modes that is the loop
// that has accepted it, because then the connection never leaves a thread, unless it has many
// more than another: the kernel prefers one of the loops that wait, and leaves the others out.
func (p *servedLoop) target() *servedLoop {
	least := p
	for _, other := range p.all {
		if other.open.Load() < least.open.Load() {
			least = other
		}
	}
	if fewest := least.open.Load(); p.open.Load() > fewest+fewest/8+serveSlack {
		return least
	}
	return p
}

// poolFor returns the pool that receives for a connection, and the place that it counts for.
func (p *servedLoop) poolFor(fd int) (zcrx.BufferPool, *servedLoop) {
	pools := p.acceptor.transport.pools
	if pools.Mode() != zcrx.ZeroCopy {
		to := p.target()
		if pool := pools.Pool(to.loop); pool != nil {
			return pool, to
		}
	} else if pool, err := pools.PickNAPI(sys.IncomingNAPI(fd)); err == nil {
		return pool, p
	}
	return pools.Pool(p.loop), p
}

// admit starts the function for a connection, on the loop that receives for it.
func (p *servedLoop) admit(fd int) {
	a, sv, l := p.acceptor, p.server, p.server.listener
	pool, to := p.poolFor(fd)
	local := p.local
	if local == nil {
		local = localAddr(fd)
	}
	remote := remoteAddr(fd)
	s := newRingSocket(zcrx.NewReceiverFD(pool, fd), a.transport)
	room := &admission{server: sv}
	c, err := l.conns.admit(s, local, remote, room.end)
	if err != nil {
		sv.leave() // the listener is closed, and so is the connection
		return
	}
	l.total.Add(1)
	to.open.Add(1)
	run := func() {
		defer room.end()
		defer to.open.Add(-1)
		sv.serve(c)
	}
	if a.transport.startFiber(pool.Loop(), run, sv.name) != nil {
		_ = c.Close()
		to.open.Add(-1)
		room.end()
	}
}
