package zcrx

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// SocketReceiver is the counterpart of a Receiver in Socket mode: when its consumer asks,
// it reads a TCP connection through Go's poller into Buffers of a SocketPool. It works on
// any system. It has at most PoolConfig.MaxLeases leases out; then it waits until one of
// them is released.
//
// All methods are safe from any goroutine, but only one goroutine at a time may be in Read,
// Recv or RecvBatch.
type SocketReceiver struct {
	conn    *net.TCPConn
	raw     syscall.RawConn
	reader  *sys.ConnReader // of the one reader
	buffer  socketBuffer    // what it reads into; of the one reader
	pool    *SocketPool
	share   *share        // its share of the pool's leases; taken is the reader's own
	resumed chan struct{} // holds one wake-up: the share has room again
	broken  error         // what ended the connection; of the one reader
	closing sync.Once
	closed  chan struct{} // closed by Close

	// A context that ends sets the socket's own read deadline for a while, and a handler
	// removes it.
	mu                 sync.Mutex
	deadline           time.Time       // guarded by mu: set by SetReadDeadline
	deadlineOverridden bool            // guarded by mu: the socket's own deadline is another one
	deadlineMoved      chan struct{}   // holds one wake-up
	waiting            bool            // guarded by mu: a read waits that a context may end
	watched            <-chan struct{} // guarded by mu: closed when the context that is watched ends; nil if none is
	unwatch            func() bool     // guarded by mu: ends the watch
}

// NewSocketReceiver makes a SocketReceiver that receives from conn and closes it. The
// caller may write to conn and set its options, except for the read deadline, which is set
// with SetReadDeadline.
func NewSocketReceiver(pool *SocketPool, conn *net.TCPConn) (*SocketReceiver, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &SocketReceiver{
		conn: conn, raw: raw, reader: sys.NewConnReader(conn, raw), buffer: socketBuffer{pool: pool}, pool: pool,
		resumed: make(chan struct{}, 1), deadlineMoved: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	r.share = &share{limit: pool.maxLeases, receiver: r}
	return r, nil
}

// resume wakes awaitShare. Called with the ledger's lock held.
func (r *SocketReceiver) resume() { wakeUp(r.resumed) }

// Pool returns the pool that the receiver takes its buffers from.
func (r *SocketReceiver) Pool() *SocketPool { return r.pool }

// Recv returns the next buffer, which the caller must release. It waits for one as long as
// ctx and the read deadline allow. After the last buffer it returns io.EOF if the peer
// ended the stream, an error that matches net.ErrClosed after Close, and other errors if
// receiving failed. If ctx ends nothing is lost, and Recv may be called again.
func (r *SocketReceiver) Recv(ctx context.Context) (Buffer, error) {
	var one [1]Buffer
	_, err := r.RecvBatch(ctx, one[:])
	return one[0], err
}

// RecvBatch is Recv into dst. It fills only dst[0] and returns 1, or 0 if dst is empty or
// with an error.
func (r *SocketReceiver) RecvBatch(ctx context.Context, dst []Buffer) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if r.broken != nil {
		return 0, r.broken
	}
	if err := r.awaitShare(ctx); err != nil {
		return 0, err
	}
	b := &r.buffer
	for {
		n, err := r.readUntil(ctx, b)
		if n > 0 { // an error that came with the bytes comes again
			dst[0] = r.pool.leaseTo(r.share, b, n)
			return 1, nil
		}
		r.pool.returnUnused(b)
		if err != nil {
			r.noteError(err)
			return 0, err
		}
		// The pool had no buffer.
		if err := r.pool.borrow(b, func(room <-chan struct{}) error { return r.await(ctx, room) }); err != nil {
			return 0, err
		}
	}
}

// noteError remembers an error of the connection, which the kernel reports once: it would
// return the end of the stream then.
func (r *SocketReceiver) noteError(err error) {
	if _, broken := errors.AsType[syscall.Errno](err); broken {
		r.broken = err
	}
}

// Read reads up to len(p) bytes, at least one, straight into p: no Buffer is used, and
// MaxLeases does not matter. It waits as long as the read deadline allows, and returns errors
// as Recv does. Only one goroutine at a time may be in Read, Recv or RecvBatch.
func (r *SocketReceiver) Read(p []byte) (int, error) {
	if r.broken != nil {
		return 0, r.broken
	}
	n, err := r.conn.Read(p)
	r.pool.passedBy.Add(uint64(n))
	if op, told := errors.AsType[*net.OpError](err); told {
		err = op.Err
	}
	if err != nil {
		r.noteError(err)
	}
	return n, err
}

// readInto waits for data without holding a buffer, so that an idle connection holds none.
// If there is data but the pool has no free buffer, it returns 0 and no error.
func (r *SocketReceiver) readInto(b *socketBuffer) (n int, err error) { return r.reader.Read(b) }

// awaitShare waits while the connection's share is used up.
func (r *SocketReceiver) awaitShare(ctx context.Context) error {
	for counted := false; r.pool.pauseIfExhausted(r.share); counted = true {
		if !counted {
			r.pool.paused.Add(1)
		}
		r.pool.resumeEarly(r.share)
		if err := r.await(ctx, r.resumed); err != nil {
			return err
		}
	}
	return nil
}

// await waits for a wake-up as long as ctx and the read deadline allow. It also returns nil
// when the deadline was changed: the caller checks again and calls await again.
func (r *SocketReceiver) await(ctx context.Context, wakeUp <-chan struct{}) error {
	r.mu.Lock()
	deadline, has := r.deadline, !r.deadline.IsZero() && !r.deadlineOverridden
	r.mu.Unlock()
	var expired <-chan time.Time
	if has {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-wakeUp:
		return nil
	case <-r.deadlineMoved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-r.closed:
		return ErrClosed
	}
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// readUntil is readInto that also ends when ctx ends.
func (r *SocketReceiver) readUntil(ctx context.Context, b *socketBuffer) (int, error) {
	done := ctx.Done()
	if done == nil {
		return r.readInto(b)
	}
	r.watch(ctx, done)
	if err := ctx.Err(); err != nil { // after watch: from here on interrupt sees that the read waits
		r.endWait()
		return 0, err
	}
	n, err := r.readInto(b)
	if r.endWait() && errors.Is(err, os.ErrDeadlineExceeded) {
		err = ctx.Err()
	}
	return n, err
}

// watch begins a wait that the end of ctx interrupts. The watch stays for later reads, until
// one comes with another context or the receiver is closed: a program that gives each read
// the same context allocates for the first one only.
func (r *SocketReceiver) watch(ctx context.Context, done <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = true
	if r.watched == done || r.isClosed() {
		return
	}
	r.endWatch()
	r.watched = done
	r.unwatch = context.AfterFunc(ctx, func() { r.interrupt(done) })
}

// endWatch is called with mu held.
func (r *SocketReceiver) endWatch() {
	if r.watched != nil {
		r.unwatch()
		r.watched, r.unwatch = nil, nil
	}
}

// interrupt ends the wait of a read whose context has ended.
func (r *SocketReceiver) interrupt(done <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting && r.watched == done {
		r.overrideDeadline(longAgo)
	}
}

// endWait ends what watch began, and returns whether the wait was interrupted.
func (r *SocketReceiver) endWait() (interrupted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = false
	if !r.deadlineOverridden {
		return false
	}
	r.deadlineOverridden = false
	_ = r.conn.SetReadDeadline(r.deadline)
	return true
}

// SetReadDeadline sets the time after which Recv and RecvBatch return
// os.ErrDeadlineExceeded, also for calls that already wait. The zero time means no
// deadline. A handler ignores it.
func (r *SocketReceiver) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	wakeUp(r.deadlineMoved)
	if r.deadlineOverridden {
		return r.raw.Control(func(uintptr) {}) // returns an error if the socket is closed
	}
	return r.conn.SetReadDeadline(t)
}

// overrideDeadline makes t the socket's own deadline, whatever SetReadDeadline says. It and
// endWait ignore the error for a closed socket, whose reads end anyway. Called with mu held.
func (r *SocketReceiver) overrideDeadline(t time.Time) {
	r.deadlineOverridden = true
	_ = r.conn.SetReadDeadline(t)
}

// Handle makes fn the consumer of everything that the connection receives from now on. fn
// runs on a goroutine of its own. It is called with first, which may be empty, then with
// every Buffer, and finally, once, with the error after them. fn must release the Buffers
// at some time; the slice is valid only during the call. After Handle no goroutine may be
// in Recv or RecvBatch, and the read deadline is ignored.
func (r *SocketReceiver) Handle(first []Buffer, fn func(buffers []Buffer, err error)) {
	r.mu.Lock()
	r.overrideDeadline(time.Time{})
	r.endWatch()
	r.mu.Unlock()
	go func() {
		if len(first) > 0 {
			fn(first, nil)
		}
		var one [1]Buffer
		for {
			n, err := r.RecvBatch(context.Background(), one[:])
			if err != nil {
				fn(nil, err)
				return
			}
			fn(one[:n], nil)
		}
	}()
}

// Close closes the connection. A goroutine that receives gets an error that matches
// net.ErrClosed. Buffers that are out stay valid. A second Close returns net.ErrClosed.
func (r *SocketReceiver) Close() error {
	r.closing.Do(func() {
		r.mu.Lock()
		close(r.closed)
		r.endWatch()
		r.mu.Unlock()
		r.pool.endShare(r.share)
	})
	return r.conn.Close()
}

func (r *SocketReceiver) isClosed() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}
