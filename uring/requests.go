package uring

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// ErrQueueFull is what Requests.Start and StartLinked return if the submission queue has no
// room, and the kernel takes nothing out of it now. It matches syscall.EAGAIN.
var ErrQueueFull error = queueFull{}

type queueFull struct{}

func (queueFull) Error() string { return "uring: submission queue full" }
func (queueFull) Unwrap() error { return syscall.EAGAIN }

// Requests begins requests on a ring, keeps the memory that the kernel uses for each until its
// last completion, and passes the completions to the functions that wait for them. It belongs
// to the ring's thread: on another one Turn returns an error that matches ErrWrongThread, and
// other calls are data races. Contexts may end anywhere. The ring must have no other requests:
// those of entries that the program takes from it by itself are strays here.
type Requests struct {
	ring    *Ring
	entry   trackedSQE // that is being prepared
	entries []request
	free    []uint32
	live    int
	strays  int
	batch   [64]CQE
	closed  bool

	wakeFD  int // an eventfd, -1 until a request has a context
	wakeBuf []byte
	waking  bool // it is being read

	mu        sync.Mutex
	cancelled []Request // guarded by mu: whose contexts have ended
}

// Request names a request that was begun. It is never used again for another one.
type Request uint64

// request is one in flight.
type request struct {
	done       func(*CQE)
	memory     [maxMemory]unsafe.Pointer // kept until the last completion
	generation uint32
}

// NewRequests makes the Requests of a ring, which has none in flight.
func NewRequests(ring *Ring) *Requests { return &Requests{ring: ring, wakeFD: -1} }

// Start begins a request. prep fills in its entry, with one Prep method; the memory that this
// was given stays reachable until the last completion, and whatever that memory points to.
// done is called on the ring's thread, by Turn, with every completion: the last is the first
// one without CQEMore. The entry goes to the kernel with the next Turn.
//
// Start returns ErrQueueFull, os.ErrClosed after Close, or an error for flags that it cannot
// serve: SQELink and SQEHardLink (see StartLinked) and SQECQESkipSuccess. Then nothing was
// begun.
func (q *Requests) Start(prep func(*SQE), done func(*CQE)) (Request, error) {
	if err := q.room(1); err != nil {
		return 0, err
	}
	q.entry.begin()
	defer q.entry.end()
	prep(&q.entry.SQE)
	if refused := q.entry.Flags & (SQELink | SQEHardLink | SQECQESkipSuccess); refused != 0 {
		return 0, fmt.Errorf("uring: start request: flags %#x are for StartLinked, or leave out the completion", uint8(refused))
	}
	return q.begin(&q.entry, done), nil
}

// StartContext is Start for a request that is cancelled when ctx ends. Its completion then tells
// how far it came; often that is ECANCELED.
func (q *Requests) StartContext(ctx context.Context, prep func(*SQE), done func(*CQE)) (Request, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if ctx.Done() == nil {
		return q.Start(prep, done)
	}
	if err := q.listen(); err != nil {
		return 0, err
	}
	var stop func() bool
	id, err := q.Start(prep, func(c *CQE) {
		if !c.More() {
			stop()
		}
		done(c)
	})
	if err == nil {
		stop = context.AfterFunc(ctx, func() { q.cancelLater(id) })
	}
	return id, err
}

// StartLinked begins requests one after the other: the kernel begins each when the one before
// has succeeded, or has completed if its prep sets SQEHardLink. If one fails, or transfers fewer
// bytes than asked for, those behind it complete with ECANCELED. done is called with a request's place in preps, from 0, and its
// completion; none may have more than one. Either all are begun or none: there are 1 to
// SQEntries of them. A timeout for one is a PrepLinkTimeout behind it.
func (q *Requests) StartLinked(done func(i int, c *CQE), preps ...func(*SQE)) error {
	if err := inRange("number of linked requests", len(preps), 1, q.ring.SQEntries()); err != nil {
		return err
	}
	if err := q.room(len(preps)); err != nil {
		return err
	}
	chain := make([]trackedSQE, len(preps))
	for i, prep := range preps {
		t := &chain[i]
		t.begin()
		prep(&t.SQE)
		switch last := i == len(preps)-1; {
		case t.Flags&SQECQESkipSuccess != 0:
			return fmt.Errorf("uring: start linked request %d: flags %#x leave out the completion", i, uint8(SQECQESkipSuccess))
		case last:
			t.Flags &^= SQELink | SQEHardLink
		case t.Flags&SQEHardLink == 0:
			t.Flags |= SQELink
		}
	}
	for i := range chain {
		q.begin(&chain[i], func(c *CQE) { done(i, c) })
	}
	return nil
}

// room sees to it that n entries are free.
func (q *Requests) room(n int) error {
	if q.closed || q.ring.h == nil {
		return errClosed
	}
	if q.space() < n {
		if _, err := q.ring.Submit(); err != nil && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
	if q.space() < n {
		return ErrQueueFull
	}
	return nil
}

// space returns how many entries can be taken. In a mixed ring the next one may be of 128 bytes
// and need three places.
func (q *Requests) space() int {
	if q.ring.Flags()&SetupSQEMixed != 0 {
		return q.ring.SQSpaceLeft() / 3
	}
	return q.ring.SQSpaceLeft()
}

// begin puts a prepared entry into the queue, which has room.
func (q *Requests) begin(t *trackedSQE, done func(*CQE)) Request {
	wide := q.ring.Flags()&SetupSQE128 != 0
	var s *SQE
	if t.Opcode == OpNop128 || t.Opcode == OpUringCmd128 {
		s, wide = q.ring.GetSQE128(), true
	} else {
		s = q.ring.GetSQE()
	}
	id := q.add(done)
	q.entries[uint32(id)].memory = t.memory
	t.copyTo(s, wide, uint64(id))
	return id
}

func (q *Requests) add(done func(*CQE)) Request {
	if n := len(q.free); n > 0 {
		i := q.free[n-1]
		q.free = q.free[:n-1]
		e := &q.entries[i]
		e.done = done
		q.live++
		return Request(e.generation)<<32 | Request(i)
	}
	q.entries = append(q.entries, request{done: done, generation: 1})
	q.live++
	return 1<<32 | Request(len(q.entries)-1)
}

func (q *Requests) find(id Request) *request {
	i := uint32(id)
	if uint64(i) >= uint64(len(q.entries)) {
		return nil
	}
	if e := &q.entries[i]; e.done != nil && e.generation == uint32(id>>32) {
		return e
	}
	return nil
}

// InFlight returns how many requests have not completed.
func (q *Requests) InFlight() int {
	n := q.live
	if q.waking {
		n--
	}
	return n
}

// Strays returns how many completions belonged to no request.
func (q *Requests) Strays() int { return q.strays }

// Cancel asks the kernel to end a request, which then completes: often with ECANCELED. A request
// that has completed is left alone. It returns ErrQueueFull if the submission queue has no
// room.
func (q *Requests) Cancel(id Request) error {
	if q.find(id) == nil {
		return nil
	}
	_, err := q.Start(func(s *SQE) { s.PrepCancel(uint64(id), 0) }, func(*CQE) {})
	return err
}

// Turn hands the entries to the kernel, waits until n completions are there, 0 to CQEntries, or
// the timeout has passed, a negative one never, and calls the functions for all that are there.
// It returns how many there were.
func (q *Requests) Turn(n int, timeout time.Duration) (int, error) {
	if q.closed {
		return 0, errClosed
	}
	return q.turn(n, timeout)
}

func (q *Requests) turn(n int, timeout time.Duration) (int, error) {
	if err := q.cancelEnded(); err != nil {
		return 0, err
	}
	if _, err := q.ring.SubmitAndWait(n, timeout); err != nil && !errors.Is(err, syscall.EBUSY) {
		return 0, err
	}
	passed := 0
	for {
		k := q.ring.Completions(q.batch[:])
		for i := range k {
			q.pass(&q.batch[i])
		}
		passed += k
		if k < len(q.batch) {
			return passed, nil
		}
	}
}

// pass passes a completion to who waits for it.
func (q *Requests) pass(c *CQE) {
	id := Request(c.UserData)
	e := q.find(id)
	if e == nil {
		q.strays++
		return
	}
	done := e.done
	if !c.More() {
		e.done, e.memory = nil, [maxMemory]unsafe.Pointer{}
		e.generation = max(1, e.generation+1)
		q.free = append(q.free, uint32(id))
		q.live--
	}
	done(c)
}

// listen begins to read the eventfd by which the end of a context wakes the ring's thread.
func (q *Requests) listen() (err error) {
	if q.wakeFD < 0 {
		if q.wakeFD, err = sys.NewEventFD(); err != nil {
			q.wakeFD = -1
			return err
		}
		q.wakeBuf = make([]byte, 8)
	}
	if q.waking {
		return nil
	}
	_, err = q.Start(func(s *SQE) { s.PrepRead(q.wakeFD, q.wakeBuf, 0) }, func(*CQE) { q.waking = false })
	q.waking = err == nil
	return err
}

// cancelLater has the ring's thread cancel a request. It is called on any goroutine.
func (q *Requests) cancelLater(id Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.wakeFD < 0 {
		return // closed
	}
	q.cancelled = append(q.cancelled, id)
	_ = sys.SignalEventFD(q.wakeFD) // fails only if it is signalled already
}

// cancelEnded cancels the requests whose contexts have ended.
func (q *Requests) cancelEnded() error {
	if q.wakeFD < 0 {
		return nil
	}
	q.mu.Lock()
	ended := q.cancelled
	q.cancelled = nil
	q.mu.Unlock()
	for i, id := range ended {
		if err := q.Cancel(id); err != nil {
			q.mu.Lock()
			q.cancelled = append(ended[i:], q.cancelled...)
			q.mu.Unlock()
			if errors.Is(err, ErrQueueFull) {
				return nil // the next turn tries again
			}
			return err
		}
	}
	if q.closed {
		return nil
	}
	if err := q.listen(); err != nil && !errors.Is(err, ErrQueueFull) {
		return err
	}
	return nil
}

// Close cancels all requests and waits until they have completed, up to the timeout; the
// functions get their completions. Then it returns os.ErrDeadlineExceeded if some have not: a
// send without a copy goes on until its peer has acknowledged it. Their memory stays for ever,
// since nothing tells when the kernel is done with it once the ring is closed. Close does not
// close the ring. A second Close does nothing.
func (q *Requests) Close(timeout time.Duration) error {
	if q.closed {
		return nil
	}
	err := q.cancelAll(timeout)
	q.closed = true
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.wakeFD >= 0 {
		err = errors.Join(err, sys.Close(q.wakeFD))
		q.wakeFD = -1
	}
	if q.live > 0 {
		q.keepForEver()
		err = errors.Join(err, fmt.Errorf("uring: %d requests have not ended: %w", q.live, os.ErrDeadlineExceeded))
	}
	return err
}

func (q *Requests) cancelAll(timeout time.Duration) error {
	const pause = 10 * time.Millisecond
	for deadline := time.Now().Add(timeout); q.live > 0; {
		for i := range q.entries {
			e := &q.entries[i]
			if e.done == nil {
				continue
			}
			id := Request(e.generation)<<32 | Request(i)
			if q.room(1) != nil {
				break
			}
			s := q.ring.GetSQE()
			s.PrepCancel(uint64(id), 0)
			s.Flags |= SQECQESkipSuccess
			s.UserData = ^uint64(0) // nobody's: it completes only if it has found nothing
		}
		strays := q.strays
		if _, err := q.turn(1, max(0, min(pause, time.Until(deadline)))); err != nil {
			return err
		}
		q.strays = strays
		if time.Now().After(deadline) {
			break
		}
	}
	return nil
}

// unfinished is the memory of requests that outlived their Requests.
var unfinished struct {
	sync.Mutex
	memory [][maxMemory]unsafe.Pointer
}

func (q *Requests) keepForEver() {
	unfinished.Lock()
	defer unfinished.Unlock()
	for i := range q.entries {
		if q.entries[i].done != nil {
			unfinished.memory = append(unfinished.memory, q.entries[i].memory)
		}
	}
}
