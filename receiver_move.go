package zcrx

import (
	"context"
	"errors"
)

var errMoving = errors.New("zcrx: the connection is moving already")

// move is a receiver's way to another pool.
type move struct {
	to   BufferPool
	done chan error // takes one answer
}

// MoveTo takes the receiver to another pool, of any loop: what the old one still
// receives comes first, then what the new one does, and no byte is lost. Whoever
// receives or waits for room to write goes on; the move waits for a SendZeroCopy under
// way. If ctx ends, the move goes on. It must not be called on a loop, and returns
// the stream's end if that has come.
//
// To a zero-copy pool goes only what arrives on that pool's hardware queue.
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
		r.endIfQuiet()
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

// scheduleHandOff is the last thing on the old loop, in its next turn: what this one has
// received is handed over first.
func (r *Receiver) scheduleHandOff() { r.loop.retry(r.handOff) }

func (r *Receiver) handOff() {
	if r.finished {
		return // it ended meanwhile
	}
	m := r.moving
	r.detach()
	r.moving, r.paused, r.behind, r.nudged, r.shortage = nil, false, false, false, shortage{}
	r.isPaused.Store(false)
	r.setHome(newHome(m.to, r))
	// From here on r is the other loop's, unless that is none any more.
	err := m.to.Loop().Post(func() {
		err := r.arrive()
		r.sending.wake()
		m.done <- err
	})
	if err != nil {
		r.ended, r.endErr, r.finished = true, err, true
		r.publish()
		r.sending.wake()
		m.done <- err
	}
}

func (r *Receiver) arrive() error {
	if r.ended {
		return r.endErr // it was closed on the way
	}
	r.mu.Lock()
	behind := r.ahead // the consumer who catches up from now on finds this loop
	r.mu.Unlock()
	if behind {
		r.behind, r.paused = true, true
		r.isPaused.Store(true)
	}
	err := r.attach(r.pool)
	if err != nil {
		r.end(err)
	}
	return err
}
