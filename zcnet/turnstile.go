package zcnet

import (
	"context"
	"os"

	"github.com/zcrx-go/zcrx"
)

// turnstile is a lock. The wait for it can be ended by a context or a deadline.
type turnstile chan struct{}

func newTurnstile() turnstile { return make(turnstile, 1) }

// enter takes the lock. It returns an error if ctx ends, limit passes or closed is closed
// first. On a loop, but for fibers, it returns ErrWouldBlock instead of waiting.
func (t turnstile) enter(ctx context.Context, limit *deadline, closed <-chan struct{}) error {
	if t.tryEnter() {
		return nil
	}
	if f := currentFiber(); f != nil {
		_, err := awaitOwned(ctx, f, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, t.wait(ctx, limit, closed)
		}, func(struct{}) { t.leave() })
		return err
	}
	if blocksLoop() {
		return ErrWouldBlock
	}
	return t.wait(ctx, limit, closed)
}

func (t turnstile) wait(ctx context.Context, limit *deadline, closed <-chan struct{}) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-limit.done():
		return os.ErrDeadlineExceeded
	case <-closed:
		return zcrx.ErrClosed
	}
}

// tryEnter takes the lock and returns true, or returns false if it is taken.
func (t turnstile) tryEnter() bool {
	select {
	case t <- struct{}{}:
		return true
	default:
		return false
	}
}

func (t turnstile) leave() { <-t }
