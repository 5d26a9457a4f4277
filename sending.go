package zcrx

import (
	"errors"

	"github.com/zcrx-go/zcrx/uring"
)

// sending is what the connection's writer has in the kernel. It belongs to the
// loop's thread, but for the channel.
type sending struct {
	poll     uint64 // user data of the poll for room to write
	polling  bool   // it is in flight
	request  uint64 // user data of a zero-copy send
	inFlight bool   // its first completion has not come
	pinned   bool   // its last completion has not come: the kernel uses the writer's memory
	aborted  bool   // the connection was reset because of that
	writable chan struct{}
}

// idle tells that no request holds the socket.
func (s *sending) idle() bool { return !s.polling && !s.inFlight }

// settled tells that no completion will come.
func (s *sending) settled() bool { return s.idle() && !s.pinned }

// pollWritable has the next wake-up of sending.writable tell that writing may be
// tried again.
func (r *Receiver) pollWritable() error {
	if r.closeWanted {
		return ErrClosed
	}
	if r.sending.polling || r.moving != nil { // the end of the move wakes the writer, too
		return nil
	}
	s, err := r.loop.newRequest(completerFunc(func(*uring.CQE) {
		r.sending.polling = false
		r.sending.wake()
		r.settle()
		r.closeIfIdle()
	}))
	if errors.Is(err, ErrQueueFull) {
		r.sending.polling = true // as good as in flight
		r.loop.retry(func() {
			r.sending.polling = false
			if r.pollWritable() != nil {
				r.sending.wake()
			}
			r.closeIfIdle()
		})
		return nil
	}
	if err != nil {
		return err
	}
	s.PrepPollAdd(r.socket.fd, pollOut)
	r.sending.poll, r.sending.polling = s.UserData, true
	return nil
}

func (s *sending) wake() {
	select {
	case s.writable <- struct{}{}:
	default: // one wake-up is there already
	}
}

// endSending ends what the writer has in flight.
func (r *Receiver) endSending() {
	if r.sending.polling {
		r.cancel(r.sending.poll)
	}
	if r.sending.inFlight {
		r.cancel(r.sending.request)
	}
	if r.sending.pinned {
		// Bytes that the writer gets back must not be sent any more.
		r.sending.aborted = true
		abortSocket(r.socket.fd)
	}
}
