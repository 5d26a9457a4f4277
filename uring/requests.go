package uring

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// ErrQueueFull is what Requests.Start and StartLinked return if the submission queue has no
// room, and the kernel takes nothing out of it now. It matches syscall.EAGAIN.
var ErrQueueFull error = queueFull{}

type queueFull struct{}

func (queueFull) Error() string { return "uring: submission queue full" }
func (queueFull) Unwrap() error { return syscall.EAGAIN }

var errPreparing = errors.New("uring: called while a request is prepared: only Prep methods may be")

// Requests begins requests on a ring, keeps the memory that the kernel uses for each until its
// last completion, and passes the completions to the functions that wait for them. It belongs
// to the ring's thread: on another one Turn returns an error that matches ErrWrongThread, and
// other calls are data races. Contexts may end anywhere. The ring must have no other requests:
// those of entries that the program takes from it by itself are strays here.
type Requests struct {
	ring      *Ring
	entry     trackedSQE // that is being prepared
	preparing bool
	table     requestTable
	strays    int
	closed    bool

	batch  [64]CQE
	next   int // batch[next:filled] are to be passed
	filled int

	contexts
}

// NewRequests returns the Requests of a ring, of which it has one at a time. The caller must
// Close it before the ring: what is forgotten, with or without its ring, stays for ever, because
// the kernel may still use it.
func NewRequests(ring *Ring) *Requests {
	if ring.requests != nil {
		return ring.requests
	}
	q := &Requests{ring: ring, table: requestTable{first: max(1, ring.generation)}}
	q.fd = -1
	ring.requests = q
	rooted.add(q)
	return q
}

// Start begins a request. prep fills in its entry, with one Prep method; the memory that this
// was given stays reachable until the last completion, and whatever that memory points to.
// done is called on the ring's thread, by Turn, with every completion: the last is the first
// one without CQEMore. The CQE is valid until done returns or calls Turn. done may begin and
// cancel requests; nil means that nobody waits. The entry goes to the kernel with the next Turn.
//
// Start returns ErrQueueFull, os.ErrClosed after Close, or an error for what it cannot serve:
// the flags SQELink and SQEHardLink (see StartLinked) and SQECQESkipSuccess, and entries of 128
// bytes on rings without. Then nothing was begun.
func (q *Requests) Start(prep func(*SQE), done func(*CQE)) (Request, error) {
	if err := q.usable(); err != nil {
		return 0, err
	}
	t := &q.entry
	defer t.end()
	if err := q.prepare(t, prep); err != nil {
		return 0, err
	}
	if refused := t.Flags & (SQELink | SQEHardLink | SQECQESkipSuccess); refused != 0 {
		return 0, fmt.Errorf("uring: start request: flags %#x are for StartLinked, or leave out the completion", uint8(refused))
	}
	if err := q.room(q.places(t)); err != nil {
		return 0, err
	}
	return q.begin(t, done, false), nil
}

// StartLinked begins requests one after the other: the kernel begins each when the one before
// has succeeded, or has completed if its prep sets SQEHardLink. If one fails, or transfers fewer
// bytes than asked for, those behind it complete with ECANCELED. done is called with a request's
// place in preps, from 0, and its completion; none may have more than one. Either all are begun
// or none: there are 1 to SQEntries of them, and in a mixed ring those of 128 bytes count for
// three. A timeout for one is a PrepLinkTimeout behind it.
func (q *Requests) StartLinked(done func(i int, c *CQE), preps ...func(*SQE)) error {
	if err := q.usable(); err != nil {
		return err
	}
	if err := inRange("number of linked requests", len(preps), 1, q.ring.SQEntries()); err != nil {
		return err
	}
	chain := make([]trackedSQE, len(preps))
	places := 0
	for i, prep := range preps {
		t := &chain[i]
		if err := q.prepare(t, prep); err != nil {
			return fmt.Errorf("request %d of the chain: %w", i, err)
		}
		switch last := i == len(preps)-1; {
		case t.Flags&SQECQESkipSuccess != 0:
			return fmt.Errorf("uring: start linked request %d: flags %#x leave out the completion", i, uint8(SQECQESkipSuccess))
		case last:
			t.Flags &^= SQELink | SQEHardLink
		case t.Flags&SQEHardLink == 0:
			t.Flags |= SQELink
		}
		places += q.places(t)
	}
	if err := inRange("number of entries of linked requests", places, 1, q.ring.SQEntries()); err != nil {
		return err
	}
	if err := q.room(places); err != nil {
		return err
	}
	for i := range chain {
		q.begin(&chain[i], func(c *CQE) {
			if done != nil {
				done(i, c)
			}
		}, false)
	}
	return nil
}

// usable returns an error if no request can be begun now.
func (q *Requests) usable() error {
	switch {
	case q.closed || q.ring.h == nil:
		return errClosed
	case q.preparing:
		return errPreparing
	}
	return nil
}

// prepare has prep fill in an entry.
func (q *Requests) prepare(t *trackedSQE, prep func(*SQE)) error {
	t.begin()
	q.preparing = true
	defer func() { q.preparing = false }()
	prep(&t.SQE)
	switch {
	case !t.intact():
		return errors.New("uring: start request: the entry was replaced: only call a Prep method, and set fields")
	case t.wide() && q.ring.Flags()&(SetupSQE128|SetupSQEMixed) == 0:
		return fmt.Errorf("uring: start request: operation %d needs a ring with SetupSQE128 or SetupSQEMixed", t.Opcode)
	case q.ring.h == nil:
		return errClosed // by prep
	}
	return nil
}

// places returns how many entries a request may take: see GetSQE128.
func (q *Requests) places(t *trackedSQE) int {
	if t.wide() && q.ring.Flags()&SetupSQEMixed != 0 {
		return 3
	}
	return 1
}

// room sees to it that n entries are free.
func (q *Requests) room(n int) error {
	if q.ring.SQSpaceLeft() < n {
		if _, err := q.ring.Submit(); err != nil && !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
	if q.ring.SQSpaceLeft() < n {
		return ErrQueueFull
	}
	return nil
}

// begin puts a prepared entry into the queue, which has room. own says that the request is not
// the program's.
func (q *Requests) begin(t *trackedSQE, done func(*CQE), own bool) Request {
	of128 := q.ring.Flags()&SetupSQE128 != 0
	var s *SQE
	if t.wide() {
		s, of128 = q.ring.GetSQE128(), true
	} else {
		s = q.ring.GetSQE()
	}
	id := q.table.add(request{done: done, memory: t.memory, own: own})
	t.copyTo(s, of128, uint64(id))
	return id
}

// beginOwn begins a request that is not the program's.
func (q *Requests) beginOwn(prep func(*SQE), done func(*CQE)) error {
	if err := q.room(1); err != nil {
		return err
	}
	t := &q.entry
	defer t.end()
	t.begin()
	prep(&t.SQE)
	q.begin(t, done, true)
	return nil
}

// InFlight returns how many requests have not completed.
func (q *Requests) InFlight() int { return q.table.live }

// Strays returns how many completions belonged to no request.
func (q *Requests) Strays() int { return q.strays }

// Cancel asks the kernel to end a request, which then completes: often with ECANCELED. A request
// that has completed is left alone. It returns ErrQueueFull if the submission queue has no
// room.
func (q *Requests) Cancel(id Request) error {
	if err := q.usable(); err != nil {
		return err
	}
	return q.cancel(id)
}

func (q *Requests) cancel(id Request) error {
	if q.table.find(id) == nil {
		return nil
	}
	return q.beginOwn(func(s *SQE) { s.PrepCancel(uint64(id), 0) }, nil)
}

// Turn hands the entries to the kernel and calls the functions for the completions that are
// there. It waits until there were n of them, 0 to CQEntries, nothing is in flight, or the timeout
// has passed, a negative one never. It returns how many there were.
func (q *Requests) Turn(n int, timeout time.Duration) (int, error) {
	if err := q.usable(); err != nil {
		return 0, err
	}
	if err := q.ring.checkWait(n); err != nil {
		return 0, err
	}
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	passed := q.passAll() // what a turn has left whose function called Turn, or panicked
	for {
		left := timeout
		if timeout > 0 {
			left = max(0, time.Until(deadline))
		}
		k, err := q.round(n-passed, left)
		passed += k
		if err != nil || passed >= n || q.table.live == 0 || left == 0 || q.closed {
			return passed, err
		}
	}
}

// round submits, waits once for up to n completions, and passes what is there.
func (q *Requests) round(n int, timeout time.Duration) (int, error) {
	const soon = time.Millisecond
	all, err := q.cancelEnded()
	if err != nil {
		return 0, err
	}
	switch {
	case n <= 0 || q.table.live == 0:
		n = 0
	case q.waking: // contexts that end are a completion each
		n = 1
	default:
		n = min(n, q.table.live)
	}
	if !all && (timeout < 0 || timeout > soon) {
		timeout = soon // the queue was full: try again to cancel
	}
	if _, err := q.ring.SubmitAndWait(n, timeout); err != nil && !errors.Is(err, syscall.EBUSY) {
		return 0, err
	}
	return q.passAll(), nil
}

// passAll passes the completions that are there, and returns how many were the program's. What
// is passed has left the batch before its function runs, which may call Turn, or panic.
func (q *Requests) passAll() int {
	passed := 0
	for {
		for q.next < q.filled {
			c := &q.batch[q.next]
			q.next++
			if q.pass(c) {
				passed++
			}
		}
		q.next, q.filled = 0, q.ring.Completions(q.batch[:])
		if q.filled == 0 {
			return passed
		}
	}
}

// pass passes a completion to who waits for it, and reports whether it is the program's.
func (q *Requests) pass(c *CQE) bool {
	r := q.table.find(Request(c.UserData))
	if r == nil {
		q.strays++
		return false
	}
	done, own := r.done, r.own
	if !c.More() {
		if r.stop != nil {
			r.stop()
		}
		q.table.remove(Request(c.UserData))
	}
	if done != nil {
		done(c)
	}
	return !own
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
	if q.preparing {
		return errPreparing
	}
	q.closed = true
	if q.ring.h == nil {
		return nil // abandon has done the rest
	}
	err := q.endAll(timeout)
	live := q.table.live
	q.abandon()
	q.ring.requests, q.ring.generation = nil, q.table.unused()
	if live > 0 {
		err = errors.Join(err, fmt.Errorf("uring: %d requests have not ended: %w", live, os.ErrDeadlineExceeded))
	}
	return err
}

// endAll cancels all requests and waits until they have ended.
func (q *Requests) endAll(timeout time.Duration) error {
	const pause = 10 * time.Millisecond
	q.stopListening()
	for deadline := time.Now().Add(timeout); ; {
		q.passAll()
		for id, r := range q.table.all() {
			if !r.cancelled && !r.own && q.cancel(id) == nil {
				q.table.find(id).cancelled = true // r may have moved
			}
		}
		if q.table.live+q.table.own == 0 {
			return nil
		}
		left := max(0, time.Until(deadline))
		if _, err := q.ring.SubmitAndWait(1, min(left, pause)); err != nil && !errors.Is(err, syscall.EBUSY) {
			return err
		}
		if left == 0 {
			q.passAll()
			return nil
		}
	}
}

// abandon ends the Requests: nobody waits any more. The memory of what is in flight stays.
func (q *Requests) abandon() {
	q.closed = true
	for _, r := range q.table.all() {
		if r.stop != nil {
			r.stop()
		}
	}
	q.closeFD()
	if q.table.live+q.table.own == 0 {
		rooted.remove(q)
	}
}
