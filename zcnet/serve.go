package zcnet

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zcrx-go/zcrx"
)

var (
	errNoFunction   = errors.New("the function is nil")
	errServing      = errors.New("Serve accepts the connections of this listener")
	errAccepting    = errors.New("AcceptConn or Accept has been called on this listener, and accepts its connections")
	errServedOnLoop = errors.New("Serve waits, and may not be called on a loop")
)

// Serve accepts connections and runs fn as a fiber for each, on the connection's loop, until
// ctx ends or the listener is closed. When fn returns, its connection is closed. fn uses the
// connection as a goroutine would; where it has to wait, its loop goes on with others. What
// it may not do is block the loop in another way: see Await. docs/fibers.md has the rules.
//
// At most Config.MaxConns functions run at a time, including those that have returned and whose
// connections have unsent bytes. Further connections wait in the kernel's queue.
//
// A panic in fn ends fn and its connection, not the program, as in a server of net/http, and
// is logged with its stack. So does runtime.Goexit, without a log.
//
// Serve returns ctx's error, or one that matches net.ErrClosed after Close. Functions that
// run go on. For an orderly end call Shutdown then, which waits for them. While Serve runs,
// AcceptConn returns an error, and after AcceptConn was called Serve does. In Socket mode, and
// off Linux, each fn runs on a goroutine of its own.
func (l *Listener) Serve(ctx context.Context, fn func(*Conn)) error {
	if fn == nil {
		return l.acceptError(errNoFunction)
	}
	if zcrx.OnAnyLoop() {
		return l.acceptError(errServedOnLoop)
	}
	served, err := l.startServing()
	if err != nil {
		return l.acceptError(err)
	}
	defer l.endServing(served)
	err = l.acceptor.serve(ctx, newServer(l, fn))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return l.acceptError(err)
}

// startServing makes Serve the one that accepts. The channel is closed by endServing.
func (l *Listener) startServing() (chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.isClosing():
		return nil, net.ErrClosed
	case l.accepts:
		return nil, errAccepting
	case l.serving != nil:
		return nil, errServing
	}
	l.serving = make(chan struct{})
	return l.serving, nil
}

func (l *Listener) endServing(served chan struct{}) {
	l.mu.Lock()
	l.serving = nil
	l.mu.Unlock()
	close(served)
}

// server is what the loops of a Serve share.
type server struct {
	listener *Listener
	fn       func(*Conn)
	name     uintptr // fn's program counter
	most     int     // functions that may run
	failed   chan error

	mu sync.Mutex
	// Guarded by mu:
	open    int      // functions that run
	waiting []func() // called, one for each function that ends, without mu
}

func newServer(l *Listener, fn func(*Conn)) *server {
	return &server{
		listener: l, fn: fn, name: programCounter(fn),
		most: l.engine.config.MaxConns, failed: make(chan error, 1),
	}
}

// enter makes room for a function. If there is none it returns false, and calls whenFree when
// a function has ended.
func (sv *server) enter(whenFree func()) bool {
	sv.mu.Lock()
	defer sv.mu.Unlock()
	if sv.most > 0 && sv.open >= sv.most {
		sv.waiting = append(sv.waiting, whenFree)
		return false
	}
	sv.open++
	return true
}

func (sv *server) leave() {
	sv.mu.Lock()
	sv.open--
	var next func()
	if len(sv.waiting) > 0 {
		next = sv.waiting[0]
		sv.waiting = sv.waiting[1:]
	}
	sv.mu.Unlock()
	if next != nil {
		next()
	}
}

// serve runs the function for a connection.
func (sv *server) serve(c *Conn) {
	defer func() { _ = c.Close() }() // fn may have closed it
	sv.fn(c)
}

// admission is the room for a function that enter has made. It is left when the function has
// returned and the socket is closed: until then it may hold unsent bytes.
type admission struct {
	server *server
	ended  atomic.Int32 // calls of end
}

// end is called for each of the two.
func (p *admission) end() {
	if p.ended.Add(1) == 2 {
		p.server.leave()
	}
}

// fail ends Serve with err.
func (sv *server) fail(err error) {
	select {
	case sv.failed <- err:
	default: // another loop was first
	}
}

// wait returns when Serve has to end, and why.
func (sv *server) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-sv.listener.closing:
		return net.ErrClosed
	case err := <-sv.failed:
		return err
	}
}

// retryPause returns how long to wait after a temporary error of accept, when the wait before
// was last.
func retryPause(last time.Duration) time.Duration {
	return min(max(5*time.Millisecond, 2*last), time.Second)
}

// serve runs each function on a goroutine.
func (a *plainAcceptor) serve(ctx context.Context, sv *server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free := make(chan struct{}, 1)
	l, tally := sv.listener, a.transport.tally
	l.mu.Lock()
	l.runAcceptLoop()
	l.mu.Unlock()
	for {
		for !sv.enter(func() { free <- struct{}{} }) {
			select {
			case <-free:
			case <-ctx.Done():
				return ctx.Err()
			case <-l.closing:
				return net.ErrClosed
			}
		}
		c, err := l.awaitArrival(ctx)
		if err != nil {
			sv.leave()
			return err
		}
		go tally.run(func() {
			defer sv.leave()
			sv.serve(c)
		})
	}
}

// Go runs fn as a fiber on the connection's loop, and does not wait for it. Unlike Serve's,
// its connection stays open when fn returns; a panic or runtime.Goexit in fn closes it. A
// fiber may use other connections too, those of other loops included, which takes longer.
// Several fibers and goroutines may use one connection: they take turns to read and to write.
// In Socket mode fn runs on a goroutine of its own. If the engine is closed before fn has
// begun, fn does not run.
func (c *Conn) Go(fn func(*Conn)) error {
	if fn == nil {
		return c.opError("go", errNoFunction)
	}
	if c.closing.Load() {
		return c.opError("go", zcrx.ErrClosed)
	}
	if c.reading.tryEnter() { // otherwise a goroutine reads, and goes on so
		err := c.useRing()
		c.endReading()
		if err != nil {
			return c.opError("go", err)
		}
	}
	return c.opError("go", c.socket().goFiber(func() {
		returned := false
		defer func() {
			if !returned {
				_ = c.Close()
			}
		}()
		fn(c)
		returned = true
	}, programCounter(fn)))
}

func (s *plainSocket) goFiber(fn func(), _ uintptr) error {
	go s.tally.run(fn)
	return nil
}

// run calls fn as a fiber would.
func (t *fiberTally) run(fn func()) {
	t.open.Add(1)
	t.started.Add(1)
	defer t.open.Add(-1)
	t.call(fn)
}

func (s *ringSocket) goFiber(fn func(), name uintptr) error {
	return s.transport.startFiber(s.Pool().Loop(), fn, name)
}

// startFiber makes fn run as a fiber on a loop.
func (t *ringTransport) startFiber(loop *zcrx.Loop, fn func(), name uintptr) error {
	start := func() error {
		s := schedulerHere()
		codeOnLoops.Store(true)
		t.watchdog.add(s)
		return s.start(fn, name, &t.tally)
	}
	if s := schedulerHere(); s != nil && s.loop == loop { // not in a coroutine that a fiber has made
		return start()
	}
	return loop.Post(func() { _ = start() }) // the engine is being closed
}
