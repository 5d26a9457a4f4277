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

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// Loop is one OS thread that owns one io_uring ring. Every operation on the ring
// happens on that thread; other goroutines hand it functions with Do and Post.
//
// All methods are safe from any goroutine unless they say otherwise.
type Loop struct {
	ring   *zcrxRing
	tid    atomic.Int64 // the loop's thread while it runs, else 0
	logger *slog.Logger
	wide   bool          // completions may have 32 bytes
	done   chan struct{} // closed when the thread has given up the ring
	err    error         // why the loop ended, nil after Close; read after done

	// kick says that there is something to do before the loop may sleep;
	// asleep that it sleeps, or is about to. Whoever has work sets kick, then
	// looks at asleep; the loop sets asleep, then looks at kick: one of them
	// sees the other.
	kick   atomic.Bool
	asleep atomic.Bool

	mu      sync.Mutex
	posted  []func() // guarded by mu
	closing bool     // guarded by mu: no further functions are taken
	wakeFD  int      // guarded by mu once the loop runs: -1 when it has gone

	// What follows belongs to the loop's thread.
	ops       ops
	sources   []turnSource
	published []publisher // with data to hand over at the end of the turn
	flushes   []flushRequest
	flushers  []flusher // whose flushes they are, index by index
	groups    bufferGroups
	running   []func() // functions taken out of posted
	retries   []func() // what found the submission queue full, for the next turn
	wakeArmed bool     // the read of the eventfd is in flight
	stopping  bool     // stop has begun
	again     bool     // something is left to do: the next turn does not wait
	wakeBuf   []byte   // the kernel reads the eventfd into it
	batch     []uring.CQE

	stats loopCounters
}

// NewLoop starts a loop. The caller must Close it. Errors match ErrNotSupported
// where there is no io_uring. It waits up to 2 seconds for a memlock limit that rings
// closed just before still fill.
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

// run is the loop's thread, from birth to death.
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
		// Who waits for the loop would wait for ever.
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
	l.tid.Store(int64(sys.ThreadID()))
	if l.wakeFD, err = sys.NewEventFD(); err != nil {
		return errors.Join(err, ring.Close())
	}
	if l.wakeBuf, err = sys.MapAnonymous(sys.PageSize(), sys.PageSize()); err != nil {
		return errors.Join(err, sys.Close(l.wakeFD), ring.Close())
	}
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
	l.tid.Store(0)
	return errors.Join(l.ring.Close(), sys.Close(fd), sys.Unmap(l.wakeBuf))
}

// armWake reads the eventfd, so that writing to it ends the loop's sleep. Without
// that the loop does not sleep.
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

// newRequest takes an SQE for a request whose completions go to c. It is for the
// loop's thread. ErrQueueFull means that the kernel takes no requests now: see
// retry.
func (l *Loop) newRequest(c completer) (*uring.SQE, error) {
	s := l.ring.GetSQE()
	if s == nil {
		if _, err := l.ring.turn(0, 0, nil); err != nil && !passing(err) {
			return nil, err
		}
		if s = l.ring.GetSQE(); s == nil {
			return nil, ErrQueueFull
		}
	}
	s.UserData = l.ops.add(c, opRequest)
	return s, nil
}

// retry runs fn in the next turn: for what ErrQueueFull kept from being begun.
func (l *Loop) retry(fn func()) {
	l.retries = append(l.retries, fn)
	l.again = true
}

// runRetries takes them out first: one that fails again is for the turn after.
func (l *Loop) runRetries() {
	retries := l.retries
	l.retries = nil
	for _, fn := range retries {
		fn()
	}
}

// Start begins a request: prep fills in the entry, done is called on the loop
// with every completion of it, the last being the first without uring.CQEMore. The
// memory that prep names stays until then. Start may be called on the loop only: from a
// function given to Do or Post, or from done. ErrQueueFull means that the kernel takes no
// requests now. A panic in done ends the program.
//
// The entry may not be linked to others, which StartLinked does, and must have a
// completion: Start returns an error for the flags SQELink, SQEHardLink and
// SQECQESkipSuccess, and begins nothing.
func (l *Loop) Start(prep func(*uring.SQE), done func(*uring.CQE)) error {
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
// preps are 1 to as many as the submission queue has entries (LoopConfig.Entries). The rest
// is as for Start.
func (l *Loop) StartLinked(done func(i int, c *uring.CQE), preps ...func(*uring.SQE)) error {
	if n := l.ring.SQEntries(); len(preps) < 1 || len(preps) > n {
		return rangeError("number of linked requests", int64(len(preps)), 1, int64(n))
	}
	if l.ring.SQSpaceLeft() < len(preps) {
		if _, err := l.ring.turn(0, 0, nil); err != nil && !passing(err) {
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
	userData := s.UserData
	prep(s)
	s.UserData = userData
	l.ops.keep(s)
}

// prepareNothing makes a request that does nothing of an entry that was taken.
func (l *Loop) prepareNothing(s *uring.SQE) {
	*s = uring.SQE{}
	s.PrepNop()
	s.UserData = l.ops.add(completerFunc(func(*uring.CQE) {}), opRequest)
}

// turn is one round: run functions, supply buffers, enter the kernel once,
// dispatch what completed. kick was cleared before, so that whatever is handed to
// the loop from then on keeps it from sleeping. timeout bounds its sleep, negative for ever.
func (l *Loop) turn(timeout time.Duration) error {
	l.stats.turns.Add(1)
	l.armWake()
	l.runRetries()
	l.runPosted()
	l.flushes, l.flushers = l.flushes[:0], l.flushers[:0]
	for _, s := range l.sources {
		s.beforeTurn(l)
	}
	l.publish() // what functions and pools ended
	l.forgetFlushes()
	_, err := l.ring.turn(l.prepareSleep(), timeout, l.flushes)
	l.asleep.Store(false)
	if l.ring.CQNearlyFull() {
		for _, s := range l.sources {
			s.queueWasFull()
		}
		l.again = true // there may be more, and receives to arm again
	}
	if l.ring.Overflown() {
		l.stats.overflows.Add(1)
		l.again = true // the next turn fetches what there was no room for
	}
	for i, p := range l.flushers {
		p.flushed(l, &l.flushes[i])
	}
	l.complete()
	l.stats.calls.Store(l.ring.entries())
	return l.judge(err)
}

// prepareSleep returns how many completions to wait for: 0 if there is
// something to do.
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

// complete dispatches every completion that is there, then hands receivers'
// data over, once per receiver.
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

// publish hands over what receivers have for their consumers. A handler that runs
// here may end other receivers, which then come last.
func (l *Loop) publish() {
	for i := 0; i < len(l.published); i++ {
		r := l.published[i]
		l.published[i] = nil
		r.publish()
	}
	l.published = l.published[:0]
}

// judge tells passing trouble from the end of the ring. EBUSY and EAGAIN mean
// that the kernel takes no more before completions are reaped or memory is
// there.
func (l *Loop) judge(err error) error {
	if err == nil {
		return nil
	}
	if passing(err) {
		l.again = true
		time.Sleep(time.Millisecond) // do not spin while the kernel is short of memory
		return nil
	}
	return err
}

func passing(err error) bool {
	return errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.ENOMEM)
}

// requestFlush notes that the coming turn flushes a refill queue for f.
func (l *Loop) requestFlush(f flusher, request flushRequest) {
	l.flushes = append(l.flushes, request)
	l.flushers = append(l.flushers, f)
}

// forgetFlushes drops the flushes of pools that a Handler has closed since they were
// asked for: the memory that the kernel would be handed may be gone.
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

// heardClosing clears kick and only then looks whether the loop shall close: a
// Close or Post that comes after the look sets kick again.
func (l *Loop) heardClosing() bool {
	l.kick.Store(false)
	return l.isClosing()
}

// wake gives the loop a turn, now or after the one that it is in.
func (l *Loop) wake() {
	l.kick.Store(true)
	if !l.asleep.CompareAndSwap(true, false) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wakeFD >= 0 { // the loop may have woken by itself, and ended
		_ = sys.SignalEventFD(l.wakeFD)
	}
}

// Post has fn run on the loop and does not wait. Functions run in the order in
// which they were posted. Answers ErrClosed once the loop is closing: then fn
// does not run. A panic in fn ends the program, as in any goroutine, and so does
// runtime.Goexit (for instance a test's FailNow).
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

// Do runs fn on the loop and returns what it returns. On the loop itself it runs
// at once. If ctx ends before fn has begun, fn does not run and Do returns ctx's
// error; once begun, it is waited for. A panic in fn becomes a *PanicError and
// the loop lives on; runtime.Goexit ends the program. Answers ErrClosed once the
// loop is closing.
//
// The ring that fn gets must not be kept or closed; its errors are package uring's.
func (l *Loop) Do(ctx context.Context, fn func(*uring.Ring) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if l.OnLoop() {
		return l.call(fn)
	}
	var begun atomic.Bool // by the loop, or given up by this goroutine
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

// do is Do without a context, for functions that know the ring.
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

// OnLoop tells whether the caller runs on the loop, in a function given to Do or Post
// or in a Receiver's handler: there it must not wait. The loop's thread is locked to
// its goroutine, so no other can be there.
func (l *Loop) OnLoop() bool { return int64(sys.ThreadID()) == l.tid.Load() }

// OnAnyLoop tells whether the caller runs on one of the loops: a loop that waited for
// another one could be what that one waits for. It costs one system call for all.
func OnAnyLoop(loops []*Loop) bool {
	tid := int64(sys.ThreadID())
	for _, l := range loops {
		if l.tid.Load() == tid {
			return true
		}
	}
	return false
}

// report is for failures that belong to no caller.
func (l *Loop) report(what string, err error) {
	if l.logger != nil {
		l.logger.Warn("zcrx: "+what, "error", err)
	}
}
