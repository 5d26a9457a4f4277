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
	"github.com/zcrx-go/zcrx/internal/onloop"
	"github.com/zcrx-go/zcrx/internal/sys"
)

// ErrWouldBlock is what Write, WriteBuffers, Handle, Migrate, AcceptConn and Shutdown return on
// a loop (in a Handler) instead of waiting. It matches syscall.EAGAIN.
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
	queue     sendQueue             // of what is written on the loop
	reader    atomic.Pointer[fiber] // waits for something to read
	hook      func()                // wakeReader, once OnReadable was called; belongs to the reader

	copies       atomic.Bool // the kernel copied what was sent without a copy: do not try again
	evenIfCopied bool        // try again all the same: for tests
	limited      atomic.Bool // there is a write deadline, which a send without a copy could miss
}

func newRingSocket(r *zcrx.Receiver, t *ringTransport) *ringSocket {
	s := &ringSocket{Receiver: r, transport: t}
	s.queue.socket = s
	return s
}

func (s *ringSocket) mode() zcrx.Mode { return s.Pool().Mode() }

// recv waits until there is a buffer or an error, such as that of Close, ctx ends or limit
// passes.
func (s *ringSocket) recv(ctx context.Context, dst []zcrx.Buffer, limit *deadline) (int, error) {
	n, err := s.TryRecv(dst)
	if n > 0 || err != nil {
		return n, err
	}
	if f := currentFiber(); f != nil {
		return s.recvInFiber(ctx, f, dst, limit)
	}
	if blocksLoop() {
		return 0, ErrWouldBlock
	}
	for {
		select {
		case <-s.Readable():
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-limit.done():
			return 0, os.ErrDeadlineExceeded
		}
		n, err := s.TryRecv(dst)
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// recvInFiber is recv for a fiber, which parks instead of blocking its loop.
func (s *ringSocket) recvInFiber(ctx context.Context, f *fiber, dst []zcrx.Buffer, limit *deadline) (int, error) {
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, f.unpark)()
	}
	s.reader.Store(f)
	defer s.reader.Store(nil)
	if s.hook == nil {
		s.hook = s.wakeReader
		s.OnReadable(s.hook)
		limit.whenPassed(s.hook)
	}
	for {
		n, err := s.TryRecv(dst)
		switch {
		case n > 0 || err != nil:
			return n, err
		case limit.hasPassed.Load():
			return 0, os.ErrDeadlineExceeded
		case ctx.Err() != nil:
			return 0, ctx.Err()
		}
		f.park()
	}
}

// wakeReader wakes the fiber that waits for something to read. It is safe from any goroutine.
func (s *ringSocket) wakeReader() {
	if f := s.reader.Load(); f != nil {
		f.unpark()
	}
}

// blocksLoop reports whether the caller, which is not a fiber, runs on a loop: in a Handler,
// or in a coroutine that a fiber or Handler has made. There it must not wait.
func blocksLoop() bool {
	return onloop.Current() != nil || codeOnLoops.Load() && onloop.AnyThread()
}

// codeOnLoops says that code of the program may have run on a loop: in fibers, in Handlers, or with
// Loop.Post. It can make coroutines. Without it the check for these, which takes a system call, is
// not necessary.
var codeOnLoops atomic.Bool

func (s *ringSocket) setReadDeadline(time.Time) error { return s.open() }

func (s *ringSocket) setWriteDeadline(t time.Time) error {
	s.limited.Store(!t.IsZero())
	return s.open()
}

// open returns nil if the socket is open, else ErrClosed.
func (s *ringSocket) open() error { return s.Control(func(uintptr) {}) }

func (s *ringSocket) onOwnLoop() bool { return s.isOn(schedulerHere()) }

// isOn reports whether the connection is on that scheduler's loop.
func (s *ringSocket) isOn(here *scheduler) bool { return here != nil && here.loop == s.Pool().Loop() }

// close closes the socket. closed is called when it is, which may be later.
func (s *ringSocket) close(closed func()) error {
	if s.queue.unsent.Load() > 0 {
		return s.closeQueue(closed)
	}
	defer closed()
	if !s.onOwnLoop() && blocksLoop() {
		go func() { _ = s.Receiver.Close() }() // no caller is left to return an error to
		return nil
	}
	return s.Receiver.Close()
}

// closeQueue closes a socket with unsent bytes: when they are sent, or at once if the program
// wants them dropped. It does not wait.
func (s *ringSocket) closeQueue(closed func()) error {
	drop := false
	if err := s.Control(func(fd uintptr) { drop = sys.DropsOnClose(int(fd)) }); err != nil {
		closed()
		return err
	}
	end := func() {
		s.queue.closed = closed
		if drop {
			s.queue.closeNow()
		} else {
			s.queue.closeWhenSent()
		}
	}
	if s.onOwnLoop() {
		end()
		return nil
	}
	err := s.Pool().Loop().Post(end)
	if err != nil { // the loop is closed, and has dropped the queue
		closed()
	}
	return err
}

func (s *ringSocket) control(fn func(fd uintptr)) error { return s.Control(fn) }

func (s *ringSocket) shutdown(how int) error {
	if how == syscall.SHUT_RD || s.queue.unsent.Load() == 0 {
		return s.Shutdown(how)
	}
	if s.onOwnLoop() {
		return s.queue.shutdownWhenSent()
	}
	return s.Pool().Loop().Post(func() { _ = s.queue.shutdownWhenSent() }) // the caller does not wait
}

// readDirect does nothing: the ring receives into buffers.
func (s *ringSocket) readDirect([]byte) (n int, direct bool, err error) { return 0, false, nil }

// readFrom does nothing: a ring has no better way than send.
func (s *ringSocket) readFrom(io.Reader) (n int64, handled bool, err error) { return 0, false, nil }

func (s *ringSocket) handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error), name uintptr) error {
	codeOnLoops.Store(true)
	if !s.onOwnLoop() && blocksLoop() {
		return ErrWouldBlock
	}
	return s.Handle(first, func(buffers []zcrx.Buffer, err error) {
		here := schedulerHere()
		s.transport.watchdog.add(here)
		here.handlers.function.Store(name)
		here.watch.enter(&here.handlers)
		fn(buffers, err)
		here.watch.leave()
	})
}

// send writes v. It waits for room until limit passes. On the loop the ring sends it at the
// end of the turn; elsewhere the caller does.
func (s *ringSocket) send(v [][]byte, limit *deadline) (int, error) {
	here := schedulerHere()
	if here == nil {
		return s.sendHere(v, limit)
	}
	f := here.current
	if s.isOn(here) && (f == nil || !s.wantsZeroCopy(v)) {
		return s.queue.write(here, v, limit)
	}
	if f != nil {
		return sendForFiber(f, s, v, nil, limit)
	}
	return s.sendHere(v, limit)
}

// queueLeased queues buffers on the connection's loop.
func (s *ringSocket) queueLeased(buffers []zcrx.Buffer, limit *deadline) (queued bool, err error) {
	here := schedulerHere()
	if !s.isOn(here) {
		return false, nil
	}
	return true, s.queue.writeLeased(here, buffers, limit)
}

// waitQueue waits until what was written on the loop has been sent. It returns
// os.ErrDeadlineExceeded if expired is closed first.
func (s *ringSocket) waitQueue(expired <-chan struct{}) error {
	if blocksLoop() {
		return ErrWouldBlock
	}
	empty := make(chan struct{})
	// The writer has the turn, so the connection does not move to another loop.
	loop := s.Pool().Loop()
	if err := loop.Post(func() { s.queue.onEmpty(empty) }); err != nil {
		return err
	}
	select {
	case <-empty:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-s.transport.ended:
		return zcrx.ErrClosed
	}
}

// sendHere writes v with the caller's own system calls.
func (s *ringSocket) sendHere(v [][]byte, limit *deadline) (int, error) {
	if s.queue.unsent.Load() > 0 {
		if err := s.waitQueue(limit.done()); err != nil {
			return 0, err
		}
	}
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
	if s.wantsZeroCopy(v[:1]) && !blocksLoop() {
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
		if blocksLoop() {
			return n, ErrWouldBlock
		}
		err = s.WaitWritable(limit.done())
	}
	return n, err
}

// wantsZeroCopy reports whether one of v is to be sent without a copy.
func (s *ringSocket) wantsZeroCopy(v [][]byte) bool {
	from := s.transport.sendZeroCopyFrom
	if from == 0 || s.copies.Load() || s.limited.Load() {
		return false
	}
	for _, p := range v {
		if len(p) >= from {
			return true
		}
	}
	return false
}
