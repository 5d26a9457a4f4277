package zcrx

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrWouldBlock is what is answered on a loop, which must not wait, instead of
// waiting: by Write when the socket takes no more. It matches syscall.EAGAIN.
var ErrWouldBlock error = &wouldBlock{}

type wouldBlock struct{}

func (*wouldBlock) Error() string { return "zcrx: this would wait, which a loop must not" }
func (*wouldBlock) Unwrap() error { return syscall.EAGAIN }

// ringSocket is a connection's socket on a loop: received through its ring, written
// by the writer's own system calls, which do not wait; the ring tells when there is
// room again.
type ringSocket struct {
	*Receiver
	engine *Engine

	copies       atomic.Bool // the kernel copied what should have been sent without
	evenIfCopied bool        // and it shall go on: for tests
	limited      atomic.Bool // there is a write deadline, which a send without a copy might miss
}

func (s *ringSocket) mode() Mode { return s.home.Load().pool.Mode() }

func (s *ringSocket) mergeAt() int { return s.home.Load().pool.accounts().mergeAt() }

func (s *ringSocket) setReadDeadline(time.Time) error { return s.open() }

func (s *ringSocket) setWriteDeadline(t time.Time) error {
	s.limited.Store(!t.IsZero())
	return s.open()
}

// open answers ErrClosed if the socket is not.
func (s *ringSocket) open() error { return s.socket.use(func(int) error { return nil }) }

// onLoop: a loop that waited for another one could be what that one waits for.
func (s *ringSocket) onLoop() bool { return s.onOwnLoop() || onAnyLoop(s.engine.loops) }

func (s *ringSocket) onOwnLoop() bool { return s.home.Load().loop.onLoop() }

func (s *ringSocket) close() error {
	if !s.onOwnLoop() && s.onLoop() {
		go func() { _ = s.Receiver.Close() }() // nobody is left to tell
		return nil
	}
	return s.Receiver.Close()
}

func (s *ringSocket) control(fn func(fd uintptr)) error {
	return s.socket.use(func(fd int) error { fn(uintptr(fd)); return nil })
}

func (s *ringSocket) shutdown(how int) error {
	return s.socket.use(func(fd int) error { return shutdownSocket(fd, how) })
}

// readFrom: a ring has nothing better than Write.
func (s *ringSocket) readFrom(io.Reader) (n int64, handled bool, err error) { return 0, false, nil }

// handle gives fn what the consumer did not take, and every turn's buffers, from
// the end of this turn on.
func (s *ringSocket) handle(first []Buffer, fn func(buffers []Buffer, err error)) error {
	if !s.onOwnLoop() && s.onLoop() {
		return ErrWouldBlock
	}
	r := s.Receiver
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

// send writes v, waiting for room until expired is closed.
func (s *ringSocket) send(v [][]byte, expired <-chan struct{}) (int, error) {
	w := newWindow(v)
	for w.next() {
		n, err := s.sendSome(w.slices, expired)
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

func (s *ringSocket) sendSome(v [][]byte, expired <-chan struct{}) (n int, err error) {
	if s.wantsZeroCopy(len(v[0])) {
		n, err = s.sendZeroCopy(v[0], expired)
		if !errors.Is(err, errSendCopying) {
			return n, err
		}
	}
	err = s.socket.use(func(fd int) error {
		n, err = sendMessage(fd, v)
		return err
	})
	if errors.Is(err, syscall.EAGAIN) {
		err = s.awaitWritable(expired)
	}
	return n, err
}

// awaitWritable returns once writing may be tried again.
func (s *ringSocket) awaitWritable(expired <-chan struct{}) error {
	if s.onLoop() {
		return ErrWouldBlock
	}
	if err := s.do(s.pollWritable); err != nil {
		return err
	}
	here := s.home.Load()
	select {
	case <-s.sending.writable:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-here.loop.done:
		if s.home.Load() != here {
			return nil // it moved before
		}
		return ErrClosed
	}
}
