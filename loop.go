package zcrx

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/internal/onloop"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// Loop is one OS thread that owns one io_uring ring. Every operation on the ring happens on
// that thread; other goroutines hand it functions with Do and Post.
//
// All methods are safe from any goroutine unless their comment says otherwise.
type Loop struct {
	ring   *zcrxRing
	place  *onloop.Place // where the loop runs; set before NewLoop returns
	logger *slog.Logger
	wide   bool          // completions may have 32 bytes
	done   chan struct{} // closed when the ring is closed
	err    error         // why the loop ended, nil after Close; read after done

	// kick says that the loop must not sleep before it has looked for work; asleep says
	// that it sleeps or is about to. A goroutine with work sets kick and then reads asleep;
	// the loop sets asleep and then reads kick. So at least one of them sees the other's
	// store.
	kick   atomic.Bool
	asleep atomic.Bool

	mu      sync.Mutex
	posted  []func() // guarded by mu
	closing bool     // guarded by mu: no further functions are accepted
	wakeFD  int      // guarded by mu once the loop runs: -1 after it was closed

	// The fields below belong to the loop's thread.
	ops       ops
	sources   []turnSource
	published []publisher // those with data to hand over at the end of the turn
	flushes   []flushRequest
	flushers  []flusher // flushers[i] asked for flushes[i]
	groups    bufferGroups
	running   []func() // functions taken out of posted
	retries   []func() // functions to run in the next turn, because the submission queue was full
	wakeArmed bool     // the read of the eventfd is in flight
	stopping  bool     // stop has begun
	again     bool     // work is left: the next turn does not wait
	wakeBuf   []byte   // the kernel reads the eventfd into it
	batch     []uring.CQE

	stats loopCounters
}

// NewLoop starts a loop. The caller must Close it. Errors match ErrNotSupported where there
// is no io_uring. NewLoop waits up to 2 seconds for memlock charges of rings that were
// closed shortly before.
func NewLoop(cfg LoopConfig) (*Loop, error) {
	if cfg.Entries == 0 {
		cfg.Entries = defaultSQEntries
	}
	if cfg.CQEntries == 0 {
		cfg.CQEntries = max(defaultCQEntries, cfg.Entries)
	}
	if cfg.Entries < 1 || cfg.Entries > uring.MaxEntries {
		return nil, rangeError("LoopConfig.Entries", int64(cfg.Entries), 1, uring.MaxEntries)
	}
	if least := max(cfg.Entries, minCQEntries); cfg.CQEntries < least || cfg.CQEntries > uring.MaxCQEntries {
		return nil, rangeError("LoopConfig.CQEntries", int64(cfg.CQEntries), int64(least), uring.MaxCQEntries)
	}
	ringConfig := uring.Config{
		Entries: cfg.Entries, CQEntries: cfg.CQEntries,
		Flags: uring.SetupSingleIssuer | uring.SetupDeferTaskrun | uring.SetupDisabled | uring.SetupSubmitAll | uring.SetupCoopTaskrun,
	}
	size, err := cfg.CompletionSize.setupFlags()
	if err != nil {
		return nil, err
	}
	ringConfig.Flags |= size
	l := &Loop{logger: cfg.Logger, wide: size != 0, done: make(chan struct{}), wakeFD: -1, batch: make([]uring.CQE, completionBatch)}
	started := make(chan error)
	go l.run(ringConfig, started)
	if err := <-started; err != nil {
		return nil, err
	}
	return l, nil
}

// run is the loop's thread, from start to end.
func (l *Loop) run(cfg uring.Config, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := l.start(cfg); err != nil {
		started <- err
		return
	}
	started <- nil
	stopped := false
	defer func() {
		if stopped {
			return
		}
		// Goroutines that wait for the loop would wait for ever.
		if v := recover(); v != nil {
			panic(v)
		}
		panic("zcrx: runtime.Goexit on a loop")
	}()
	for l.err == nil && !l.heardClosing() {
		l.err = l.turn(-1)
	}
	l.stop()
	stopped = true
	close(l.done)
}

// start makes and enables the ring on the loop's thread.
func (l *Loop) start(cfg uring.Config) error {
	ring, err := newRing(cfg)
	if err != nil {
		return err
	}
	l.ring = ring
	if l.wakeFD, err = sys.NewEventFD(); err != nil {
		return errors.Join(err, ring.Close())
	}
	if l.wakeBuf, err = sys.MapAnonymous(sys.PageSize(), sys.PageSize()); err != nil {
		return errors.Join(err, sys.Close(l.wakeFD), ring.Close())
	}
	l.place = onloop.Enter(l)
	if err := ring.Enable(); err != nil {
		return errors.Join(err, l.release())
	}
	// Neither is necessary: a saving of some nanoseconds per call, and a CPU that does not
	// show as waiting for I/O while the loop is idle.
	_, _ = ring.RegisterRingFD(), ring.SetIOWait(false)
	return nil
}

// release closes and unmaps what start made.
func (l *Loop) release() error {
	l.mu.Lock()
	fd := l.wakeFD
	l.wakeFD = -1
	l.mu.Unlock()
	l.place.Leave()
	return errors.Join(l.ring.Close(), sys.Close(fd), sys.Unmap(l.wakeBuf))
}

// armWake starts a read of the eventfd, so that a write to it ends the loop's sleep. While
// no read can be started the loop does not sleep.
func (l *Loop) armWake() {
	if l.wakeArmed || l.stopping {
		return
	}
	s, err := l.newRequest(completerFunc(func(*uring.CQE) {
		l.wakeArmed = false
		l.stats.wakeUps.Add(1)
	}))
	if err != nil {
		l.again = true
		return
	}
	s.PrepRead(l.wakeFD, l.wakeBuf[:8], 0)
	l.wakeArmed = true
}

// newRequest returns an SQE for a request whose completions are passed to c. It runs on the
// loop's thread. ErrQueueFull means that the kernel accepts no request now; see retry.
func (l *Loop) newRequest(c completer) (*uring.SQE, error) {
	s := l.ring.GetSQE()
	if s == nil {
		if _, err := l.ring.turn(0, 0, nil); err != nil && !isTransient(err) {
			return nil, err
		}
		if s = l.ring.GetSQE(); s == nil {
			return nil, ErrQueueFull
		}
	}
	s.UserData = l.ops.add(c, opRequest)
	return s, nil
}

// retry runs fn in the next turn. It is used after ErrQueueFull.
func (l *Loop) retry(fn func()) {
	l.retries = append(l.retries, fn)
	l.again = true
}

// runRetries runs the functions given to retry. It empties the list first: a function that
// fails again runs in the turn after.
func (l *Loop) runRetries() {
	retries := l.retries
	l.retries = nil
	for _, fn := range retries {
		fn()
	}
}

// Start begins a request. prep fills in the entry; done is called on the loop with every
// completion of the request, of which the last is the first one without uring.CQEMore. The
// memory that prep names stays until then. Start must be called on the loop: from a
// function given to Do or Post, or from done. It returns ErrQueueFull if the kernel accepts
// no request now, or ErrClosed while the loop closes. A panic in done ends the program.
//
// The entry must have a completion and must not be linked to others, which StartLinked
// does: for the flags SQELink, SQEHardLink and SQECQESkipSuccess Start returns an error
// and begins nothing.
func (l *Loop) Start(prep func(*uring.SQE), done func(*uring.CQE)) error {
	if l.stopping {
		return ErrClosed
	}
	s, err := l.newRequest(completerFunc(done))
	if err != nil {
		return err
	}
	l.prepare(s, prep)
	if refused := s.Flags & (uring.SQELink | uring.SQEHardLink | uring.SQECQESkipSuccess); refused != 0 {
		l.ops.remove(s.UserData)
		l.prepareNothing(s)
		return fmt.Errorf("zcrx: start request: flags %#x are for StartLinked, or leave out the completion", uint8(refused))
	}
	return nil
}

// StartLinked begins requests one after the other: the kernel begins each when the one
// before has succeeded, or has ended if its prep sets uring.SQEHardLink. If one fails, those
// behind it complete with ECANCELED. done is called with a request's place in preps, from
// 0, and its completion; none may have more than one. All of them are submitted together:
// preps are 1 to as many as the submission queue has entries (LoopConfig.Entries). A prep
// must not start other requests, which would be in the middle. The rest is as for Start.
func (l *Loop) StartLinked(done func(i int, c *uring.CQE), preps ...func(*uring.SQE)) error {
	if l.stopping {
		return ErrClosed
	}
	if n := l.ring.SQEntries(); len(preps) < 1 || len(preps) > n {
		return rangeError("number of linked requests", int64(len(preps)), 1, int64(n))
	}
	if l.ring.SQSpaceLeft() < len(preps) {
		if _, err := l.ring.turn(0, 0, nil); err != nil && !isTransient(err) {
			return err
		}
		if l.ring.SQSpaceLeft() < len(preps) {
			return ErrQueueFull
		}
	}
	for i, prep := range preps {
		s, err := l.newRequest(completerFunc(func(c *uring.CQE) { done(i, c) }))
		if err != nil {
			return err // there is room, so this cannot be
		}
		l.prepare(s, prep)
		s.Flags &^= uring.SQECQESkipSuccess
		switch last := i == len(preps)-1; {
		case last:
			s.Flags &^= uring.SQELink | uring.SQEHardLink
		case s.Flags&uring.SQEHardLink == 0:
			s.Flags |= uring.SQELink
		}
	}
	return nil
}

// prepare has prep fill in an entry, whose user data stays.
func (l *Loop) prepare(s *uring.SQE, prep func(*uring.SQE)) {
	userData, prepared := s.UserData, false
	defer func() {
		if !prepared { // prep panicked
			l.ops.remove(userData)
			l.prepareNothing(s)
		}
	}()
	prep(s)
	prepared = true
	s.UserData = userData
	l.ops.keep(s)
}

// prepareNothing makes a request that does nothing of an entry that was taken.
func (l *Loop) prepareNothing(s *uring.SQE) {
	*s = uring.SQE{}
	s.PrepNop()
	s.UserData = l.ops.add(completerFunc(func(*uring.CQE) {}), opRequest)
}

// turn is one round of the loop: run functions, supply buffers, enter the kernel once,
// dispatch completions. kick was cleared before, so work that comes from then on keeps the
// loop from sleeping. timeout bounds the sleep; a negative one means for ever.
func (l *Loop) turn(timeout time.Duration) error {
	l.stats.turns.Add(1)
	l.armWake()
	l.runRetries()
	l.runPosted()
	l.flushes, l.flushers = l.flushes[:0], l.flushers[:0]
	for _, s := range l.sources {
		s.beforeTurn(l)
	}
	l.publish() // what functions and pools have ended
	l.forgetFlushes()
	_, err := l.ring.turn(l.prepareSleep(), timeout, l.flushes)
	l.asleep.Store(false)
	if l.ring.CQNearlyFull() {
		for _, s := range l.sources {
			s.queueWasFull()
		}
		l.again = true // there may be more completions, and receives to arm again
	}
	if l.ring.Overflown() {
		l.stats.overflows.Add(1)
		l.again = true // the next turn fetches the completions that had no room
	}
	for i, p := range l.flushers {
		p.flushed(l, &l.flushes[i])
	}
	l.complete()
	l.stats.calls.Store(l.ring.entries())
	return l.ignoreTransient(err)
}

// prepareSleep returns how many completions to wait for: 0 if there is work, else 1.
func (l *Loop) prepareSleep() uint32 {
	if l.again || l.ring.Pending() > 0 {
		l.again = false
		return 0
	}
	l.asleep.Store(true)
	if l.kick.Load() {
		return 0
	}
	return 1
}

// complete dispatches every completion, then hands over the data of each receiver, once per
// receiver.
func (l *Loop) complete() {
	for {
		n := l.ring.Completions(l.batch)
		for i := range l.batch[:n] {
			if !l.ops.dispatch(&l.batch[i]) {
				l.stats.strays.Add(1)
			}
		}
		l.stats.completions.Add(uint64(n))
		if n < len(l.batch) {
			break
		}
	}
	for _, s := range l.sources {
		s.count()
	}
	l.publish()
}

// publish hands over what receivers have for their consumers. A handler that runs here may
// end other receivers, which are then appended and come last.
func (l *Loop) publish() {
	for i := 0; i < len(l.published); i++ {
		r := l.published[i]
		l.published[i] = nil
		r.publish()
	}
	l.published = l.published[:0]
}

// Later runs fn on the loop in this turn, after the buffers that the turn has brought are
// handed over, and before the loop sleeps: requests that fn starts are submitted together
// with those of the rest of the turn. It must be called on the loop. Unlike Post it takes no
// lock and does not shorten the loop's sleep.
func (l *Loop) Later(fn func()) { l.published = append(l.published, publisherFunc(fn)) }

// publisherFunc is a function that implements publisher.
type publisherFunc func()

func (f publisherFunc) publish() { f() }

// ignoreTransient returns nil for errors that pass, and other errors as they are: they end
// the loop. EBUSY, EAGAIN and ENOMEM mean that the kernel takes no more requests until
// completions are reaped or memory is free.
func (l *Loop) ignoreTransient(err error) error {
	if err == nil {
		return nil
	}
	if isTransient(err) {
		l.again = true
		time.Sleep(time.Millisecond) // avoid spinning while the kernel is short of memory
		return nil
	}
	return err
}

func isTransient(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
}

// requestFlush makes the current turn flush a refill queue for f.
func (l *Loop) requestFlush(f flusher, request flushRequest) {
	l.flushes = append(l.flushes, request)
	l.flushers = append(l.flushers, f)
}

// forgetFlushes drops the flushes of pools that a handler has closed since they asked for
// them: their memory may be unmapped.
func (l *Loop) forgetFlushes() {
	kept := 0
	for i, p := range l.flushers {
		if l.hasSource(p) {
			l.flushes[kept], l.flushers[kept] = l.flushes[i], p
			kept++
		}
	}
	l.flushes, l.flushers = l.flushes[:kept], l.flushers[:kept]
}

// runPosted runs the functions posted so far, in order.
func (l *Loop) runPosted() {
	l.mu.Lock()
	l.posted, l.running = l.running[:0], l.posted
	l.mu.Unlock()
	for i, fn := range l.running {
		l.running[i] = nil
		l.stats.functions.Add(1)
		fn()
	}
}

// heardClosing clears kick and then reports whether the loop is closing. In this order no
// work is missed: a Close or Post that comes after the check sets kick again.
func (l *Loop) heardClosing() bool {
	l.kick.Store(false)
	return l.isClosing()
}

// wake makes the loop run another turn after the current one, and wakes it if it sleeps. It
// is safe from any goroutine.
func (l *Loop) wake() {
	l.kick.Store(true)
	if !l.asleep.CompareAndSwap(true, false) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wakeFD >= 0 { // the loop may have woken by itself and ended
		_ = sys.SignalEventFD(l.wakeFD)
	}
}

// Post makes the loop run fn, and does not wait. Functions run in the order in which they
// were posted. Post returns ErrClosed once the loop is closing; then fn does not run. A
// panic in fn ends the program, as in any goroutine, and so does runtime.Goexit (for
// instance a test's FailNow).
func (l *Loop) Post(fn func()) error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		return ErrClosed
	}
	l.posted = append(l.posted, fn)
	l.mu.Unlock()
	l.wake()
	return nil
}

// PanicError is what Do returns when its function panicked.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("zcrx: panic on the loop: %v\n%s", e.Value, e.Stack)
}

// Do runs fn on the loop and returns fn's error. Called on the loop itself, it runs fn at
// once. If ctx ends before fn has begun, fn does not run and Do returns ctx's error; once
// fn has begun, Do waits for it. A panic in fn becomes a *PanicError and the loop
// continues; runtime.Goexit ends the program. Do returns ErrClosed once the loop is
// closing.
//
// fn must not keep or close the ring. The ring's methods return errors of package uring.
func (l *Loop) Do(ctx context.Context, fn func(*uring.Ring) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.OnLoop() {
		return l.call(fn)
	}
	var begun atomic.Bool // set by the loop that runs fn, or by this goroutine that gives up
	result := make(chan error, 1)
	err := l.Post(func() {
		if begun.CompareAndSwap(false, true) {
			result <- l.call(fn)
		}
	})
	if err != nil {
		return err
	}
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		if begun.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-result
	case <-l.done:
		// The loop ended without running what was posted last.
		if begun.CompareAndSwap(false, true) {
			return ErrClosed
		}
		return <-result
	}
}

// do is Do without a context, for functions that do not need the ring as an argument.
func (l *Loop) do(fn func() error) error {
	return l.Do(context.Background(), func(*uring.Ring) error { return fn() })
}

func (l *Loop) call(fn func(*uring.Ring) error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn(l.ring.Ring)
}

// OnLoop reports whether the caller runs on the loop's thread: in a function given to Do or
// Post, in a Receiver's handler, or in a fiber. There it must not wait. The thread is locked
// to the loop's goroutine, so no other goroutine can run on it.
func (l *Loop) OnLoop() bool { return l.place.IsCurrent() || l.place.IsThread() && !l.ended() }

// ended reports whether the loop's thread has gone. Another one may have its number.
func (l *Loop) ended() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// OnAnyLoop reports whether the caller runs on the thread of any loop of the process, as
// OnLoop does for one. Such code must not wait for another loop, which could be waiting for
// this one. It costs a system call, except on a loop.
func OnAnyLoop() bool { return onloop.Current() != nil || onloop.AnyThread() }

// report logs a failure that no caller can be told of.
func (l *Loop) report(what string, err error) {
	if l.logger != nil {
		l.logger.Warn("zcrx: "+what, "error", err)
	}
}
