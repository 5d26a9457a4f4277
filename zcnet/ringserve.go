package zcnet

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// serve accepts on every loop.
func (a *ringAcceptor) serve(ctx context.Context, sv *server) error {
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

// servedLoop accepts connections on a loop: its ring polls the listening socket, and each
// completion takes some of those that wait. A request that accepts (multishot) would need a
// blocking socket, which is a property that all processes with that socket share, and takes
// everything that waits, also what no function may run for. All but open belongs to the loop's
// thread.
type servedLoop struct {
	acceptor *ringAcceptor
	server   *server
	loop     *zcrx.Loop
	all      []*servedLoop // of the server
	open     atomic.Int64  // functions that run on the loop; any goroutine may load and store it

	fd    int      // the listening socket; open until ended is closed
	local net.Addr // of every connection; nil if the listener listens on all addresses

	armed    bool          // the poll is in flight
	room     bool          // the server has room for the next connection, and keeps it
	waits    bool          // for room
	stopping bool          // stop was called
	pause    time.Duration // after the last temporary error
	ended    chan struct{} // closed when nothing is in flight any more, after stop

	prepares  func(*uring.SQE)
	completes func(*uring.CQE)
}

const (
	pollIn        = 0x1     // POLLIN
	pollExclusive = 1 << 28 // EPOLLEXCLUSIVE: one of the loops that poll is woken, not all

	// mostAccepted is how many connections a completion takes, at most, so that those that are
	// open are not kept waiting.
	mostAccepted = 16
)

func newServedLoop(a *ringAcceptor, sv *server, loop *zcrx.Loop) *servedLoop {
	p := &servedLoop{acceptor: a, server: sv, loop: loop, ended: make(chan struct{})}
	_ = a.raw.Control(func(fd uintptr) { p.fd = int(fd) }) // serve has used it just now
	if at, ok := sv.listener.Addr().(*net.TCPAddr); ok && !at.IP.IsUnspecified() {
		p.local = at
	}
	p.prepares = func(s *uring.SQE) { s.PrepPollAdd(p.fd, pollIn|pollExclusive) }
	p.completes = p.complete
	return p
}

// arm starts the poll, if there is room for a connection.
func (p *servedLoop) arm() {
	if p.armed || p.stopping || !p.hasRoom() {
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

// hasRoom makes room for a connection. If there is none it returns false, and arm is called when
// there is.
func (p *servedLoop) hasRoom() bool {
	if p.room || p.waits {
		return p.room
	}
	p.room = p.server.enter(func() {
		_ = p.loop.Post(func() { // a closed loop accepts nothing
			p.waits = false
			p.arm()
		})
	})
	p.waits = !p.room
	return p.room
}

// stop ends accepting.
func (p *servedLoop) stop() {
	p.stopping = true
	if !p.armed {
		p.end()
		return
	}
	p.cancel()
}

// end gives back what p has of the server, when nothing is in flight any more.
func (p *servedLoop) end() {
	if p.room {
		p.room = false
		p.server.leave()
	}
	close(p.ended)
}

// cancel ends the poll.
func (p *servedLoop) cancel() {
	err := p.loop.Start(func(s *uring.SQE) { s.PrepCancelFD(p.fd, uring.CancelAll) }, func(*uring.CQE) {})
	if errors.Is(err, zcrx.ErrQueueFull) {
		_ = p.loop.Post(p.cancel) // a closing loop cancels it
	}
}

// complete takes connections.
func (p *servedLoop) complete(*uring.CQE) {
	p.armed = false
	if p.stopping {
		p.end()
		return
	}
	for range mostAccepted {
		if !p.hasRoom() {
			return
		}
		fd, remote, err := acceptNow(p.fd)
		switch {
		case err == nil:
			p.pause = 0
			p.room = false
			p.admit(fd, remote)
			continue
		case errors.Is(err, syscall.EAGAIN):
		case isTemporaryAcceptError(err):
			l := p.server.listener
			l.retries.Add(1)
			l.engine.warn("accept", err)
			p.pause = retryPause(p.pause)
			time.AfterFunc(p.pause, func() { _ = p.loop.Post(p.arm) }) // a closed loop accepts nothing
			return
		default:
			p.server.fail(err)
			return
		}
		break
	}
	p.arm()
}

// serveSlack is how many connections a loop may have more than the loop with the fewest, beside
// an eighth of these, before new ones go to that loop.
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
func (p *servedLoop) admit(fd int, remote net.Addr) {
	a, sv, l := p.acceptor, p.server, p.server.listener
	pool, to := p.poolFor(fd)
	local := p.local
	if local == nil {
		local = localAddr(fd)
	}
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
