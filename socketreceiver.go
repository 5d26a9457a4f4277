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

// SocketReceiver is a Receiver's counterpart in Socket mode: it reads a TCP
// connection through Go's poller, on any system, when its consumer asks, into Buffers
// of a SocketPool. It has at most PoolConfig.MaxLeases of them out; then it waits
// until one of them is back.
//
// All methods are safe from any goroutine, but only one may be in Recv or RecvBatch at
// a time.
type SocketReceiver struct {
	conn    *net.TCPConn
	raw     syscall.RawConn
	pool    *SocketPool
	share   *share        // of the pool's leases; taken by the one reader
	resumed chan struct{} // holds one wake-up: the share has room again
	broken  error         // what ended the connection; of the one reader
	closing sync.Once
	closed  chan struct{} // closed by Close

	// A context that ends moves the socket's own read deadline, for a while, and a
	// handler has none.
	mu                 sync.Mutex
	deadline           time.Time     // guarded by mu: what SetReadDeadline said
	deadlineOverridden bool          // guarded by mu: the socket has another one
	deadlineMoved      chan struct{} // holds one wake-up
}

// NewSocketReceiver takes over conn for receiving: the caller may write to it, and set
// its options but for the read deadline, which is the SocketReceiver's. Close closes
// it.
func NewSocketReceiver(pool *SocketPool, conn *net.TCPConn) (*SocketReceiver, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &SocketReceiver{
		conn: conn, raw: raw, pool: pool,
		resumed: make(chan struct{}, 1), deadlineMoved: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	r.share = &share{limit: pool.maxLeases, receiver: r}
	return r, nil
}

// resume is called with the ledger's lock held.
func (r *SocketReceiver) resume() { wakeUp(r.resumed) }

// Pool returns the pool that the receiver takes its buffers from.
func (r *SocketReceiver) Pool() *SocketPool { return r.pool }

// Recv returns the next buffer, which the caller must release, waiting for it as long
// as ctx and the read deadline allow. After the last one it returns io.EOF when the
// peer ended the stream, an error that matches net.ErrClosed after Close, or what went
// wrong. An ended ctx loses nothing.
func (r *SocketReceiver) Recv(ctx context.Context) (Buffer, error) {
	var one [1]Buffer
	_, err := r.RecvBatch(ctx, one[:])
	return one[0], err
}

// RecvBatch is Recv into dst. It fills one place of it: for a second buffer it could
// only wait.
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
	b := socketBuffer{pool: r.pool}
	for {
		n, err := r.readUntil(ctx, &b)
		if n > 0 { // an error that came along comes again
			dst[0] = r.pool.leaseTo(r.share, b, n)
			return 1, nil
		}
		r.pool.returnUnused(&b)
		if err != nil {
			r.noteError(err)
			return 0, err
		}
		// The pool had no buffer.
		if err := r.pool.borrow(&b, func(room <-chan struct{}) error { return r.await(ctx, room) }); err != nil {
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

// readInto waits for data without a buffer: a connection that is idle holds none. If
// there is data, but the pool has no buffer, it returns neither bytes nor an error.
func (r *SocketReceiver) readInto(b *socketBuffer) (n int, err error) {
	return sys.ReadConn(r.conn, r.raw, b)
}

// awaitShare waits while the connection has as many leases out as it may.
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

// await waits for a wake-up as long as ctx and the read deadline allow. That the
// deadline was moved is a wake-up too: the caller looks, and waits again.
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

// readUntil is readInto that ends with ctx.
func (r *SocketReceiver) readUntil(ctx context.Context, b *socketBuffer) (int, error) {
	if ctx.Done() == nil {
		return r.readInto(b)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		r.overrideDeadline(longAgo)
		close(interrupted)
	})
	n, err := r.readInto(b)
	if stop() {
		return n, err
	}
	<-interrupted
	r.restoreDeadline()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ctx.Err()
	}
	return n, err
}

// SetReadDeadline sets the moment from which on nothing is received:
// os.ErrDeadlineExceeded. The zero time means none. It concerns calls that wait
// already, too, and does not matter once there is a handler.
func (r *SocketReceiver) SetReadDeadline(t time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadline = t
	wakeUp(r.deadlineMoved)
	if r.deadlineOverridden {
		return r.raw.Control(func(uintptr) {}) // which tells whether the socket is closed
	}
	return r.conn.SetReadDeadline(t)
}

// overrideDeadline and restoreDeadline fail for a closed socket, whose reads end
// anyway.
func (r *SocketReceiver) overrideDeadline(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadlineOverridden = true
	_ = r.conn.SetReadDeadline(t)
}

func (r *SocketReceiver) restoreDeadline() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deadlineOverridden = false
	_ = r.conn.SetReadDeadline(r.deadline)
}

// Handle has fn take what the connection receives from now on, on a goroutine of its
// own: first, which may be empty, then every buffer, which fn must release some time;
// then, once and last, the error that follows them. The slice is valid during the call
// only. From then on nobody may be in Recv or RecvBatch, and the read deadline does not
// matter.
func (r *SocketReceiver) Handle(first []Buffer, fn func(buffers []Buffer, err error)) {
	r.overrideDeadline(time.Time{})
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

// Close ends the connection. Whoever receives gets an error that matches net.ErrClosed.
// Buffers that are out stay valid. A second Close returns net.ErrClosed.
func (r *SocketReceiver) Close() error {
	r.closing.Do(func() {
		close(r.closed)
		r.pool.endShare(r.share)
	})
	return r.conn.Close()
}
