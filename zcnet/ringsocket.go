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

// ErrWouldBlock is returned on a loop, which must not wait, instead of waiting: by
// Write when the socket takes no more. It matches syscall.EAGAIN.
var ErrWouldBlock error = &wouldBlock{}

type wouldBlock struct{}

func (*wouldBlock) Error() string { return "zcnet: this would wait, which a loop must not" }
func (*wouldBlock) Unwrap() error { return syscall.EAGAIN }

// ringSocket is a connection's socket on a loop: received through its ring, written
// by the writer's own system calls, which do not wait; the ring tells when there is
// room again.
type ringSocket struct {
	*zcrx.Receiver
	transport *ringTransport

	copies       atomic.Bool // the kernel copied what should have been sent without a copy
	evenIfCopied bool        // send without a copy all the same: for tests
	limited      atomic.Bool // there is a write deadline, which a send without a copy might miss
}

func (s *ringSocket) mode() zcrx.Mode { return s.Pool().Mode() }
func (s *ringSocket) maxLeases() int  { return s.Pool().MaxLeases() }

// recv waits until there is a buffer, ctx ends or limit passes. Close ends it, too.
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

// open returns ErrClosed if the socket is not.
func (s *ringSocket) open() error { return s.Control(func(uintptr) {}) }

// onLoop: a loop that waited for another one could be what that one waits for.
func (s *ringSocket) onLoop() bool { return s.onOwnLoop() || s.transport.onLoop() }

func (s *ringSocket) onOwnLoop() bool { return s.Pool().Loop().OnLoop() }

func (s *ringSocket) close() error {
	if !s.onOwnLoop() && s.onLoop() {
		go func() { _ = s.Receiver.Close() }() // nobody is left to tell
		return nil
	}
	return s.Receiver.Close()
}

func (s *ringSocket) control(fn func(fd uintptr)) error { return s.Control(fn) }
func (s *ringSocket) shutdown(how int) error            { return s.Shutdown(how) }

// readFrom: a ring has nothing better than Write.
func (s *ringSocket) readFrom(io.Reader) (n int64, handled bool, err error) { return 0, false, nil }

func (s *ringSocket) handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error)) error {
	if !s.onOwnLoop() && s.onLoop() {
		return ErrWouldBlock
	}
	return s.Handle(first, fn)
}

// send writes v, waiting for room until limit passes.
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
		return 0, s.open() // there was nothing to try it with
	}
	return w.written, nil
}

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
		if s.onLoop() {
			return n, ErrWouldBlock
		}
		err = s.WaitWritable(limit.done())
	}
	return n, err
}

func (s *ringSocket) wantsZeroCopy(n int) bool {
	from := s.transport.sendZeroCopyFrom
	return from > 0 && n >= from && !s.copies.Load() && !s.limited.Load() && !s.onLoop()
}
