package zcrx

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Receiver takes in the bytes of one TCP connection, in order, as leased
// Buffers. One receive in the kernel serves the connection for its life: it is
// armed again, and nothing is lost, when the kernel ends it because no buffer
// was free or the completion queue was full.
//
// A consumer that does not release uses up the pool, for itself and for the
// pool's other connections. A copying pool that is empty leaves the data in the
// socket, and TCP's window closes. A hardware queue without buffers drops packets,
// and goes on with the sender's next retransmission after buffers came back.
type Receiver struct {
	pool BufferPool
	loop *Loop
	done chan struct{} // closed when no completion will come any more

	fd int // closed by closeSocket, after done

	// Of the loop's thread:
	request     uint64 // user data of the receive in flight
	armed       bool   // it is in flight
	nudged      bool   // it was cancelled only to be armed again
	watch       uint64 // user data of the poll for a hang-up
	watching    bool   // it is in flight
	hungUp      bool   // the connection is closed; data may be left
	ended       bool   // endErr is decided, no further data is taken
	endErr      error
	finished    bool     // the pool was given up
	closeWanted bool     // Close was called on the loop: finish closes the socket
	supplySeen  supply   // of buffers, when the receive was armed
	batch       []Buffer // of this turn, not yet handed over
	unpublished bool     // batch or endErr wait for publish

	mu       sync.Mutex
	incoming []Buffer      // guarded by mu: handed over by the loop
	err      error         // guarded by mu: what follows the last buffer
	asleep   bool          // guarded by mu: the consumer waits for notify
	closed   bool          // guarded by mu: nobody will consume
	fdClosed bool          // guarded by mu
	notify   chan struct{} // holds one wake-up

	consumer sync.Mutex
	taken    []Buffer // guarded by consumer: swapped with incoming when used up
	next     int      // guarded by consumer: index of the first not given out
}

// NewReceiver takes over conn and starts to receive from it into the pool's
// buffers, on the pool's loop. conn is closed for its caller; the connection
// itself lives until the Receiver's Close, also after the peer has ended its
// side. For a zero-copy pool the connection
// must arrive on the pool's hardware queue.
//
// On an error conn is still the caller's.
func NewReceiver(pool BufferPool, conn *net.TCPConn) (*Receiver, error) {
	fd, err := detachConn(conn)
	if err != nil {
		return nil, err
	}
	// A receive on a non-blocking socket ends with EAGAIN instead of waiting.
	if err := setNonblock(fd, false); err != nil {
		return nil, errors.Join(err, closeFD(fd))
	}
	r := &Receiver{
		pool: pool, loop: pool.Loop(), fd: fd,
		done: make(chan struct{}), notify: make(chan struct{}, 1),
	}
	err = r.loop.do(func(*Ring) error {
		if pool.users().closing || !pool.accounts().addUser() {
			return ErrClosed
		}
		pool.users().add(r)
		r.arm()
		r.watchForReset()
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, setNonblock(fd, true), closeFD(fd))
	}
	_ = conn.Close() // the socket lives on in fd
	return r, nil
}

// Recv answers the next buffer, which the caller must release, waiting for it
// as long as ctx allows. After the last one it answers io.EOF when the peer ended
// the stream, ErrClosed after Close of receiver, pool or loop, or what went
// wrong. An ended ctx loses nothing: Recv may be called again. Only one goroutine
// may be in Recv or RecvBatch at a time.
func (r *Receiver) Recv(ctx context.Context) (Buffer, error) {
	r.consumer.Lock()
	defer r.consumer.Unlock()
	if err := r.await(ctx); err != nil {
		return Buffer{}, err
	}
	b := r.taken[r.next]
	r.taken[r.next] = Buffer{}
	r.next++
	return b, nil
}

// RecvBatch is Recv for as many buffers as are there, up to len(dst). It answers
// at least one, or an error.
func (r *Receiver) RecvBatch(ctx context.Context, dst []Buffer) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	r.consumer.Lock()
	defer r.consumer.Unlock()
	if err := r.await(ctx); err != nil {
		return 0, err
	}
	n := copy(dst, r.taken[r.next:])
	clear(r.taken[r.next : r.next+n])
	r.next += n
	return n, nil
}

// await returns once taken has a buffer at next. The consumer lock is held on
// entry and on return, not while it waits.
func (r *Receiver) await(ctx context.Context) error {
	for r.next == len(r.taken) {
		r.mu.Lock()
		r.taken, r.incoming = r.incoming, r.taken[:0]
		r.next = 0
		if len(r.taken) > 0 {
			r.mu.Unlock()
			return nil
		}
		if r.err != nil {
			err := r.err
			r.mu.Unlock()
			return err
		}
		r.asleep = true
		r.mu.Unlock()

		r.consumer.Unlock()
		select {
		case <-r.notify:
		case <-ctx.Done():
		}
		r.consumer.Lock()
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the connection: the receive is cancelled, what it still delivers
// and what nobody took is released, and the fd is closed. It waits for that,
// unless it is called on the loop. It is idempotent and safe from any goroutine;
// buffers that Recv answered stay valid.
func (r *Receiver) Close() error {
	err := r.loop.do(func(*Ring) error {
		r.closeWanted = true
		r.end(ErrClosed)
		if r.finished {
			r.closeSocket()
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	if !r.loop.onLoop() {
		<-r.done
		r.closeSocket()
	}
	r.mu.Lock()
	left := r.incoming
	r.incoming, r.closed, r.err = nil, true, ErrClosed
	r.wakeConsumer()
	r.mu.Unlock()
	_ = ReleaseAll(left) // they were never given out: no double release can be

	r.consumer.Lock()
	defer r.consumer.Unlock()
	_ = ReleaseAll(r.taken[r.next:])
	r.taken, r.next = nil, 0
	return nil
}

// closeSocket gives up the fd, once. Nothing is in flight on it: a request would
// keep the socket open.
func (r *Receiver) closeSocket() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fdClosed {
		r.fdClosed = true
		_ = closeFD(r.fd) // nothing to do about an error: the fd is gone in any case
	}
}

// wakeConsumer is called with mu held.
func (r *Receiver) wakeConsumer() {
	if !r.asleep {
		return
	}
	r.asleep = false
	select {
	case r.notify <- struct{}{}:
	default: // one wake-up is there already
	}
}

// What follows runs on the loop's thread.

// arm puts the receive into the kernel.
func (r *Receiver) arm() {
	if r.ended {
		return
	}
	r.supplySeen = r.pool.supplied()
	s, err := r.loop.newRequest(r)
	if errors.Is(err, ErrQueueFull) {
		r.loop.retry(r.arm)
		return
	}
	if err != nil {
		r.end(err)
		return
	}
	r.pool.prepRecv(s, r.fd)
	r.request, r.armed, r.nudged = s.UserData, true, false
	if r.hungUp {
		// It reads what is there as it is submitted; if it then slept, the
		// cancellation ends it, and it is armed again until it meets the end.
		r.nudge()
	}
}

// complete takes a completion of the receive.
func (r *Receiver) complete(c *CQE) {
	if !c.More() {
		r.armed = false
	}
	if c.Res > 0 {
		r.data(c)
	} else {
		r.pool.discard(c)
		r.noData(c)
	}
	r.finishIfIdle()
}

// watchForReset polls for the connection's hang-up. A receive that takes the last
// data goes to sleep past a reset that came along with it: it looks at the number
// of bytes left, not at the socket's error (seen on Linux 6.18 and 7.3). Once the
// connection hung up, a receive is therefore never left asleep: see arm.
func (r *Receiver) watchForReset() {
	if r.ended {
		return
	}
	s, err := r.loop.newRequest(completerFunc(func(c *CQE) {
		r.watching = false
		if c.Res > 0 && c.Res&pollHup != 0 {
			r.hungUp = true
			r.nudge()
		}
		r.finishIfIdle()
	}))
	if errors.Is(err, ErrQueueFull) {
		r.loop.retry(r.watchForReset)
		return
	}
	if err != nil {
		r.end(err)
		return
	}
	s.PrepPollAdd(r.fd, pollHup)
	r.watch, r.watching = s.UserData, true
}

func (r *Receiver) data(c *CQE) {
	had := len(r.batch)
	batch, err := r.pool.take(c, r.batch)
	if err != nil {
		r.end(err)
		return
	}
	if r.ended {
		_ = ReleaseAll(batch[had:]) // late data of a receiver that nobody reads; the leases are new
		return
	}
	r.batch = batch
	r.touch()
	if !r.armed {
		r.pool.users().rearmedOther.Add(1)
		r.arm()
	}
}

func (r *Receiver) noData(c *CQE) {
	switch errno := c.Errno(); {
	case r.ended:
	case errno == 0:
		r.end(io.EOF)
	case errno == syscall.ENOMEM || errno == syscall.ENOBUFS:
		r.pool.users().rearmedNoBuffer.Add(1)
		r.pool.users().await(r)
	case errno == syscall.ENOSPC:
		// The completion queue is being emptied right now.
		r.pool.users().rearmedQueueFull.Add(1)
		r.arm()
	case errno == syscall.EINTR || errno == syscall.EAGAIN || (errno == syscall.ECANCELED && r.nudged):
		r.nudged = false
		r.pool.users().rearmedOther.Add(1)
		r.arm()
	default:
		r.end(receiveError(errno))
	}
}

// nudge cancels the receive so that it is armed again.
func (r *Receiver) nudge() {
	if r.armed && !r.ended && !r.nudged {
		r.nudged = true
		r.cancel(r.request)
	}
}

// cancel asks the kernel to end a request in flight.
func (r *Receiver) cancel(userData uint64) {
	s, err := r.loop.newRequest(completerFunc(func(*CQE) {}))
	if errors.Is(err, ErrQueueFull) {
		r.loop.retry(func() { r.cancel(userData) })
		return
	}
	if err != nil {
		r.loop.report("cancel receive", err) // the end of the loop will
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
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.incoming = append(r.incoming, r.batch...)
	}
	if r.ended && r.err == nil {
		r.err = r.endErr
	}
	r.wakeConsumer()
	r.mu.Unlock()
	if closed {
		_ = ReleaseAll(r.batch)
	}
	clear(r.batch)
	r.batch = r.batch[:0]
}

// end decides what follows the last buffer, and cancels the receive if it is in
// flight.
func (r *Receiver) end(err error) {
	if r.ended {
		return
	}
	r.ended, r.endErr = true, err
	r.pool.users().forget(r)
	r.touch()
	if r.armed {
		r.cancel(r.request)
	}
	if r.watching {
		r.cancel(r.watch)
	}
	r.finishIfIdle()
}

// finishIfIdle gives up the pool once the end is decided and no completion will
// come.
func (r *Receiver) finishIfIdle() {
	if r.ended && !r.armed && !r.watching {
		r.finish()
	}
}

func (r *Receiver) finish() {
	if r.finished {
		return
	}
	r.finished = true
	r.pool.users().remove(r)
	// A receive that could not be cancelled may still write into the memory:
	// that stays mapped then.
	if !r.armed {
		r.pool.accounts().dropUser()
	}
	close(r.done)
	if r.closeWanted {
		r.closeSocket()
	}
}
