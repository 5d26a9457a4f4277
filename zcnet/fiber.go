package zcnet

import (
	"iter"
	"runtime"
	"runtime/debug"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/onloop"
	"github.com/zcrx-go/zcrx/internal/sys"
)

// fiber is a coroutine that runs on a loop's thread. Where its function would wait, it parks:
// the loop goes on, and resumes it when it is woken. When the function has returned, the
// coroutine is kept and takes another one.
//
// All fields but code belong to the loop's thread.
type fiber struct {
	sched *scheduler
	fn    func() // what it runs
	tally *fiberTally

	code  userCode
	state fiberState
	waits fiberWait // what it is parked for
	place int       // in sched.fibers
	wakes func()    // wake, for Post

	self  uintptr                 // the coroutine, once it has run
	next  func() (struct{}, bool) // resumes the coroutine
	stop  func()                  // makes yield return false
	yield func(struct{}) bool     // goes back to who called next
}

type fiberState uint8

const (
	fiberIdle    fiberState = iota // has no function
	fiberReady                     // is in sched.ready
	fiberRunning                   // or is about to
	fiberParked                    // waits to be woken
)

// fiberWait says what a parked fiber waits for, where that decides how its engine ends it.
type fiberWait struct {
	await bool       // a goroutine of Await
	queue *sendQueue // the kernel uses memory of the fiber's
}

// currentFiber returns the fiber that calls it, nil elsewhere.
func currentFiber() *fiber {
	if s := schedulerHere(); s != nil {
		return s.current
	}
	return nil
}

// park waits until the fiber is woken. It may also return without a reason, so callers check
// what they wait for, and park again. The fiber itself calls it. If the engine is being
// closed, park does not return: the function's deferred calls run, and the fiber ends.
func (f *fiber) park() {
	if f.sched.ending && !f.sendsStill() {
		runtime.Goexit() // endAll found it running
	}
	f.state = fiberParked
	if !f.yield(struct{}{}) {
		runtime.Goexit()
	}
}

// sendsStill reports whether the kernel sends memory of the fiber.
func (f *fiber) sendsStill() bool { return f.waits.queue != nil && f.waits.queue.inFlight > 0 }

// unpark wakes the fiber. It is safe from any goroutine.
func (f *fiber) unpark() {
	if f.sched.place.IsCurrent() {
		f.wake()
		return
	}
	_ = f.sched.loop.Post(f.wakes) // a closed loop has ended its fibers
}

func (f *fiber) wake() {
	if f.state == fiberParked {
		f.sched.enqueue(f)
	}
}

// errExited is the panic that a runtime.Goexit in a fiber becomes, so that it does not end
// the loop's goroutine as well.
type errExited struct{}

// body is the coroutine.
func (f *fiber) body(yield func(struct{}) bool) {
	f.self, f.yield = onloop.Self(), yield
	f.code.goroutine.Store(goroutineID())
	f.sched.place.Switch(f.self)
	for {
		f.call()
		f.sched.retire(f)
		if !yield(struct{}{}) {
			return
		}
	}
}

// call runs the fiber's function.
func (f *fiber) call() {
	exited := true
	defer func() {
		if exited {
			panic(errExited{}) // see scheduler.switchTo
		}
	}()
	f.tally.call(f.fn)
	exited = false
}

// call calls fn. As in a server of net/http, a panic ends fn and not the program.
func (t *fiberTally) call(fn func()) {
	defer func() {
		if v := recover(); v != nil {
			t.panicked(v, debug.Stack())
		}
	}()
	fn()
}

// scheduler runs the fibers of a loop, and submits what was written there in a turn. All
// fields but watch and handlers belong to the loop's thread.
type scheduler struct {
	loop  *zcrx.Loop
	place *onloop.Place
	self  uintptr // the loop's own goroutine

	current   *fiber   // the fiber that runs, nil if none
	fibers    []*fiber // all
	stock     []*fiber // the idle ones
	ready     []*fiber // to be resumed
	scheduled bool     // runs will be called
	closed    bool     // no fiber begins any more
	ending    bool     // no fiber parks any more
	runs      func()   // run
	again     func()   // schedule

	sending  []*sendQueue  // those with unsent bytes
	toSubmit []*sendQueue  // those that have something to submit at the end of the turn
	sent     chan struct{} // closed when sending is empty; may be nil
	gone     chan struct{} // closed when no fiber is left; nil before shutdown and after that
	blocks   [][]byte      // memory for copies of small writes
	slices   [mostSegments][]byte
	watch    stallWatch
	watched  bool     // the watchdog looks at the loop
	handlers userCode // of Handlers
}

// schedulerHere returns the scheduler of the loop on which the caller runs, nil elsewhere.
func schedulerHere() *scheduler {
	p := onloop.Current()
	if p == nil {
		return nil
	}
	s, ok := p.Local.(*scheduler)
	if !ok {
		loop, ok := p.Loop.(*zcrx.Loop)
		if !ok {
			return nil
		}
		s = &scheduler{loop: loop, place: p, self: onloop.Self()} // no fiber exists yet
		s.runs, s.again = s.run, s.schedule
		s.handlers.goroutine.Store(goroutineID())
		p.Local = s
	}
	return s
}

// maxStock is how many idle coroutines a loop keeps.
const maxStock = 1024

// start makes fn run as a fiber in this turn. name is the program counter of the user's
// function. After shutdown it returns ErrClosed.
func (s *scheduler) start(fn func(), name uintptr, tally *fiberTally) error {
	if s.closed {
		return zcrx.ErrClosed
	}
	var f *fiber
	if n := len(s.stock); n > 0 {
		f = s.stock[n-1]
		s.stock = s.stock[:n-1]
	} else {
		f = &fiber{sched: s, place: len(s.fibers)}
		f.wakes = f.wake
		f.next, f.stop = iter.Pull(f.body)
		s.fibers = append(s.fibers, f)
	}
	f.fn, f.tally = fn, tally
	f.code.function.Store(name)
	tally.open.Add(1)
	tally.started.Add(1)
	s.enqueue(f)
	return nil
}

// retire ends a fiber's function. The coroutine calls it.
func (s *scheduler) retire(f *fiber) {
	f.tally.open.Add(-1)
	f.fn, f.tally, f.state = nil, nil, fiberIdle
	if !s.closed {
		s.stock = append(s.stock, f)
	}
}

func (s *scheduler) enqueue(f *fiber) {
	f.state = fiberReady
	s.ready = append(s.ready, f)
	s.schedule()
}

// schedule makes run be called in this turn.
func (s *scheduler) schedule() {
	if !s.scheduled {
		s.scheduled = true
		s.loop.Later(s.runs)
	}
}

// run resumes the fibers that are ready, and submits what was written. Fibers that become
// ready meanwhile run in the next turn, so that completions are not kept waiting.
func (s *scheduler) run() {
	n := len(s.ready)
	for i := range n {
		f := s.ready[i]
		s.ready[i] = nil
		if f.state == fiberReady {
			s.resume(f)
		}
	}
	left := copy(s.ready, s.ready[n:])
	clear(s.ready[left:])
	s.ready = s.ready[:left]
	s.submit()
	s.scheduled = false
	for len(s.stock) > maxStock {
		s.end(s.stock[len(s.stock)-1])
	}
	s.endRetired()
	if left > 0 {
		_ = s.loop.Post(s.again) // a closed loop has ended its fibers
	}
}

// resume runs a fiber until it parks or ends.
func (s *scheduler) resume(f *fiber) {
	f.state = fiberRunning
	s.watch.enter(&f.code)
	if s.switchTo(f, f.resumeOnce) {
		s.exited(f)
	}
	s.watch.leave()
}

func (f *fiber) resumeOnce() { f.next() }

// switchTo calls enter, which runs the fiber's coroutine. It returns whether the coroutine
// ended by runtime.Goexit.
func (s *scheduler) switchTo(f *fiber, enter func()) (exited bool) {
	s.current = f
	s.place.Switch(f.self)
	defer func() {
		s.place.Switch(s.self)
		s.current = nil
		if v := recover(); v != nil {
			if _, exited = v.(errExited); !exited {
				panic(v)
			}
		}
	}()
	enter()
	return false
}

// exited removes a fiber whose coroutine has ended.
func (s *scheduler) exited(f *fiber) {
	if f.tally != nil {
		f.tally.open.Add(-1)
	}
	last := len(s.fibers) - 1
	s.fibers[f.place] = s.fibers[last]
	s.fibers[f.place].place = f.place
	s.fibers[last] = nil
	s.fibers = s.fibers[:last]
}

// end ends a fiber's coroutine. If it is parked, the deferred calls of its function run.
func (s *scheduler) end(f *fiber) {
	if n := len(s.stock); n > 0 && s.stock[n-1] == f {
		s.stock[n-1] = nil
		s.stock = s.stock[:n-1]
	}
	f.state = fiberRunning
	s.switchTo(f, f.stop)
	f.state = fiberIdle
	s.exited(f)
}

// shutdown begins no more fibers, and ends those that wait in Await. The others end by
// themselves, because their connections are closed. gone is closed when none is left. It is
// called on the loop.
func (s *scheduler) shutdown(gone chan struct{}) {
	s.closed, s.gone, s.stock = true, gone, nil
	s.endEach(func(f *fiber) bool { return f.waits.await })
	s.endRetired()
}

// endAll ends the fibers that shutdown has left, and which wait for something else than a
// connection of their engine. One whose memory the kernel still sends must not go on: its
// connection is reset, and it ends when the kernel has let go.
func (s *scheduler) endAll() {
	s.ending = true
	for _, f := range s.fibers {
		if q := f.waits.queue; f.sendsStill() {
			_ = q.socket.Control(func(fd uintptr) { sys.ResetConn(int(fd)) })
			q.socket.CancelSend()
		}
	}
	s.endEach(func(f *fiber) bool { return !f.sendsStill() })
	s.endRetired()
}

// whenGone closes done when no fiber is left. It is called after endAll.
func (s *scheduler) whenGone(done chan struct{}) {
	s.gone = done
	s.endRetired()
}

// endEach ends the parked and idle fibers that which returns true for.
func (s *scheduler) endEach(which func(*fiber) bool) {
	for i := 0; i < len(s.fibers); {
		f := s.fibers[i]
		if (f.state == fiberParked || f.state == fiberIdle) && which(f) {
			s.end(f) // the last fiber takes its place
			continue
		}
		i++
	}
}

// endRetired ends the coroutines whose functions have returned since shutdown, and tells when
// none is left.
func (s *scheduler) endRetired() {
	if !s.closed {
		return
	}
	s.endEach(func(f *fiber) bool { return f.state == fiberIdle })
	if len(s.fibers) == 0 && s.gone != nil {
		close(s.gone)
		s.gone = nil
	}
}

// giveUp drops what was not sent.
func (s *scheduler) giveUp() {
	for len(s.sending) > 0 {
		s.sending[len(s.sending)-1].giveUp()
	}
}

// whenSent has c closed when everything is sent.
func (s *scheduler) whenSent(c chan struct{}) {
	if len(s.sending) == 0 {
		close(c)
		return
	}
	s.sent = c
}
