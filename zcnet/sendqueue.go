package zcnet

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/sys"
)

const (
	// mostCopied is how many bytes a write in a fiber copies, at most. Of longer ones the
	// kernel takes the bytes where they are, while the fiber waits.
	mostCopied = 16 << 10
	// leastLeased is how many bytes of leased buffers are sent in place. Copying fewer and
	// returning the buffers at once costs less.
	leastLeased = 1 << 10
	// mostUnsent is how many bytes of a connection may be unsent when another write begins.
	mostUnsent = 256 << 10
	// mostSegments is how many slices one request sends.
	mostSegments = 64
	// closingTime bounds how long a closed connection goes on sending.
	closingTime = 30 * time.Second
	// mostBlocks is how much free memory for copies a loop keeps, in blocks of mostCopied.
	mostBlocks = 64
)

// sendQueue holds what was written on the connection's loop and is not sent. At the end of a
// turn everything that is in it goes out with one request; one request of a connection is
// under way at a time, so the order of bytes stays.
//
// A writer holds the connection's writing turn. On the loop it puts bytes into the queue.
// Elsewhere it waits until the queue is empty and sends by itself: nobody else can begin to
// fill it meanwhile. All fields but the first three belong to the loop's thread.
type sendQueue struct {
	socket *ringSocket
	unsent atomic.Int64          // bytes in the queue; 0 after an error
	writer atomic.Pointer[fiber] // waits for sent, err or room; may be nil

	sched     *scheduler
	segments  []segment
	inFlight  int  // of the segments, the first that the request has; 0 if there is none
	listed    bool // in sched.toSubmit
	place     int  // in sched.sending, while unsent is not 0
	queued    uint64
	sent      uint64    // of the queued bytes ever
	err       error     // what ended the queue
	watched   *deadline // wakes the writer
	cancelled bool      // the request was cancelled, because a deadline has passed
	shutting  bool      // end the sending side when the queue is empty
	closing   bool      // close the socket then
	closed    func()    // called when it is closed; may be nil
	expired   *time.Timer
	waiting   []chan struct{}        // closed when unsent is 0
	done      func(n int, err error) // completed
}

// segment is a run of bytes to send.
type segment struct {
	bytes  []byte
	buffer zcrx.Buffer // to be released, if it is a lease
	block  []byte      // to be used again, if it is a copy
}

// write queues all of v, or nothing but for large writes of fibers. It returns how many bytes
// the caller need not write again.
func (q *sendQueue) write(here *scheduler, v [][]byte, limit *deadline) (int, error) {
	total := 0
	for _, p := range v {
		total += len(p)
	}
	f, err := q.begin(here, total, limit)
	if err != nil {
		return 0, err
	}
	if total == 0 {
		return 0, q.socket.open()
	}
	if f == nil || total <= mostCopied {
		for _, p := range v {
			q.copyIn(p)
		}
		q.added(total)
		return total, nil
	}
	from := q.queued
	for _, p := range v {
		if len(p) > 0 {
			q.segments = append(q.segments, segment{bytes: p})
		}
	}
	q.added(total)
	return q.waitSent(f, from, limit)
}

// writeLeased queues buffers, which it releases in the end, also if it returns an error.
func (q *sendQueue) writeLeased(here *scheduler, buffers []zcrx.Buffer, limit *deadline) error {
	total := 0
	for _, b := range buffers {
		total += b.Len()
	}
	if _, err := q.begin(here, total, limit); err != nil {
		_ = zcrx.ReleaseAll(buffers)
		return err
	}
	if total < leastLeased {
		for _, b := range buffers {
			q.copyIn(b.Bytes())
		}
		q.added(total)
		return zcrx.ReleaseAll(buffers)
	}
	for _, b := range buffers {
		if b.Len() == 0 {
			_ = b.Release()
			continue
		}
		q.segments = append(q.segments, segment{bytes: b.Bytes(), buffer: b})
	}
	q.added(total)
	return nil
}

// begin waits until the queue takes a write of n bytes, on the loop of here. It returns the
// fiber that calls it, nil in a Handler, which does not wait.
func (q *sendQueue) begin(here *scheduler, n int, limit *deadline) (*fiber, error) {
	q.sched = here
	f := here.current
	for q.mayWrite() == nil && q.unsent.Load() > 0 && q.unsent.Load()+int64(n) > mostUnsent {
		if f == nil {
			return nil, ErrWouldBlock
		}
		if limit.hasPassed.Load() {
			return nil, os.ErrDeadlineExceeded
		}
		q.park(f, limit)
	}
	return f, q.mayWrite()
}

// mayWrite returns an error if the queue takes nothing any more.
func (q *sendQueue) mayWrite() error {
	switch {
	case q.closing || q.sched.closed:
		return zcrx.ErrClosed
	case q.shutting:
		return os.NewSyscallError("send", syscall.EPIPE) // as after shutdown(2)
	}
	return q.err
}

// copyIn copies p to the end of the queue: behind what was copied in this turn, if there is
// room.
func (q *sendQueue) copyIn(p []byte) {
	if n := len(q.segments); n > q.inFlight {
		if last := &q.segments[n-1]; last.block != nil && len(p) <= cap(last.bytes)-len(last.bytes) {
			last.bytes = append(last.bytes, p...)
			return
		}
	}
	if len(p) == 0 {
		return
	}
	block := q.sched.block(len(p))
	q.segments = append(q.segments, segment{bytes: append(block, p...), block: block})
}

// added counts n bytes that were put into the queue, and has them submitted at the end of the
// turn.
func (q *sendQueue) added(n int) {
	if n == 0 {
		return
	}
	if q.unsent.Add(int64(n)) == int64(n) {
		q.place = len(q.sched.sending)
		q.sched.sending = append(q.sched.sending, q)
	}
	q.queued += uint64(n)
	q.list()
}

// list has the queue's bytes submitted at the end of the turn.
func (q *sendQueue) list() {
	if !q.listed && q.inFlight == 0 {
		q.listed = true
		q.sched.toSubmit = append(q.sched.toSubmit, q)
		q.sched.schedule()
	}
}

// waitSent has the fiber wait until what was queued behind from has been sent. When limit
// passes or the connection is closed, it takes the rest out of the queue. It returns how many
// bytes of it were sent.
func (q *sendQueue) waitSent(f *fiber, from uint64, limit *deadline) (int, error) {
	f.waits.queue = q // until nothing of the writer's is in it
	until := q.queued
	for q.mayWrite() == nil && q.sent < until && !limit.hasPassed.Load() {
		q.park(f, limit)
	}
	if q.err == nil && q.sent < until {
		q.stopSending(f)
	}
	f.waits.queue = nil
	sent := min(max(q.sent, from), until)
	n := int(sent - from)
	if q.err != nil || sent == until {
		return n, q.err
	}
	err := q.mayWrite()
	if err == nil {
		err = os.ErrDeadlineExceeded
	}
	q.dropBehind(sent) // all of it is the writer's, who has the turn
	return n, err
}

// stopSending waits until the kernel does not use the queue's bytes.
func (q *sendQueue) stopSending(f *fiber) {
	if q.inFlight > 0 {
		q.cancelled = true
		q.socket.CancelSend()
	}
	for q.inFlight > 0 {
		q.park(f, nil)
	}
}

// park has the writer wait for a change of the queue, or for limit.
func (q *sendQueue) park(f *fiber, limit *deadline) {
	q.writer.Store(f)
	defer q.writer.Store(nil)
	if q.watched != limit && limit != nil {
		q.watched = limit
		limit.whenPassed(q.wakeWriter)
	}
	f.park()
}

// dropBehind removes the bytes behind a position from the queue. None of them is in flight.
func (q *sendQueue) dropBehind(position uint64) {
	left := int(position - q.sent)
	for i := range q.segments {
		s := &q.segments[i]
		if left <= 0 {
			clear(q.segments[i:])
			q.segments = q.segments[:i]
			break
		}
		left -= len(s.bytes)
	}
	n := q.queued - position
	q.queued = position
	q.settle(int(n))
}

// submit sends what is in the queue.
func (q *sendQueue) submit() {
	q.listed = false
	if q.inFlight > 0 || len(q.segments) == 0 {
		return
	}
	if q.done == nil {
		q.done = q.completed
	}
	v := q.sched.slices[:min(len(q.segments), mostSegments)]
	for i := range v {
		v[i] = q.segments[i].bytes
	}
	err := q.socket.StartSend(v, q.done)
	clear(v)
	switch {
	case errors.Is(err, zcrx.ErrQueueFull):
		_ = q.sched.loop.Post(q.list) // a closing loop gives up the queue
	case err != nil:
		q.fail(err)
	default:
		q.inFlight = len(v)
	}
}

// completed takes the result of the request.
func (q *sendQueue) completed(n int, err error) {
	if q.err != nil {
		return // the queue was given up meanwhile
	}
	q.inFlight = 0
	cancelled := q.cancelled
	q.cancelled = false
	q.advance(n)
	switch {
	case err == nil, errors.Is(err, syscall.EINTR), errors.Is(err, syscall.EAGAIN):
	case errors.Is(err, syscall.ECANCELED) && cancelled:
		q.wakeWriter()
		return // the writer takes its bytes out of the queue; see dropBehind
	default:
		q.fail(err)
		return
	}
	q.settle(n)
	q.wakeWriter()
}

// advance removes n bytes that were sent.
func (q *sendQueue) advance(n int) {
	q.sent += uint64(n)
	done := 0
	for done < len(q.segments) && n >= len(q.segments[done].bytes) {
		n -= len(q.segments[done].bytes)
		q.drop(&q.segments[done])
		done++
	}
	if n > 0 {
		q.segments[done].bytes = q.segments[done].bytes[n:]
	}
	left := copy(q.segments, q.segments[done:])
	clear(q.segments[left:])
	q.segments = q.segments[:left]
}

// drop gives back the memory of a segment.
func (q *sendQueue) drop(s *segment) {
	if s.block != nil {
		q.sched.keepBlock(s.block)
		return
	}
	_ = s.buffer.Release() // a double release is its owner's fault, who gets it too
}

// settle counts n bytes that have left the queue, and submits the rest.
func (q *sendQueue) settle(n int) {
	if q.unsent.Add(-int64(n)) == 0 {
		q.empty()
	}
	if len(q.segments) > 0 {
		q.list()
	}
}

// empty does what waited for the queue to be empty.
func (q *sendQueue) empty() {
	s := q.sched
	last := len(s.sending) - 1
	s.sending[q.place] = s.sending[last]
	s.sending[q.place].place = q.place
	s.sending[last] = nil
	s.sending = s.sending[:last]
	if len(s.sending) == 0 && s.sent != nil {
		close(s.sent)
		s.sent = nil
	}
	for _, c := range q.waiting {
		close(c)
	}
	q.waiting = nil
	if q.shutting {
		_ = q.socket.Shutdown(syscall.SHUT_WR) // whoever asked has gone on
	}
	if q.closing {
		q.expired.Stop()
		q.closeSocket()
	}
}

// closeSocket closes the socket, and says so.
func (q *sendQueue) closeSocket() {
	_ = q.socket.Receiver.Close() // on the loop it does not fail
	if q.closed != nil {
		q.closed()
	}
}

// fail ends the queue with err. Later writes return it.
func (q *sendQueue) fail(err error) {
	q.err = err
	for i := range q.segments {
		q.drop(&q.segments[i])
	}
	clear(q.segments)
	q.segments = q.segments[:0]
	q.inFlight = 0
	if n := q.unsent.Swap(0); n > 0 {
		q.empty()
	}
	q.wakeWriter()
}

// wakeWriter is safe from any goroutine: a deadline calls it too.
func (q *sendQueue) wakeWriter() {
	if f := q.writer.Load(); f != nil {
		f.unpark()
	}
}

// closeWhenSent closes the socket when the queue is empty, or after closingTime. Until then
// what the peer sends is dropped, because bytes that are left in the socket would make close(2)
// reset the connection. It runs on the loop.
func (q *sendQueue) closeWhenSent() {
	if q.unsent.Load() == 0 {
		q.closeSocket()
		return
	}
	q.closing = true
	q.socket.StopReading()
	q.wakeWriter()
	q.expired = time.AfterFunc(closingTime, func() { _ = q.sched.loop.Post(q.giveUp) })
}

// closeNow closes the socket, which drops what was not sent. It runs on the loop.
func (q *sendQueue) closeNow() {
	if q.unsent.Load() > 0 {
		q.reset()
		q.fail(zcrx.ErrClosed)
	}
	q.closeSocket()
}

// reset makes the kernel send nothing more of the request in flight, if there is one: fail gives
// its memory back.
func (q *sendQueue) reset() {
	if q.inFlight > 0 {
		_ = q.socket.Control(func(fd uintptr) { sys.ResetConn(int(fd)) })
	}
}

// onEmpty has c closed when the queue is empty. It runs on the loop.
func (q *sendQueue) onEmpty(c chan struct{}) {
	if q.unsent.Load() == 0 {
		close(c)
		return
	}
	q.waiting = append(q.waiting, c)
}

// shutdownWhenSent ends the sending side of the connection when the queue is empty. It runs
// on the loop.
func (q *sendQueue) shutdownWhenSent() error {
	if q.unsent.Load() == 0 {
		return q.socket.Shutdown(syscall.SHUT_WR)
	}
	q.shutting = true
	return nil
}

// giveUp ends a queue whose connection is closed: it sends what the socket takes now, and
// drops the rest.
func (q *sendQueue) giveUp() {
	if q.unsent.Load() == 0 {
		return
	}
	if q.inFlight == 0 {
		for i := range q.segments {
			b := q.segments[i].bytes
			if n, err := q.socket.TrySend([][]byte{b}); n < len(b) || err != nil {
				break
			}
		}
	}
	q.reset()
	closing := q.closing // then fail closes the socket
	q.fail(zcrx.ErrClosed)
	if !closing {
		q.closeSocket()
	}
}

// block returns memory for a copy of n bytes, with length 0.
func (s *scheduler) block(n int) []byte {
	if n > mostCopied {
		return make([]byte, 0, n)
	}
	if last := len(s.blocks) - 1; last >= 0 {
		b := s.blocks[last]
		s.blocks[last] = nil
		s.blocks = s.blocks[:last]
		return b
	}
	return make([]byte, 0, mostCopied)
}

// keepBlock takes memory that block returned.
func (s *scheduler) keepBlock(b []byte) {
	if cap(b) == mostCopied && len(s.blocks) < mostBlocks {
		s.blocks = append(s.blocks, b[:0])
	}
}

// submit sends what connections have queued in this turn.
func (s *scheduler) submit() {
	for i := 0; i < len(s.toSubmit); i++ {
		q := s.toSubmit[i]
		s.toSubmit[i] = nil
		q.submit()
	}
	s.toSubmit = s.toSubmit[:0]
}
