package zcrx

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Receiver receives the bytes of one TCP connection, in order, as leased Buffers. One
// receive in the kernel serves the connection all its life. When the kernel ends it,
// because no buffer was free or the completion queue was full, it is armed again and
// nothing is lost.
//
// A receiver has at most PoolConfig.MaxLeases leases out, including those that its consumer
// has not taken yet. Then its receive is paused until half of them are released: the data
// stays in the socket, and TCP's window closes. While its consumer takes nothing it is
// paused much earlier, and continues when half of what waits is taken.
//
// A copying pool without a free buffer also leaves the data in the socket. A hardware queue
// without a free buffer drops packets, and the stream continues with the sender's next
// retransmission after buffers were returned.
//
// All methods are safe from any goroutine, except that only one goroutine at a time may be
// in Recv, RecvBatch or TryRecv, and one in WaitWritable or SendZeroCopy.
type Receiver struct {
	socket socketFD
	home   atomic.Pointer[home] // stored on the loop that the receiver leaves
	closed chan struct{}        // closed with the socket
	// isPaused is set while the receive is paused. If the share is used up, it is set
	// before the Buffers are handed over that used it up.
	isPaused atomic.Bool

	loopSide // belongs to the loop's thread

	notify     chan struct{}          // holds one wake-up
	onReadable atomic.Pointer[func()] // set by OnReadable; nil if there is none

	mu sync.Mutex
	// Guarded by mu:
	takes       uint64      // times that the consumer has taken something
	incoming    bufferQueue // handed over by the loop, for the consumer to take
	err         error       // the error after the last buffer
	unwanted    bool        // the receiver was closed: nothing more is taken
	tooFarAhead bool        // the receive is paused until incoming has at most resumeLen Buffers
	resumeLen   int
}

// home is the place of a receiver, for goroutines other than its loop's.
type home struct {
	pool  BufferPool
	loop  *Loop
	share share // its share of the pool's leases
}

func newHome(pool BufferPool, r *Receiver) *home {
	return &home{pool: pool, loop: pool.Loop(), share: share{limit: pool.accounts().maxLeases, receiver: r}}
}

// NewReceiver takes over conn and starts to receive from it into the pool's buffers, on the
// pool's loop. conn is closed for its caller; the connection itself lives until the
// Receiver's Close, also after the peer has ended its side. For a zero-copy pool the
// connection must arrive on the pool's hardware queue.
//
// If NewReceiver returns an error, conn still belongs to the caller. Zero copy is for plain
// TCP only: with a *Pool, NewReceiver returns an *UnsupportedError for sockets of kernel
// TLS and of Multipath TCP.
func NewReceiver(pool BufferPool, conn *net.TCPConn) (*Receiver, error) {
	fd, err := sys.DetachConn(conn)
	if err != nil {
		return nil, err
	}
	if _, zeroCopy := pool.(*Pool); zeroCopy {
		if err := checkPlainTCP(fd); err != nil {
			return nil, errors.Join(err, sys.Close(fd))
		}
	}
	// A receive on a non-blocking socket ends with EAGAIN instead of waiting.
	if err := sys.SetNonblock(fd, false); err != nil {
		return nil, errors.Join(err, sys.Close(fd))
	}
	r := newReceiver(pool, fd)
	err = r.do(func() error { return r.attach(pool) })
	if err != nil {
		return nil, errors.Join(err, sys.SetNonblock(fd, true), sys.Close(fd))
	}
	_ = conn.Close() // fd keeps the socket open
	return r, nil
}

// NewReceiverFD is NewReceiver for an fd that package net does not know, for instance from
// accept4(2). fd must be a connected, blocking TCP socket (a receive on a non-blocking one
// ends instead of waiting), and belongs to the Receiver from now on. For a zero-copy pool
// the caller must make sure that it is plain TCP.
//
// NewReceiverFD does not wait for the pool's loop and returns no error: Recv returns what
// went wrong.
func NewReceiverFD(pool BufferPool, fd int) *Receiver {
	r := newReceiver(pool, fd)
	err := r.loop.Post(func() {
		if err := r.attach(r.pool); err != nil {
			r.end(err)
		}
	})
	if err != nil {
		r.fail(err)
	}
	return r
}

// checkPlainTCP returns an error for sockets with a protocol above TCP. The kernel refuses
// them with EPROTONOSUPPORT, but only when a receive is armed.
func checkPlainTCP(fd int) error {
	above := sys.UpperProtocol(fd)
	if above == "" {
		return nil
	}
	remedy := "use mode provided or socket"
	switch above {
	case "tls":
		above, remedy = "kernel TLS", remedy+", or do TLS in the program, as crypto/tls does"
	case "mptcp":
		above, remedy = "Multipath TCP", remedy+", or turn it off (net.ListenConfig and net.Dialer: SetMultipathTCP)"
	}
	return &UnsupportedError{Feature: "zero-copy receive from a socket of " + above, Layer: LayerKernel, Remedy: remedy}
}

// newReceiver makes a receiver that owns the blocking socket fd. It receives once attach
// has run.
func newReceiver(pool BufferPool, fd int) *Receiver {
	r := &Receiver{closed: make(chan struct{}), notify: make(chan struct{}, 1)}
	r.socket.fd = fd
	r.sending.writable = make(chan struct{}, 1)
	r.setHome(newHome(pool, r))
	return r
}

// setHome moves the receiver to h. From then on it belongs to the thread of h's loop.
func (r *Receiver) setHome(h *home) {
	r.pool, r.loop, r.share = h.pool, h.loop, &h.share
	r.home.Store(h)
}

// do runs fn on the receiver's loop, also if the receiver moves to another loop meanwhile.
func (r *Receiver) do(fn func() error) error {
	for {
		here := r.home.Load()
		if here.loop.place.IsCurrent() {
			return fn() // nobody else could move it
		}
		moved := false
		err := here.loop.do(func() error {
			if moved = r.home.Load() != here; moved {
				return nil
			}
			return fn()
		})
		if moved || (errors.Is(err, ErrClosed) && r.home.Load() != here) {
			continue
		}
		return err
	}
}

// Pool returns the pool that the receiver takes its buffers from. MoveTo changes it.
func (r *Receiver) Pool() BufferPool { return r.home.Load().pool }

// Recv returns the next buffer, which the caller must release. It waits for one as long as
// ctx allows. After the last buffer it returns io.EOF if the peer ended the stream,
// ErrClosed after Close of receiver, pool or loop, and other errors if receiving failed. If
// ctx ends nothing is lost, and Recv may be called again. Only one goroutine at a time may
// be in Recv, RecvBatch or TryRecv.
func (r *Receiver) Recv(ctx context.Context) (Buffer, error) {
	var one [1]Buffer
	_, err := r.RecvBatch(ctx, one[:])
	return one[0], err
}

// RecvBatch is Recv for several buffers: it fills dst with those that have come, and waits
// only for the first. It returns their number, which is at least 1 unless there is an error
// or dst is empty.
func (r *Receiver) RecvBatch(ctx context.Context, dst []Buffer) (int, error) {
	for {
		n, err := r.TryRecv(dst)
		if n > 0 || err != nil || len(dst) == 0 {
			return n, err
		}
		select {
		case <-r.notify:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// TryRecv is RecvBatch without waiting: it returns 0 and no error if no buffer has come.
// Then the receiver, if it is paused because its share is used up, continues with the first
// release that makes room, instead of waiting for half of its share.
func (r *Receiver) TryRecv(dst []Buffer) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	var err error
	r.mu.Lock()
	n := r.incoming.take(dst)
	if n > 0 {
		r.takes++
	}
	caughtUp := r.tooFarAhead && r.caughtUp()
	if n == 0 {
		err = r.err
	}
	r.mu.Unlock()
	switch here := r.home.Load(); {
	case caughtUp:
		here.pool.accounts().resumeSoon(&here.share)
	case n == 0 && err == nil && r.isPaused.Load():
		here.pool.accounts().resumeEarly(&here.share)
	}
	return n, err
}

// Readable returns a channel that receives a value when TryRecv, which returned nothing
// before, may return buffers or an error. It is for callers that wait for several things at
// a time:
//
//	n, err := r.TryRecv(dst)
//	for ; n == 0 && err == nil; n, err = r.TryRecv(dst) {
//		select {
//		case <-r.Readable():
//		case <-somethingElse:
//			return
//		}
//	}
//
// It always returns the same channel, which is never closed.
func (r *Receiver) Readable() <-chan struct{} { return r.notify }

// OnReadable makes the receiver call fn, in addition to what Readable does, whenever TryRecv
// may return buffers or an error that it did not return before. fn is called on the
// receiver's loop after the buffers of a turn were handed over, or, after Close and where the
// loop has ended, on another goroutine. It must not wait. It replaces an earlier function;
// nil removes it.
func (r *Receiver) OnReadable(fn func()) {
	if fn == nil {
		r.onReadable.Store(nil)
		return
	}
	r.onReadable.Store(&fn)
}

// signal wakes the consumer.
func (r *Receiver) signal() {
	wakeUp(r.notify)
	if fn := r.onReadable.Load(); fn != nil {
		(*fn)()
	}
}

// Control runs fn with the socket's fd, for socket options. The fd stays open while fn
// runs; fn must neither close it nor make it non-blocking. fn runs on the caller's
// goroutine. After Close, Control returns ErrClosed and does not run fn.
func (r *Receiver) Control(fn func(fd uintptr)) error {
	return r.socket.use(func(fd int) error { fn(uintptr(fd)); return nil })
}

// Shutdown ends a direction of the connection: how is syscall.SHUT_RD, SHUT_WR or
// SHUT_RDWR. The socket stays open. After Close it returns ErrClosed.
func (r *Receiver) Shutdown(how int) error {
	return r.socket.use(func(fd int) error { return sys.Shutdown(fd, how) })
}

// SetReadBuffer sets the size of the socket's receive buffer (SO_RCVBUF) in bytes, which
// the kernel doubles. On a zero-copy pool the Receiver by itself adapts that size to the
// pool and to its consumer; after SetReadBuffer it no longer does.
func (r *Receiver) SetReadBuffer(bytes int) error { return r.setReceiveBuffer(bytes) }

// Handle makes fn the consumer of everything that the receiver receives from now on. fn is
// called with first, with Buffers that were received and not taken, and then with each
// turn's Buffers; finally, once, with the error after them. fn must release the Buffers at
// some time; the slice is valid only during the call. first is for Buffers that the earlier
// consumer has taken and gives back; it may be empty.
//
// fn runs on the receiver's loop, one call at a time, and must not wait. Handle waits for
// that loop, unless it is called there; it must not be called on another loop. After Handle
// no goroutine may be in Recv, RecvBatch or TryRecv. After Close it returns ErrClosed.
func (r *Receiver) Handle(first []Buffer, fn func(buffers []Buffer, err error)) error {
	return r.do(func() error {
		if r.closeWanted {
			return ErrClosed
		}
		r.batch = slices.Concat(first, r.untaken(), r.batch)
		r.handler = fn
		r.touch()
		return nil
	})
}

// untaken removes and returns the Buffers that the consumer has not taken. It runs on the
// loop's thread.
func (r *Receiver) untaken() []Buffer {
	r.mu.Lock()
	left := r.incoming.takeAll()
	caughtUp := r.tooFarAhead && r.caughtUp()
	r.mu.Unlock()
	if caughtUp {
		// Through the share, because r may leave the loop before that, and then no longer
		// has this share.
		r.pool.accounts().resumeSoon(r.share)
	}
	return left
}

// StopReading ends reading for the consumer, while sending goes on: TryRecv and a handler get
// ErrClosed, Buffers that were not taken are released, and so is what is received until Close.
// It must be called on the receiver's loop.
func (r *Receiver) StopReading() {
	_ = ReleaseAll(r.untaken()) // cannot fail: no other goroutine has them
	r.mu.Lock()
	r.unwanted, r.err = true, ErrClosed
	r.mu.Unlock()
	r.signal()
	r.readingStopped = true
	r.touch() // a handler that runs just now gets the error later
}

// Close closes the connection: the receive is cancelled, Buffers that it still delivers or
// that were not taken are released, and the socket is closed. Close waits for that, unless
// it is called on the loop. It may be called repeatedly, from any goroutine. Buffers that
// Recv has returned stay valid.
func (r *Receiver) Close() error {
	err := r.do(func() error {
		r.closeWanted = true
		r.end(ErrClosed)
		r.endSending()
		r.closeIfIdle()
		return nil
	})
	if err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	if loop := r.home.Load().loop; !loop.OnLoop() {
		select {
		case <-r.closed:
		case <-loop.done: // nothing is in flight any more
			r.closeSocket()
			<-r.closed
		}
	}
	r.mu.Lock()
	left := r.incoming.takeAll()
	r.unwanted, r.err = true, ErrClosed
	r.mu.Unlock()
	r.signal()
	_ = ReleaseAll(left) // cannot fail: no other goroutine has them
	return nil
}

// closeSocket closes the fd. No request is in flight on it; one would keep the socket open.
func (r *Receiver) closeSocket() {
	r.socket.close(func() { close(r.closed) })
}

// fail makes err the error after the last buffer, unless there is one, and wakes the
// consumer.
func (r *Receiver) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	r.signal()
}
