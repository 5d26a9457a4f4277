package uring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// contexts has the end of a context wake the ring's thread, by an eventfd that the ring reads.
type contexts struct {
	waking bool  // the read is in flight
	failed error // the ring cannot read the eventfd
	buffer []byte

	mu        sync.Mutex
	fd        int       // guarded by mu: the eventfd, -1 if there is none
	cancelled []Request // guarded by mu: whose contexts have ended
}

// StartContext is Start for a request that is cancelled when ctx ends. Its completion then tells
// how far it came; often that is ECANCELED. With a context that can end it needs a ring without
// SetupIOPoll, and one that may read: an eventfd wakes it.
func (q *Requests) StartContext(ctx context.Context, prep func(*SQE), done func(*CQE)) (Request, error) {
	if err := q.usable(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if ctx.Done() == nil {
		return q.Start(prep, done)
	}
	if q.ring.Flags()&SetupIOPoll != 0 {
		return 0, fmt.Errorf("uring: start request with a context: ring flags %#x: SetupIOPoll has no wake-up", uint32(q.ring.Flags()))
	}
	if err := q.listen(); err != nil {
		return 0, err
	}
	id, err := q.Start(prep, done)
	if err == nil { // no completion has come: that takes a turn
		q.table.find(id).stop = context.AfterFunc(ctx, func() { q.cancelLater(id) })
	}
	return id, err
}

// listen begins to read the eventfd.
func (q *Requests) listen() error {
	if q.waking || q.failed != nil {
		return q.failed
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fd < 0 {
		fd, err := sys.NewEventFD()
		if err != nil {
			return err
		}
		q.fd, q.buffer = fd, make([]byte, 8)
	}
	err := q.beginOwn(func(s *SQE) { s.PrepRead(q.fd, q.buffer, 0) }, func(c *CQE) {
		q.waking = false
		if errno := c.Errno(); errno != 0 && errno != syscall.ECANCELED && errno != syscall.EINTR {
			q.failed = os.NewSyscallError("uring: read of an eventfd by the ring", errno)
		}
	})
	q.waking = err == nil
	return err
}

// cancelLater has the ring's thread cancel a request. It is called on any goroutine.
func (q *Requests) cancelLater(id Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fd < 0 {
		return // closed
	}
	q.cancelled = append(q.cancelled, id)
	_ = sys.SignalEventFD(q.fd) // fails only if it is signalled already
}

// cancelEnded cancels the requests whose contexts have ended. It returns false if there was no
// room to cancel all.
func (q *Requests) cancelEnded() (all bool, err error) {
	q.mu.Lock()
	ended := q.cancelled
	q.cancelled = nil
	listens := q.fd >= 0
	q.mu.Unlock()
	if !listens {
		return true, nil
	}
	for i, id := range ended {
		if err := q.cancel(id); err != nil {
			q.mu.Lock()
			q.cancelled = append(ended[i:], q.cancelled...)
			q.mu.Unlock()
			if errors.Is(err, ErrQueueFull) {
				return false, nil
			}
			return false, err
		}
	}
	if err := q.listen(); errors.Is(err, ErrQueueFull) {
		return false, nil
	}
	return true, nil // if it cannot listen, StartContext has returned or will return the error
}

// stopListening ends the read of the eventfd.
func (q *Requests) stopListening() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fd >= 0 {
		_ = sys.SignalEventFD(q.fd)
	}
}

// closeFD closes the eventfd.
func (q *Requests) closeFD() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fd >= 0 {
		_ = sys.Close(q.fd)
		q.fd = -1
	}
}
