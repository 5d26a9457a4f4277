package zcrx

import (
	"context"
	"errors"
)

// errMoving is returned for a receiver that already moves.
var errMoving = errors.New("zcrx: the connection is moving already")

// move is a move of a receiver to another pool.
type move struct {
	to   BufferPool
	done chan error // receives one result
}

// MoveTo moves the receiver to another pool, of any loop. Buffers that the old pool still
// receives come first, then those of the new one; no byte is lost. Goroutines that receive
// or wait for room to write continue; the move waits for a SendZeroCopy that is under way.
// If ctx ends, MoveTo returns its error and the move continues. MoveTo must not be called
// on a loop. If the stream has ended, it returns the stream's end.
//
// Only a connection that arrives on a zero-copy pool's hardware queue may be moved to that
// pool.
func (r *Receiver) MoveTo(ctx context.Context, to BufferPool) error {
	m := &move{to: to, done: make(chan error, 1)}
	err := r.do(func() error {
		switch {
		case r.ended:
			return r.endErr
		case r.moving != nil:
			return errMoving
		case r.pool == to:
			m.done <- nil
			return nil
		}
		r.moving = m
		r.pool.users().forget(r)
		r.cancelReceiving()
		if r.sending.polling {
			r.cancel(r.sending.poll)
		}
		r.finishIfCompleted()
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// scheduleHandOff runs handOff in the old loop's next turn, so that Buffers received in
// this turn are handed over first.
func (r *Receiver) scheduleHandOff() { r.loop.retry(r.handOff) }

// handOff takes the receiver off the old loop and passes it to the new one. It runs on the
// old loop's thread.
func (r *Receiver) handOff() {
	if r.finished {
		return // it has ended meanwhile
	}
	m, from := r.moving, r.pool
	r.detach()
	r.moving, r.paused, r.pausedAhead, r.nudged, r.shortage = nil, false, false, false, shortage{}
	r.isPaused.Store(false)
	r.setHome(newHome(m.to, r))
	// From here on r belongs to the other loop, unless that is closed.
	err := m.to.Loop().Post(func() {
		err := r.arrive()
		if !r.ended && err != nil {
			r.goBack(m, from, err)
			return
		}
		r.endMove(m, err)
	})
	if err != nil {
		r.goBack(m, from, err)
	}
}

// arrive attaches the receiver to its pool. It runs on the thread of that pool's loop.
func (r *Receiver) arrive() error {
	if r.ended {
		return r.endErr // it was closed during the move
	}
	r.mu.Lock()
	behind := r.tooFarAhead // a consumer that catches up from now on wakes this loop
	r.mu.Unlock()
	if behind {
		r.pausedAhead, r.paused = true, true
		r.isPaused.Store(true)
	}
	return r.attach(r.pool)
}

// goBack has the receiver stay on its old pool, because the new one is closed, and ends the
// move with err. If the old one is closed as well, the receiver ends.
func (r *Receiver) goBack(m *move, from BufferPool, err error) {
	r.setHome(newHome(from, r))
	posted := from.Loop().Post(func() {
		if stays := r.arrive(); stays != nil {
			r.end(stays)
		}
		r.endMove(m, err)
	})
	if posted != nil {
		r.ended, r.endErr, r.finished = true, err, true
		r.publish()
		r.endMove(m, err)
	}
}

// endMove tells MoveTo and a writer that waits.
func (r *Receiver) endMove(m *move, err error) {
	r.sending.wake()
	m.done <- err
}
