package zcrx

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

const (
	pollOut   = 0x4    // POLLOUT
	pollHup   = 0x10   // POLLHUP
	pollRDHup = 0x2000 // POLLRDHUP, which io_uring's polls report unasked (io_uring/poll.c)
)

// loopSide is the part of a Receiver that belongs to its loop's thread: its requests in the
// kernel, and what they completed in this turn.
type loopSide struct {
	pool BufferPool
	loop *Loop

	index    int    // in the pool's receiverList
	attached bool   // the receiver is one of the pool's users
	share    *share // its share of the pool's leases
	paused   bool   // from pause to resume
	readAhead

	request    uint64 // user data of the receive in flight
	armed      bool   // it is in flight
	nudged     bool   // it was cancelled, to be armed again
	limited    bool   // it ends by itself after left more bytes
	left       uint64
	length     int    // of the bytes of a completion, on average: in sixteenths of a byte
	supplySeen supply // the pool's supply when it was armed
	shortage   shortage

	sleep slumber // the pool's sleepWatch keeps it

	watch    uint64 // user data of the poll for a hang-up
	watching bool   // it is in flight
	hungUp   bool   // the connection has hung up, or its stream has ended; data may be left

	sending sending

	ended       bool  // endErr is set, and no further data is accepted
	endErr      error // the error after the last buffer
	finished    bool  // the receiver has left the pool
	closeWanted bool  // Close was called: close the socket once nothing is in flight on it
	moving      *move // the move to another pool that starts once nothing is in flight; nil if none

	batch       []Buffer // received in this turn, not yet handed over
	unpublished bool     // batch or endErr wait for publish
	handler     func(buffers []Buffer, err error)

	readingStopped bool // StopReading was called: a handler gets nothing but the error
}

// attach makes r one of the pool's receivers and arms its requests.
func (r *Receiver) attach(pool BufferPool) error {
	if r.ended {
		return r.endErr // it was closed on this loop before it came to be attached
	}
	if pool.users().closing || !pool.accounts().addUser() {
		return ErrClosed
	}
	r.attached = true
	if pool.Mode() == ZeroCopy {
		// A packet with the URG flag whose payload lies in a pool makes the kernel panic
		// (7.3.4; tcp_urg in net/ipv4/tcp_input.c copies from the payload and treats a
		// failure as a bug), and any peer can send one.
		if err := sys.DropUrgent(r.socket.fd); err != nil {
			r.loop.report("drop urgent packets", err)
		}
	}
	r.startAhead()
	pool.users().add(r)
	r.arm()
	r.watchForReset()
	return nil
}

// arm starts the receive.
func (r *Receiver) arm() {
	if r.ended || r.paused || r.moving != nil {
		return
	}
	r.supplySeen = r.pool.supplied()
	r.pool.accounts().refreshReturned(r.share)
	s, err := r.loop.newRequest(r)
	if errors.Is(err, ErrQueueFull) {
		r.loop.retry(r.arm)
		return
	}
	if err != nil {
		r.end(err)
		return
	}
	r.left = r.pool.prepRecv(s, r.socket.fd, max(1, min(r.share.room(), uint64(r.mayBeAhead)))*r.bytesEach())
	r.limited = r.left > 0
	r.request, r.armed, r.nudged = s.UserData, true, false
	if r.hungUp {
		// It reads what is there when it is submitted. If it sleeps after that, the
		// cancellation ends it, and it is armed again until it reaches the end.
		r.nudge()
	}
}

// bytesEach returns how many bytes a lease may come to: of small messages each is a lease of
// its own, and a receive of as many bytes as fit the buffers could make many times as many
// leases as the share has room for.
func (r *Receiver) bytesEach() uint64 {
	size := uint64(r.pool.BufferSize())
	if r.length == 0 {
		return size // nothing has come yet
	}
	return min(size, uint64(r.length)/8+1) // twice the average
}

// complete handles a completion of the receive.
func (r *Receiver) complete(c *uring.CQE) {
	if !c.More() {
		r.armed = false
	}
	if c.Res <= 0 {
		r.pool.discard(c)
		r.noData(c)
		r.finishIfCompleted()
		return
	}
	had := len(r.batch)
	batch, err := r.pool.take(c, r.pool.users().batchWithRoom(r.batch, int(c.Res)/r.pool.BufferSize()+2))
	r.left -= min(r.left, uint64(c.Res))
	if r.length == 0 {
		r.length = 16 * int(c.Res)
	}
	r.length += (16*int(c.Res) - r.length) / 8
	switch {
	case err != nil:
		r.end(err)
	case r.ended:
		_ = ReleaseAll(batch[had:]) // cannot fail: the leases are new
	default:
		if r.shortage.ends > 0 {
			r.shortage = shortage{}
		}
		r.deliver(batch, had)
	}
	if !r.armed {
		r.receiveOn()
		r.finishIfCompleted()
	}
}

// watchForReset polls for the connection's hang-up. A receive that reads the last data does
// not see a reset that came with it, and sleeps: it looks at the number of bytes left, not
// at the socket's error (seen on Linux 6.18 and 7.3). Once the connection has hung up, arm
// therefore never leaves a receive asleep.
func (r *Receiver) watchForReset() {
	if r.ended || r.hungUp || r.moving != nil {
		return
	}
	s, err := r.loop.newRequest(completerFunc(func(c *uring.CQE) {
		r.watching = false
		switch {
		case c.Res > 0 && c.Res&(pollHup|pollRDHup) != 0:
			r.hungUp = true
			if !r.ended {
				r.touch() // publish comes after the receive's completion, if that is in the turn too
			}
		case c.Res > 0:
			r.watchAgainLater() // POLLERR alone: an entry in the socket's error queue
		}
		r.finishIfCompleted()
	}))
	if errors.Is(err, ErrQueueFull) {
		r.loop.retry(r.watchForReset)
		return
	}
	if err != nil {
		r.end(err)
		return
	}
	s.PrepPollAdd(r.socket.fd, pollHup)
	r.watch, r.watching = s.UserData, true
}

// watchPause is how long a socket with entries in its error queue, which complete every poll
// at once, is not watched.
const watchPause = 100 * time.Millisecond

func (r *Receiver) watchAgainLater() {
	time.AfterFunc(watchPause, func() {
		_ = r.do(func() error { // a closed loop watches nothing
			if r.attached && !r.watching {
				r.watchForReset()
			}
			return nil
		})
	})
}

// receiveOn arms again a receive that the kernel ended together with data.
func (r *Receiver) receiveOn() {
	if r.ended {
		return
	}
	if r.limited && r.left == 0 {
		r.keepUp() // a bundle reaches the limit with its last data
	}
	r.rearm(&r.pool.users().rearmedOther)
}

// deliver charges the Buffers batch[had:] to the share and hands over the batch at the end
// of the turn.
func (r *Receiver) deliver(batch []Buffer, had int) {
	for i := had; i < len(batch); i++ {
		batch[i].lease.share = r.share
	}
	r.share.taken += uint64(len(batch) - had)
	r.batch = batch
	r.touch()
	users := r.pool.users()
	if users.sleeps.on {
		users.sleeps.add(r, r.loop)
	}
	if !r.paused && r.share.usedUp() && r.pool.accounts().pauseIfExhausted(r.share) {
		r.pause()
	}
}

// noData handles a completion without data: the end, or an error.
func (r *Receiver) noData(c *uring.CQE) {
	users := r.pool.users()
	switch errno := c.Errno(); {
	case r.ended:
	case errno == 0 && r.limited && r.left == 0:
		r.keepUp()
		r.arm() // the limit was reached: the kernel reports that like the end of the stream
	case errno == 0:
		r.meetEnd()
	case errno == syscall.ENOMEM || errno == syscall.ENOBUFS:
		users.rearmedNoBuffer.Add(1)
		r.awaitBuffer()
	case errno == syscall.EFAULT && r.pool.Mode() == ZeroCopy:
		r.shortage.refused = true
		r.shortage.ends++ // no returned buffer would help
		r.awaitBuffer()
	case errno == syscall.ENOSPC:
		r.rearm(&users.rearmedQueueFull) // the completion queue is being emptied
	case errno == syscall.EINTR || errno == syscall.EAGAIN || (errno == syscall.ECANCELED && (r.nudged || r.moving != nil)):
		r.nudged = false
		r.rearm(&users.rearmedOther)
	default:
		r.end(receiveError(errno))
	}
}

// meetEnd handles a completion of 0 bytes, which is the end of the stream unless the socket
// has more. RECV_ZC stops in front of an urgent byte (MSG_OOB), and there returns 0 if the
// peer has ended the stream, as if nothing followed; recv(2) continues behind that byte.
func (r *Receiver) meetEnd() {
	p, ok := r.pool.(*Pool)
	if !ok || !sys.Readable(r.socket.fd) {
		r.end(r.sending.endOfStream())
		return
	}
	if !r.paused && r.moving == nil { // otherwise the next receive comes here again
		p.rescue(r)
	}
}

// rearm arms again a receive that the kernel ended, and counts it, unless the receiver is
// paused or moves.
func (r *Receiver) rearm(counter *atomic.Uint64) {
	if r.paused || r.moving != nil {
		return
	}
	counter.Add(1)
	r.arm()
}

// nudge cancels the receive so that it is armed again.
func (r *Receiver) nudge() {
	if r.armed && !r.ended && !r.nudged {
		r.nudged = true
		r.loop.cancelReceive(r.request)
	}
}

// pause cancels the receive, which resume arms again: the share is used up, or the consumer
// is behind.
func (r *Receiver) pause() {
	r.paused = true
	r.isPaused.Store(true)
	r.pool.users().paused.Add(1)
	r.pool.users().forget(r)
	r.nudge()
}

// resume ends a pause.
func (r *Receiver) resume() {
	if !r.paused {
		return // it was resumed for another reason
	}
	r.paused = false
	r.isPaused.Store(false)
	if r.pausedAhead {
		r.pausedAhead = false
		r.goFurtherAhead()
	}
	if !r.armed {
		r.arm()
	}
}

// cancel asks the kernel to end a request in flight.
func (r *Receiver) cancel(userData uint64) { r.loop.cancel(userData) }

// cancel asks the kernel to end a request in flight. It is the loop's, because a receiver
// may have moved when it is tried again.
func (l *Loop) cancel(userData uint64) { l.cancelThen(userData, func(*uring.CQE) {}) }

// cancelReceive is cancel for a receive, which a cancellation can miss: while the kernel lets
// others go first, after it has read 32 times in a row, it does not find it
// (MULTISHOT_MAX_RETRY in io_uring/net.c). Then it is tried again.
func (l *Loop) cancelReceive(userData uint64) {
	l.cancelThen(userData, func(c *uring.CQE) {
		missed := c.Errno() == syscall.ENOENT || c.Errno() == syscall.EALREADY
		if missed && l.ops.find(userData) != nil {
			l.cancelReceive(userData)
		}
	})
}

func (l *Loop) cancelThen(userData uint64, done completerFunc) {
	s, err := l.newRequest(done)
	if errors.Is(err, ErrQueueFull) {
		l.retry(func() { l.cancelThen(userData, done) })
		return
	}
	if err != nil {
		l.report("cancel request", err) // closing the loop cancels it
		return
	}
	s.PrepCancel(userData, 0)
}

// touch makes the loop hand over the receiver's Buffers and error at the end of the turn.
func (r *Receiver) touch() {
	if !r.unpublished {
		r.unpublished = true
		r.loop.published = append(r.loop.published, r)
	}
}

// publish hands over this turn's buffers, and the error after the last one.
func (r *Receiver) publish() {
	r.unpublished = false
	if r.hungUp {
		r.nudge() // it may have read the last data without seeing what came with it
	}
	batch := r.batch
	r.batch = nil
	r.handedOver = r.handedOver || len(batch) > 0
	if r.handler != nil {
		r.handle(batch)
		r.reuse(batch)
		return
	}
	r.mu.Lock()
	unwanted := r.unwanted
	waiting := 0
	if !unwanted {
		waiting = r.incoming.add(batch)
	}
	tooFar := waiting >= r.pool.users().readAheadOf(r.mayBeAhead, r.pool.size(), uint64(r.pool.BufferSize())) && !r.ended && !r.paused
	if tooFar {
		r.tooFarAhead, r.resumeLen = true, waiting/2
	}
	if r.ended && r.err == nil {
		r.err = r.endErr
	}
	r.mu.Unlock()
	r.signal()
	if unwanted {
		_ = ReleaseAll(batch)
	}
	if tooFar {
		// The consumer that takes half of it, perhaps already now, makes the loop resume r
		// in a later turn.
		r.pausedAhead = true
		r.pause()
	}
	r.reuse(batch)
}

// reuse takes a batch that was handed over for the next one, unless a handler has received
// on. A large one is for whichever receiver needs it next.
func (r *Receiver) reuse(batch []Buffer) {
	clear(batch)
	switch {
	case cap(batch) > keptBuffers:
		r.pool.users().keepBatch(batch[:0])
	case r.batch == nil:
		r.batch = batch[:0]
	}
}

// handle calls the handler.
func (r *Receiver) handle(batch []Buffer) {
	if r.readingStopped {
		_ = ReleaseAll(batch) // cannot fail: nobody has seen them
		handler := r.handler
		r.handler = nil
		handler(nil, ErrClosed)
		return
	}
	if len(batch) > 0 {
		r.handler(batch, nil)
	}
	if r.paused {
		r.pool.accounts().resumeEarly(r.share)
	}
	if r.ended {
		handler := r.handler
		r.handler = nil // it gets the error once
		if handler != nil {
			handler(nil, r.endErr)
		}
		r.fail(r.endErr)
	}
}

// end sets the error after the last buffer, and cancels the requests for receiving.
func (r *Receiver) end(err error) {
	if r.ended {
		return
	}
	r.ended, r.endErr = true, err
	r.pool.users().forget(r)
	r.touch()
	r.cancelReceiving()
	r.finishIfCompleted()
}

// cancelReceiving cancels the receive and the poll for a hang-up.
func (r *Receiver) cancelReceiving() {
	if r.armed {
		r.loop.cancelReceive(r.request)
	}
	if r.watching {
		r.cancel(r.watch)
	}
}

// finishIfCompleted continues once no completion of the receive can come any more: at the
// end of the stream the receiver leaves the pool, and in a move it is handed to the other
// pool.
func (r *Receiver) finishIfCompleted() {
	switch {
	case r.armed || r.watching:
	case r.ended:
		r.finish()
	case r.moving != nil && r.sending.allCompleted():
		r.scheduleHandOff()
	}
}

// finish makes the receiver leave its pool for good.
func (r *Receiver) finish() {
	if r.finished {
		return
	}
	r.finished = true
	r.detach()
	if r.moving != nil {
		r.moving.done <- r.endErr
		r.moving = nil
		r.sending.wake()
	}
	r.closeIfIdle()
}

// detach ends the receiver's use of the pool.
func (r *Receiver) detach() {
	if !r.attached {
		return
	}
	r.attached = false
	r.pool.users().remove(r)
	r.pool.accounts().endShare(r.share)
	// A receive that could not be cancelled may still write into the memory, which then
	// stays mapped.
	if !r.armed {
		r.pool.accounts().dropUser()
	}
}

// closeIfIdle closes the socket, if Close was called, once no request is in flight on it.
func (r *Receiver) closeIfIdle() {
	if r.closeWanted && r.finished && r.sending.idle() {
		r.closeSocket()
	}
}

// The methods of consumer.

func (r *Receiver) sawSupply() supply { return r.supplySeen }
func (r *Receiver) allowance() *share { return r.share }
func (r *Receiver) need() *shortage   { return &r.shortage }
func (r *Receiver) slumber() *slumber { return &r.sleep }
func (r *Receiver) oversleeps() bool  { return r.armed && sys.HasQueued(r.socket.fd) }

func (r *Receiver) place() *int { return &r.index }

func (r *Receiver) endOfStream() error { return r.sending.endOfStream() }

func (r *Receiver) readNow(b []byte) (int, syscall.Errno) { return sys.ReceiveNow(r.socket.fd, b) }

func (r *Receiver) take(buffers []Buffer) {
	r.deliver(append(r.batch, buffers...), len(r.batch))
}

// awaitBuffer makes the receiver, whose receive has ended for want of a buffer, wait for
// one.
func (r *Receiver) awaitBuffer() {
	if r.paused || r.moving != nil {
		return
	}
	r.shortage.ends++
	r.shortage.since = time.Now()
	r.pool.users().addWaiting(r)
}
