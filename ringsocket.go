package zcrx

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrWouldBlock is what Write answers on a loop when the socket takes no more. It
// matches syscall.EAGAIN.
var ErrWouldBlock error = &wouldBlock{}

type wouldBlock struct{}

func (*wouldBlock) Error() string { return "zcrx: the socket takes no more, and a loop must not wait" }
func (*wouldBlock) Unwrap() error { return syscall.EAGAIN }

// ringSocket is a connection's socket on a loop: received through its ring, written
// by the writer's own system calls, which do not wait; the ring tells when there is
// room again.
type ringSocket struct {
	*Receiver
	engine *Engine

	copies atomic.Bool // the kernel copied what should have been sent without
}

func (s *ringSocket) mode() Mode { return s.home.Load().pool.Mode() }

func (s *ringSocket) mergeAt() int {
	return int(max(1, min(16, s.home.Load().pool.accounts().maxLeases/4)))
}

func (s *ringSocket) setReadDeadline(time.Time) error  { return s.open() }
func (s *ringSocket) setWriteDeadline(time.Time) error { return s.open() }

// open answers ErrClosed if the socket is not.
func (s *ringSocket) open() error { return s.socket.use(func(int) error { return nil }) }

func (s *ringSocket) close() error { return s.Receiver.Close() }

func (s *ringSocket) control(fn func(fd uintptr)) error {
	return s.socket.use(func(fd int) error { fn(uintptr(fd)); return nil })
}

func (s *ringSocket) shutdown(how int) error {
	return s.socket.use(func(fd int) error { return shutdownSocket(fd, how) })
}

// readFrom: a ring has nothing better than Write.
func (s *ringSocket) readFrom(io.Reader) (n int64, handled bool, err error) { return 0, false, nil }

// handle gives fn what the consumer did not take, and from then on every turn's
// buffers.
func (s *ringSocket) handle(first []Buffer, fn func(buffers []Buffer, err error)) error {
	r := s.Receiver
	return r.do(func() error {
		r.consumer.Lock()
		r.mu.Lock()
		first = append(first[:len(first):len(first)], r.taken[r.next:]...)
		first = append(first, r.incoming...)
		r.taken, r.next, r.incoming = nil, 0, nil
		ended := r.err
		r.mu.Unlock()
		r.consumer.Unlock()
		r.handler = fn
		if len(first) > 0 {
			fn(first, nil)
		}
		if ended != nil && r.handler != nil {
			r.handler = nil
			fn(nil, ended)
		}
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
	return w.written, s.open()
}

func (s *ringSocket) sendSome(v [][]byte, expired <-chan struct{}) (n int, err error) {
	if len(v[0]) >= s.engine.config.SendZeroCopyFrom && s.engine.config.SendZeroCopyFrom > 0 && !s.copies.Load() && !s.home.Load().loop.onLoop() {
		return s.sendZeroCopy(v[0])
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
	loop := s.home.Load().loop
	if loop.onLoop() {
		return ErrWouldBlock
	}
	if err := s.do(s.pollWritable); err != nil {
		return err
	}
	select {
	case <-s.sending.writable:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-s.home.Load().loop.done:
		return ErrClosed
	}
}

// zeroCopySend is a send whose bytes the kernel uses until the second completion.
type zeroCopySend struct {
	sent     chan int32 // the first completion's result
	finished chan bool  // whether the kernel copied after all
}

// maxZeroCopySend bounds the memory that one send pins, in bytes.
const maxZeroCopySend = 1 << 20

// sendZeroCopy sends from p's own memory. It answers when the kernel needs that no
// more, which is when the peer has acknowledged it, or the connection is over.
func (s *ringSocket) sendZeroCopy(p []byte) (int, error) {
	p = p[:min(len(p), maxZeroCopySend)]
	var pin runtime.Pinner
	pin.Pin(&p[0])
	defer pin.Unpin()
	z := &zeroCopySend{sent: make(chan int32, 1), finished: make(chan bool, 1)}
	loop := s.home.Load().loop
	err := s.do(func() error { return s.startZeroCopy(z, p) })
	if errors.Is(err, ErrQueueFull) || errors.Is(err, ErrNotSupported) {
		s.copies.Store(true)
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	select {
	case copied := <-z.finished:
		if copied {
			s.copies.Store(true)
		}
	case <-loop.done:
		_ = s.socket.use(func(fd int) error { abortSocket(fd); return nil })
		return 0, ErrClosed
	}
	switch n := <-z.sent; {
	case n >= 0:
		return int(n), nil
	case syscall.Errno(-n) == syscall.ECANCELED:
		return 0, ErrClosed
	case zeroCopyRefused(syscall.Errno(-n)):
		s.copies.Store(true)
		return 0, nil
	default:
		return 0, os.NewSyscallError("send", syscall.Errno(-n))
	}
}

// zeroCopyRefused tells errors of sending without a copy from those of sending.
func zeroCopyRefused(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOMEM, syscall.EINVAL, syscall.EOPNOTSUPP, syscall.ENOBUFS:
		return true
	}
	return false
}

// startZeroCopy runs on the loop.
func (s *ringSocket) startZeroCopy(z *zeroCopySend, p []byte) error {
	r := s.Receiver
	if r.closeWanted {
		return ErrClosed
	}
	sqe, err := r.loop.newRequest(completerFunc(func(c *CQE) {
		if c.Flags&CQENotif != 0 {
			r.sending.pinned = false
			z.finished <- c.Res&notifCopied != 0
			return
		}
		r.sending.inFlight = false
		z.sent <- c.Res
		if !c.More() {
			r.sending.pinned = false
			z.finished <- false
		}
		r.settle()
		r.closeIfIdle()
	}))
	if err != nil {
		return err
	}
	sqe.PrepSendZC(r.socket.fd, p, msgNoSignal|msgWaitAll, sendZCReportUsage)
	r.sending.request, r.sending.inFlight, r.sending.pinned = sqe.UserData, true, true
	return nil
}

// window walks over slices, a number of them at a time, without changing them.
type window struct {
	rest    [][]byte
	offset  int // in rest[0]
	written int
	slices  [][]byte
	room    [64][]byte
}

func newWindow(v [][]byte) *window { return &window{rest: v} }

// next puts what is to be written next into slices. It answers false if there is
// nothing left.
func (w *window) next() bool {
	w.slices = w.room[:0]
	offset := w.offset
	for _, p := range w.rest {
		if len(w.slices) == cap(w.room[:]) {
			break
		}
		if p = p[offset:]; len(p) > 0 {
			w.slices = append(w.slices, p)
		}
		offset = 0
	}
	return len(w.slices) > 0
}

// wrote notes progress.
func (w *window) wrote(n int) {
	w.written += n
	w.offset += n
	for len(w.rest) > 0 && w.offset >= len(w.rest[0]) {
		w.offset -= len(w.rest[0])
		w.rest = w.rest[1:]
	}
}
