package zcnet

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zcrx-go/zcrx"
)

// turnstile is a lock that goroutines get in the order in which they came. The wait for it can
// be ended by a context or a deadline. The zero turnstile is free.
type turnstile struct {
	state atomic.Int32 // one of the constants below

	mu sync.Mutex
	// waiting has a channel for each goroutine that waits; the lock is passed to the first by
	// a message to it. Guarded by mu, with which state becomes or ceases to be turnAwaited.
	waiting []chan struct{}
}

const (
	turnFree    = iota
	turnHeld    // and nobody waits
	turnAwaited // held, and somebody waits
)

// enter takes the lock. It returns an error if ctx ends, limit passes or closed is closed
// first; one of these may have happened also if it returns nil. On a loop, but for fibers, it
// returns ErrWouldBlock instead of waiting. If a fiber is ended while it waits and gets the lock
// after that, leave is called: nil means the turnstile's own.
func (t *turnstile) enter(ctx context.Context, limit *deadline, closed <-chan struct{}, leave func()) error {
	if t.tryEnter() {
		return nil
	}
	if f := currentFiber(); f != nil {
		if leave == nil {
			leave = t.leave
		}
		_, err := awaitOwned(ctx, f, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, t.wait(ctx, limit, closed)
		}, func(struct{}) { leave() })
		return err
	}
	if blocksLoop() {
		return ErrWouldBlock
	}
	return t.wait(ctx, limit, closed)
}

func (t *turnstile) wait(ctx context.Context, limit *deadline, closed <-chan struct{}) error {
	passed := t.join()
	if passed == nil {
		return nil
	}
	var err error
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.done():
		err = os.ErrDeadlineExceeded
	case <-closed:
		err = zcrx.ErrClosed
	}
	if !t.giveUp(passed) {
		return nil // it was passed the lock just then, and what it finds out next tells it to stop
	}
	return err
}

// join takes the lock and returns nil, or makes the caller one of those that wait and returns
// the channel that tells it that it has the lock.
func (t *turnstile) join() chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		switch {
		case t.tryEnter():
			return nil
		case t.state.Load() == turnAwaited || t.state.CompareAndSwap(turnHeld, turnAwaited):
			passed := make(chan struct{}, 1)
			t.waiting = append(t.waiting, passed)
			return passed
		}
	}
}

// giveUp ends the wait of a goroutine. It returns false if that has the lock already.
func (t *turnstile) giveUp(passed chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.waiting, passed)
	if i < 0 {
		return false
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	if len(t.waiting) == 0 {
		t.state.Store(turnHeld)
	}
	return true
}

// tryEnter takes the lock and returns true, or returns false if it is taken.
func (t *turnstile) tryEnter() bool { return t.state.CompareAndSwap(turnFree, turnHeld) }

// held reports whether somebody has the lock.
func (t *turnstile) held() bool { return t.state.Load() != turnFree }

// leave gives the lock back, or passes it to who waits.
func (t *turnstile) leave() {
	if t.state.CompareAndSwap(turnHeld, turnFree) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 { // who waited has given up meanwhile
		t.state.Store(turnFree)
		return
	}
	first := t.waiting[0]
	t.waiting = slices.Delete(t.waiting, 0, 1)
	if len(t.waiting) == 0 {
		t.state.Store(turnHeld)
	}
	first <- struct{}{}
}
