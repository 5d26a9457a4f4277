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

// Receiver takes in the bytes of one TCP connection, in order, as leased
// Buffers. One receive in the kernel serves the connection for its life: it is
// armed again, and nothing is lost, when the kernel ends it because no buffer
// was free or the completion queue was full.
//
// A receiver has at most PoolConfig.MaxLeases leases out, those included that
// nobody has taken yet. Then its receive is paused until half of them are back:
// the data stays in the socket, and TCP's window closes. While its consumer takes
// nothing it is paused much earlier, and goes on once that has taken half.
//
// A copying pool that is empty leaves the data in the socket as well. A hardware
// queue without buffers drops packets, and goes on with the sender's next
// retransmission after buffers came back.
type Receiver struct {
	socket socketFD
	home   atomic.Pointer[home] // stored by the loop that it leaves
	closed chan struct{}        // closed with the socket
	// isPaused says that the share was used up, or nobody took what came. Of a share it
	// is set before the data is handed over that did that.
	isPaused atomic.Bool

	loopSide // of the loop's thread

	notify chan struct{} // holds one wake-up

	mu sync.Mutex
	// Guarded by mu:
	incoming bufferQueue // handed over by the loop, for the consumer to take
	err      error       // what follows the last buffer
	unwanted bool        // nobody will consume
	ahead    bool        // the receive is paused until no more than enough are left of incoming
	enough   int
}

// home is where a receiver is, for other goroutines than its loop's.
type home struct {
	pool  BufferPool
	loop  *Loop
	share *share // of the pool's leases
}

func newHome(pool BufferPool, r *Receiver) *home {
	return &home{pool: pool, loop: pool.Loop(), share: &share{limit: pool.accounts().maxLeases, receiver: r}}
}

// NewReceiver takes over conn and starts to receive from it into the pool's
// buffers, on the pool's loop. conn is closed for its caller; the connection
// itself lives until the Receiver's Close, also after the peer has ended its
// side. For a zero-copy pool the connection
// must arrive on the pool's hardware queue.
//
// On an error conn is still the caller's. The zero-copy interface is for plain TCP:
// a *Pool refuses sockets of kernel TLS and of Multipath TCP with an
// *UnsupportedError.
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
	_ = conn.Close() // the socket lives on in fd
	return r, nil
}

// NewReceiverFD is NewReceiver for a socket that package net does not know, such as
// accept4(2) returns: it does not wait for the pool's loop, and returns no error. What
// goes wrong Recv returns. fd is a connected, blocking TCP socket (a receive on a
// non-blocking one would end instead of waiting) and the Receiver's from now on. The
// caller sees to it that a socket for a zero-copy pool is plain TCP.
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

// checkPlainTCP refuses sockets with a protocol above TCP. The kernel would refuse to
// receive from them, with EPROTONOSUPPORT, only once there is a receive.
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

// newReceiver makes a receiver of a blocking socket, which it owns. It receives
// once it is attached.
func newReceiver(pool BufferPool, fd int) *Receiver {
	r := &Receiver{closed: make(chan struct{}), notify: make(chan struct{}, 1)}
	r.socket.fd = fd
	r.sending.writable = make(chan struct{}, 1)
	r.setHome(newHome(pool, r))
	return r
}

// setHome makes h the receiver's home. From then on it belongs to h's loop.
func (r *Receiver) setHome(h *home) {
	r.pool, r.loop, r.share = h.pool, h.loop, h.share
	r.home.Store(h)
}

// do runs fn on the loop that the receiver is on, wherever that moves meanwhile.
func (r *Receiver) do(fn func() error) error {
	for {
		here := r.home.Load()
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

// Pool returns the pool that the receiver takes its buffers from, which MoveTo
// changes.
func (r *Receiver) Pool() BufferPool { return r.home.Load().pool }

// Recv returns the next buffer, which the caller must release, waiting for it
// as long as ctx allows. After the last one it returns io.EOF when the peer ended
// the stream, ErrClosed after Close of receiver, pool or loop, or what went
// wrong. An ended ctx loses nothing: Recv may be called again. Only one goroutine
// may be in Recv, RecvBatch or TryRecv at a time.
func (r *Receiver) Recv(ctx context.Context) (Buffer, error) {
	var one [1]Buffer
	_, err := r.RecvBatch(ctx, one[:])
	return one[0], err
}

// RecvBatch is Recv for as many buffers as are there, up to len(dst). It returns
// at least one, or an error.
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

// TryRecv is RecvBatch that does not wait: it returns 0 and no error if nothing is
// there. The caller is then taken to wait for Readable: a receiver that is paused goes
// on with the first release that makes room, instead of with half of its share.
func (r *Receiver) TryRecv(dst []Buffer) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	var err error
	r.mu.Lock()
	n := r.incoming.take(dst)
	caughtUp := r.ahead && r.caughtUp()
	if n == 0 {
		err = r.err
	}
	r.mu.Unlock()
	switch here := r.home.Load(); {
	case caughtUp:
		here.pool.accounts().resumeSoon(here.share)
	case n == 0 && err == nil && r.isPaused.Load():
		here.pool.accounts().resumeEarly(here.share)
	}
	return n, err
}

// Readable returns a channel from which a value can be received once there may be
// something for TryRecv, which had nothing before: buffers, or an error. For those who
// wait for more than one thing at a time:
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
// It is always the same channel. It is never closed.
func (r *Receiver) Readable() <-chan struct{} { return r.notify }

// Control runs fn with the socket's fd, which stays open and valid meanwhile: for
// socket options. fn must neither close it nor make it non-blocking. Control returns
// ErrClosed, and does not run fn, after Close. Unlike most of a Receiver's work, fn runs
// on the caller's goroutine.
func (r *Receiver) Control(fn func(fd uintptr)) error {
	return r.socket.use(func(fd int) error { fn(uintptr(fd)); return nil })
}

// Shutdown ends a direction of the connection: how is syscall.SHUT_RD, SHUT_WR or
// SHUT_RDWR. The socket stays open.
func (r *Receiver) Shutdown(how int) error {
	return r.socket.use(func(fd int) error { return sys.Shutdown(fd, how) })
}

// SetReadBuffer sets the size of the socket's receive buffer (SO_RCVBUF) in bytes,
// which the kernel doubles. A Receiver on a zero-copy pool changes that size while it
// is read, up to what fits the pool; from SetReadBuffer on it does not.
func (r *Receiver) SetReadBuffer(bytes int) error { return r.setReceiveBuffer(bytes) }

// Handle has fn take what the receiver receives from now on: first, what nobody has
// taken yet, and every turn's buffers, which fn must release some time; then, once and
// last, the error that follows them. The slice is valid during the call only. first is
// what its consumer has taken and gives back; it may be empty.
//
// fn runs on the receiver's loop, one call at a time, and must not wait. Handle waits
// for that loop, unless it is called there; it must not be called on another one. From
// then on nobody may be in Recv, RecvBatch or TryRecv.
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

// untaken takes away what the consumer has not got yet. It is for the loop's thread.
func (r *Receiver) untaken() []Buffer {
	r.mu.Lock()
	left := r.incoming.takeAll()
	caughtUp := r.ahead && r.caughtUp()
	r.mu.Unlock()
	if caughtUp {
		// By way of the share, which r gives up if it leaves the loop before that.
		r.pool.accounts().resumeSoon(r.share)
	}
	return left
}

// Close ends the connection: the receive is cancelled, what it still delivers
// and what nobody took is released, and the fd is closed. It waits for that,
// unless it is called on the loop. It is idempotent and safe from any goroutine;
// buffers that Recv returned stay valid.
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
		}
	}
	r.mu.Lock()
	left := r.incoming.takeAll()
	r.unwanted, r.err = true, ErrClosed
	r.mu.Unlock()
	wakeUp(r.notify)
	_ = ReleaseAll(left) // they were never given out: no double release can be
	return nil
}

// closeSocket gives up the fd. Nothing is in flight on it: a request would keep
// the socket open.
func (r *Receiver) closeSocket() {
	if r.socket.close() {
		close(r.closed)
	}
}

// fail has the consumer end with err behind what is there.
func (r *Receiver) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
	}
	r.mu.Unlock()
	wakeUp(r.notify)
}
