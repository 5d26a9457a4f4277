package zcrx

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// plainSocket is a connection's socket in Socket mode: read and written through
// Go's own poller, on any system.
type plainSocket struct {
	*net.TCPConn
	raw     syscall.RawConn
	pool    *plainPool
	share   *share        // of the pool's leases; taken by the one reader
	resumed chan struct{} // holds one wake-up: the share has room again
	closed  chan struct{}

	// A context that ends moves the socket's own read deadline, for a while, and a
	// Handler has none.
	mu           sync.Mutex
	readDeadline time.Time // guarded by mu: what it shall be else
	keepDeadline bool      // guarded by mu: it is not to be touched
}

func newPlainSocket(pool *plainPool, conn *net.TCPConn) (*plainSocket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &plainSocket{TCPConn: conn, raw: raw, pool: pool, resumed: make(chan struct{}, 1), closed: make(chan struct{})}
	s.share = &share{limit: pool.maxLeases, receiver: s}
	return s, nil
}

func (s *plainSocket) onLoop() bool { return false }

func (s *plainSocket) mode() Mode     { return Socket }
func (s *plainSocket) maxLeases() int { return s.pool.MaxLeases() }

// resume is called with the ledger's lock held.
func (s *plainSocket) resume() {
	select {
	case s.resumed <- struct{}{}:
	default: // one wake-up is there already
	}
}

// recv reads into one buffer: a second could only wait.
func (s *plainSocket) recv(ctx context.Context, dst []Buffer, expired <-chan struct{}) (int, error) {
	if err := s.awaitShare(ctx, expired); err != nil {
		return 0, err
	}
	var b plainBuffer
	for {
		n, err := s.readUntil(ctx, &b)
		if n > 0 { // an error that came along comes again
			dst[0] = s.pool.leaseTo(s.share, b, n)
			return 1, nil
		}
		s.pool.giveBack(&b)
		if err != nil {
			return 0, err
		}
		// The pool had no buffer.
		if err := s.pool.borrow(ctx, &b, expired, s.closed); err != nil {
			return 0, err
		}
	}
}

// awaitShare waits while the connection has as many leases out as it may.
func (s *plainSocket) awaitShare(ctx context.Context, expired <-chan struct{}) error {
	for counted := false; s.pool.usedUp(s.share); counted = true {
		if !counted {
			s.pool.paused.Add(1)
		}
		s.pool.hasten(s.share)
		select {
		case <-s.resumed:
		case <-ctx.Done():
			return ctx.Err()
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-s.closed:
			return ErrClosed
		}
	}
	return nil
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// readUntil is readInto that ends with ctx.
func (s *plainSocket) readUntil(ctx context.Context, b *plainBuffer) (int, error) {
	if ctx.Done() == nil {
		return s.readInto(b)
	}
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		s.overrideReadDeadline(longAgo)
		close(interrupted)
	})
	n, err := s.readInto(b)
	if stop() {
		return n, err
	}
	<-interrupted
	s.restoreReadDeadline()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ctx.Err()
	}
	return n, err
}

func (s *plainSocket) setReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readDeadline = t
	if s.keepDeadline {
		return s.raw.Control(func(uintptr) {}) // which tells whether the socket is closed
	}
	return s.TCPConn.SetReadDeadline(t)
}

// overrideReadDeadline and restoreReadDeadline fail for a closed socket, whose reads
// end anyway.
func (s *plainSocket) overrideReadDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepDeadline = true
	_ = s.TCPConn.SetReadDeadline(t)
}

func (s *plainSocket) restoreReadDeadline() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepDeadline = false
	_ = s.TCPConn.SetReadDeadline(s.readDeadline)
}

func (s *plainSocket) setWriteDeadline(t time.Time) error { return s.SetWriteDeadline(t) }

// handle has a goroutine receive for fn.
func (s *plainSocket) handle(first []Buffer, fn func(buffers []Buffer, err error)) error {
	s.overrideReadDeadline(time.Time{})
	go func() {
		if len(first) > 0 {
			fn(first, nil)
		}
		var one [1]Buffer
		for {
			n, err := s.recv(context.Background(), one[:], nil)
			if err != nil {
				fn(nil, err)
				return
			}
			fn(one[:n], nil)
		}
	}()
	return nil
}

// send: the socket's own deadline is the one that expired tells of.
func (s *plainSocket) send(v [][]byte, _ <-chan struct{}) (int, error) {
	buffers := append(net.Buffers(nil), v...) // WriteTo uses them up
	n, err := buffers.WriteTo(s.TCPConn)
	return int(n), err
}

func (s *plainSocket) readFrom(r io.Reader) (n int64, handled bool, err error) {
	n, err = s.ReadFrom(r)
	return n, true, err
}

func (s *plainSocket) shutdown(how int) error {
	if how == syscall.SHUT_RD {
		return s.CloseRead()
	}
	return s.CloseWrite()
}

func (s *plainSocket) control(fn func(fd uintptr)) error {
	return s.raw.Control(fn)
}

func (s *plainSocket) close() error {
	close(s.closed)
	s.pool.endShare(s.share)
	return s.Close()
}
