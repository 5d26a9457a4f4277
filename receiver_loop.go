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
	pollOut = 0x4  // POLLOUT
	pollHup = 0x10 // POLLHUP
)

// loopSide is the part of a Receiver that belongs to its loop's thread: the
// requests that it has in the kernel, and what they completed in this turn.
type loopSide struct {
	pool BufferPool
	loop *Loop

	attached bool   // it is one of the pool's users
	share    *share // of the pool's leases
	paused   bool   // by pause, until resume
	readAhead

	request    uint64 // user data of the receive in flight
	armed      bool   // it is in flight
	nudged     bool   // it was cancelled only to be armed again
	limited    bool   // it ends after left more bytes
	left       uint64
	supplySeen supply // of buffers, when it was armed
	shortage   shortage

	sleep slumber // what the pool's sleepWatch notes

	watch    uint64 // user data of the poll for a hang-up
	watching bool   // it is in flight
	hungUp   bool   // the connection is closed; data may be left

	sending sending

	ended       bool  // endErr is decided, no further data is taken
	endErr      error // what follows the last buffer
	finished    bool  // the pool was given up
	closeWanted bool  // the socket is closed once nothing is in flight on it
	moving      *move // it leaves for another pool once nothing is in flight

	batch       []Buffer // of this turn, not yet handed over
	unpublished bool     // batch or endErr wait for publish
	handler     func(buffers []Buffer, err error)
}

// attach makes r one of the pool's receivers.
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
		// (7.3.4; tcp_urg in net/ipv4/tcp_input.c copies from it and takes a failure for
		// a bug), and any peer can send one.
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

// arm puts the receive into the kernel.
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
	r.left = r.pool.prepRecv(s, r.socket.fd, max(1, min(r.share.room(), uint64(r.mayBeAhead))))
	r.limited = r.left > 0
	r.request, r.armed, r.nudged = s.UserData, true, false
	if r.hungUp {
		// It reads what is there as it is submitted; if it then slept, the
		// cancellation ends it, and it is armed again until it meets the end.
		r.nudge()
	}
}

// complete takes a completion of the receive.
func (r *Receiver) complete(c *uring.CQE) {
	if !c.More() {
		r.armed = false
	}
	if c.Res <= 0 {
		r.pool.discard(c)
		r.noData(c)
		r.endIfQuiet()
		return
	}
	had := len(r.batch)
	batch, err := r.pool.take(c, r.batch)
	r.left -= min(r.left, uint64(c.Res))
	switch {
	case err != nil:
		r.end(err)
	case r.ended:
		_ = ReleaseAll(batch[had:]) // nobody reads them; the leases are new
	default:
		if r.shortage.ends > 0 {
			r.shortage = shortage{}
		}
		r.deliver(batch, had)
	}
	if !r.armed {
		r.receiveOn()
		r.endIfQuiet()
	}
}

// watchForReset polls for the connection's hang-up. A receive that takes the last
// data goes to sleep past a reset that came along with it: it looks at the number
// of bytes left, not at the socket's error (seen on Linux 6.18 and 7.3). Once the
// connection hung up, a receive is therefore never left asleep: see arm.
func (r *Receiver) watchForReset() {
	if r.ended || r.hungUp || r.moving != nil {
		return
	}
	s, err := r.loop.newRequest(completerFunc(func(c *uring.CQE) {
		r.watching = false
		if c.Res > 0 && c.Res&pollHup != 0 {
			r.hungUp = true
			r.nudge()
		}
		r.endIfQuiet()
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

// receiveOn arms the receive that the kernel ended behind data.
func (r *Receiver) receiveOn() {
	if r.ended {
		return
	}
	if r.limited && r.left == 0 {
		r.keepUp() // a bundle tells the limit along with its last data
	}
	r.rearm(&r.pool.users().rearmedOther)
}

// deliver takes a batch that has grown from had Buffers on, for the turn to hand over.
func (r *Receiver) deliver(batch []Buffer, had int) {
	for i := had; i < len(batch); i++ {
		batch[i].lease.share = r.share
	}
	r.share.taken += uint64(len(batch) - had)
	r.batch = batch
	r.touch()
	users := r.pool.users()
	if users.sleeps.on {
		users.sleeps.note(r, r.loop)
	}
	if !r.paused && r.share.usedUp() && r.pool.accounts().pauseIfExhausted(r.share) {
		r.pause()
	}
}

func (r *Receiver) noData(c *uring.CQE) {
	users := r.pool.users()
	switch errno := c.Errno(); {
	case r.ended:
	case errno == 0 && r.limited && r.left == 0:
		r.keepUp()
		r.arm() // the limit was reached: the kernel tells it like the end
	case errno == 0:
		r.meetEnd()
	case errno == syscall.ENOMEM || errno == syscall.ENOBUFS:
		users.rearmedNoBuffer.Add(1)
		r.awaitBuffer()
	case errno == syscall.EFAULT && r.pool.Mode() == ZeroCopy:
		r.shortage.refused = true
		r.shortage.ends++ // nothing that comes back would help
		r.awaitBuffer()
	case errno == syscall.ENOSPC:
		r.rearm(&users.rearmedQueueFull) // the completion queue is being emptied right now
	case errno == syscall.EINTR || errno == syscall.EAGAIN || (errno == syscall.ECANCELED && (r.nudged || r.moving != nil)):
		r.nudged = false
		r.rearm(&users.rearmedOther)
	default:
		r.end(receiveError(errno))
	}
}

// meetEnd takes a 0 of the kernel for the end of the stream if there is nothing more.
// RECV_ZC stops in front of an urgent byte (MSG_OOB), and returns 0 there if the peer has
// ended the stream, as if nothing followed; recv(2) goes on behind it.
func (r *Receiver) meetEnd() {
	p, ok := r.pool.(*Pool)
	if !ok || !sys.Readable(r.socket.fd) {
		r.end(r.sending.endOfStream())
		return
	}
	if !r.paused && r.moving == nil { // else the receive that follows meets it again
		p.rescue(r)
	}
}

// rearm arms the receive that the kernel ended, and counts that, unless it is to
// stay ended.
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
		r.cancel(r.request)
	}
}

// pause cancels the receive, which resume arms again: the share is used up, or nobody
// takes what came.
func (r *Receiver) pause() {
	r.paused = true
	r.isPaused.Store(true)
	r.pool.users().paused.Add(1)
	r.pool.users().forget(r)
	r.nudge()
}

func (r *Receiver) resume() {
	if !r.paused {
		return // it has gone on for another reason
	}
	r.paused = false
	r.isPaused.Store(false)
	if r.behind {
		r.behind = false
		r.goFurtherAhead()
	}
	if !r.armed {
		r.arm()
	}
}

// cancel asks the kernel to end a request in flight.
func (r *Receiver) cancel(userData uint64) { r.loop.cancel(userData) }

// cancel is the loop's, not the receiver's, who may have moved when it is tried again.
func (l *Loop) cancel(userData uint64) {
	s, err := l.newRequest(completerFunc(func(*uring.CQE) {}))
	if errors.Is(err, ErrQueueFull) {
		l.retry(func() { l.cancel(userData) })
		return
	}
	if err != nil {
		l.report("cancel request", err) // the end of the loop will
		return
	}
	s.PrepCancel(userData, 0)
}

// touch has the turn hand over what is new.
func (r *Receiver) touch() {
	if !r.unpublished {
		r.unpublished = true
		r.loop.published = append(r.loop.published, r)
	}
}

// publish hands over this turn's buffers, and the end.
func (r *Receiver) publish() {
	r.unpublished = false
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
	tooFar := waiting >= r.mayBeAhead && !r.ended && !r.paused
	if tooFar {
		r.ahead, r.enough = true, waiting/2
	}
	if r.ended && r.err == nil {
		r.err = r.endErr
	}
	r.mu.Unlock()
	wakeUp(r.notify)
	if unwanted {
		_ = ReleaseAll(batch)
	}
	if tooFar {
		// Who takes half of it, perhaps right now, has the loop resume r in a turn to come.
		r.behind = true
		r.pause()
	}
	r.reuse(batch)
}

// reuse takes a batch that was handed over for the next one, unless a handler has received
// on, or it is large.
func (r *Receiver) reuse(batch []Buffer) {
	clear(batch)
	if r.batch == nil && cap(batch) <= keptBuffers {
		r.batch = batch[:0]
	}
}

// handle has the handler run.
func (r *Receiver) handle(batch []Buffer) {
	if len(batch) > 0 {
		r.handler(batch, nil)
	}
	if r.paused {
		r.pool.accounts().resumeEarly(r.share)
	}
	if r.ended {
		handler := r.handler
		r.handler = nil // the end is told once
		if handler != nil {
			handler(nil, r.endErr)
		}
		r.fail(r.endErr)
	}
}

// end decides what follows the last buffer, and cancels what is in flight for
// receiving.
func (r *Receiver) end(err error) {
	if r.ended {
		return
	}
	r.ended, r.endErr = true, err
	r.pool.users().forget(r)
	r.touch()
	r.cancelReceiving()
	r.endIfQuiet()
}

func (r *Receiver) cancelReceiving() {
	if r.armed {
		r.cancel(r.request)
	}
	if r.watching {
		r.cancel(r.watch)
	}
}

// endIfQuiet goes on once no completion of the receive will come: the pool is given
// up at the end, or for another one.
func (r *Receiver) endIfQuiet() {
	switch {
	case r.armed || r.watching:
	case r.ended:
		r.finish()
	case r.moving != nil && r.sending.quiet():
		r.scheduleHandOff()
	}
}

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

// detach ends the use of the pool.
func (r *Receiver) detach() {
	if !r.attached {
		return
	}
	r.attached = false
	r.pool.users().remove(r)
	r.pool.accounts().endShare(r.share)
	// A receive that could not be cancelled may still write into the memory:
	// that stays mapped then.
	if !r.armed {
		r.pool.accounts().dropUser()
	}
}

// closeIfIdle closes the socket, if that is wanted, once nothing is in flight on
// it.
func (r *Receiver) closeIfIdle() {
	if r.closeWanted && r.finished && r.sending.idle() {
		r.closeSocket()
	}
}

// What the pool sees of a receiver: see consumer.

func (r *Receiver) sawSupply() supply { return r.supplySeen }
func (r *Receiver) allowance() *share { return r.share }
func (r *Receiver) need() *shortage   { return &r.shortage }
func (r *Receiver) slumber() *slumber { return &r.sleep }
func (r *Receiver) oversleeps() bool  { return r.armed && sys.HasQueued(r.socket.fd) }

func (r *Receiver) endOfStream() error { return r.sending.endOfStream() }

func (r *Receiver) readNow(b []byte) (int, syscall.Errno) { return sys.ReceiveNow(r.socket.fd, b) }

func (r *Receiver) take(buffers []Buffer) {
	r.deliver(append(r.batch, buffers...), len(r.batch))
}

// awaitBuffer is called when a receive has ended for want of a buffer.
func (r *Receiver) awaitBuffer() {
	if r.paused || r.moving != nil {
		return
	}
	r.shortage.ends++
	r.shortage.since = time.Now()
	r.pool.users().await(r)
}
