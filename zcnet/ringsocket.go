package zcnet

import (
	"context"
	"errors"
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
)

// ErrWouldBlock is what Write, WriteBuffers, Handle and Migrate return on a loop (in a
// Handler) instead of waiting. It matches syscall.EAGAIN.
var ErrWouldBlock error = &wouldBlock{}

type wouldBlock struct{}

func (*wouldBlock) Error() string { return "zcnet: the call would block: not allowed on a loop" }
func (*wouldBlock) Unwrap() error { return syscall.EAGAIN }

// ringSocket is the socket of a connection on a loop. The loop's ring receives for it. The
// writer sends with system calls that do not wait, and the ring reports when the socket
// has room again.
type ringSocket struct {
	*zcrx.Receiver
	transport *ringTransport

	copies       atomic.Bool // the kernel copied what was sent without a copy: do not try again
	evenIfCopied bool        // try again all the same: for tests
	limited      atomic.Bool // there is a write deadline, which a send without a copy could miss
}

func (s *ringSocket) mode() zcrx.Mode { return s.Pool().Mode() }

// recv waits until there is a buffer or an error, such as that of Close, ctx ends or limit
// passes.
func (s *ringSocket) recv(ctx context.Context, dst []zcrx.Buffer, limit *deadline) (int, error) {
	for {
		n, err := s.TryRecv(dst)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-s.Readable():
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-limit.done():
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (s *ringSocket) setReadDeadline(time.Time) error { return s.open() }

func (s *ringSocket) setWriteDeadline(t time.Time) error {
	s.limited.Store(!t.IsZero())
	return s.open()
}

// open returns nil if the socket is open, else ErrClosed.
func (s *ringSocket) open() error { return s.Control(func(uintptr) {}) }

func (s *ringSocket) onOwnLoop() bool { return s.Pool().Loop().OnLoop() }

func (s *ringSocket) close() error {
	if !s.onOwnLoop() && zcrx.OnAnyLoop() {
		go func() { _ = s.Receiver.Close() }() // no caller is left to return an error to
		return nil
	}
	return s.Receiver.Close()
}

func (s *ringSocket) control(fn func(fd uintptr)) error { return s.Control(fn) }
func (s *ringSocket) shutdown(how int) error            { return s.Shutdown(how) }

// readFrom does nothing: a ring has no better way than send.
func (s *ringSocket) readFrom(io.Reader) (n int64, handled bool, err error) { return 0, false, nil }

func (s *ringSocket) handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error)) error {
	if !s.onOwnLoop() && zcrx.OnAnyLoop() {
		return ErrWouldBlock
	}
	return s.Handle(first, fn)
}

// send writes v. It waits for room until limit passes.
func (s *ringSocket) send(v [][]byte, limit *deadline) (int, error) {
	w := newWindow(v)
	for w.next() {
		n, err := s.sendSome(w.slices, limit)
		w.wrote(n)
		if err != nil {
			return w.written, err
		}
	}
	if w.written == 0 {
		return 0, s.open() // v was empty, so no system call has found out
	}
	return w.written, nil
}

// sendSome writes at least one byte of v, waits for room, or returns an error.
func (s *ringSocket) sendSome(v [][]byte, limit *deadline) (n int, err error) {
	if s.wantsZeroCopy(len(v[0])) {
		var copied bool
		n, copied, err = s.SendZeroCopy(v[0], limit.done())
		if copied && !s.evenIfCopied {
			s.copies.Store(true)
		}
		if !errors.Is(err, zcrx.ErrNotZeroCopy) {
			return n, err
		}
	}
	n, err = s.TrySend(v)
	if errors.Is(err, syscall.EAGAIN) {
		if zcrx.OnAnyLoop() {
			return n, ErrWouldBlock
		}
		err = s.WaitWritable(limit.done())
	}
	return n, err
}

func (s *ringSocket) wantsZeroCopy(n int) bool {
	from := s.transport.sendZeroCopyFrom
	return from > 0 && n >= from && !s.copies.Load() && !s.limited.Load() && !zcrx.OnAnyLoop()
}
