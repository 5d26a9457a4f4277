package zcrx

import (
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// TrySend sends some of the bytes of v, in order, without waiting, in the caller's own
// system call. It returns how many bytes the socket took, and an error that matches
// syscall.EAGAIN if it takes none now: see WaitWritable. It is safe from any goroutine, but
// the bytes of concurrent calls may be interleaved.
func (r *Receiver) TrySend(v [][]byte) (n int, err error) {
	err = r.socket.use(func(fd int) error {
		n, err = sys.SendNow(fd, v)
		return err
	})
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		r.sending.noteError(errno)
	}
	return n, err
}

// WaitWritable waits until TrySend may be tried again, which may still return EAGAIN. It
// returns os.ErrDeadlineExceeded if expired is closed first (nil never is), and ErrClosed
// after Close of receiver or loop. One goroutine may wait at a time, and none on a loop.
func (r *Receiver) WaitWritable(expired <-chan struct{}) error {
	if err := r.do(r.pollWritable); err != nil {
		return err
	}
	here := r.home.Load()
	select {
	case <-r.sending.writable:
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-here.loop.done:
		if r.home.Load() != here {
			return nil // the receiver had moved before
		}
		return ErrClosed
	}
}

// ErrNotOnLoop is what StartSend returns on a goroutine or loop other than the receiver's.
var ErrNotOnLoop = errors.New("zcrx: the call is not made on the connection's loop")

// ErrNotZeroCopy is what SendZeroCopy returns when nothing was sent, because it cannot be
// sent without a copy now, or at all. Send it with TrySend.
var ErrNotZeroCopy = errors.New("zcrx: not sent: it cannot be sent without a copy")

// maxZeroCopySend bounds the memory that one send pins, in bytes.
const maxZeroCopySend = 1 << 20

// SendZeroCopy sends p, or its first MiB, from p's own memory (Linux 6.0). p must not be
// empty. It returns when the kernel no longer needs p: when the peer has acknowledged the
// bytes, or the connection is over.
//
// n is the number of bytes sent. copied says that the kernel copied them nevertheless, as
// over loopback, or does not send without a copy: then TrySend costs less for this
// connection from now on. ErrNotZeroCopy means that nothing was sent.
//
// When expired is closed, the kernel takes no more of p, and SendZeroCopy waits until what
// it took is acknowledged. If it took nothing, the error is os.ErrDeadlineExceeded. A Close
// meanwhile resets the connection, so that p is free at once. One goroutine may send at a
// time, and none on a loop.
func (r *Receiver) SendZeroCopy(p []byte, expired <-chan struct{}) (n int, copied bool, err error) {
	err = r.socket.use(func(fd int) error { // keeps the fd open until the end, so that the send can be aborted
		n, copied, err = r.zeroCopy(fd, p[:min(len(p), maxZeroCopySend)], expired)
		return err
	})
	return n, copied, err
}

// StartSend begins to send v, of 1 to 64 slices, with the requests of this turn, and does not
// wait. done is called on the loop when the kernel no longer uses v, which must not be changed
// before. n is how many bytes were sent; if that is fewer than v has and err is nil, the rest
// must be sent. StartSend must be called on the receiver's loop, and not again before done is
// called. ErrQueueFull means that it may be tried in the next turn. On another loop, and
// during a move, it returns ErrNotOnLoop.
//
// Close cancels the send. If the loop is closed meanwhile, done may never be called.
func (r *Receiver) StartSend(v [][]byte, done func(n int, err error)) error {
	switch here := r.home.Load(); {
	case !here.loop.place.IsCurrent():
		return ErrNotOnLoop
	case r.moving != nil:
		return ErrNotOnLoop
	case r.closeWanted || r.loop.stopping:
		return ErrClosed
	}
	s, err := r.loop.newRequest((*queuedSend)(r))
	if err != nil {
		return err
	}
	q := &r.sending.queued
	q.done, q.request, q.inFlight = done, s.UserData, true
	if len(v) == 1 {
		s.PrepSend(r.socket.fd, v[0], sys.MsgNoSignal|sys.MsgWaitAll)
		r.loop.ops.keep(s)
		return nil
	}
	q.message.Set(v)
	s.PrepSendmsg(r.socket.fd, q.message.Pointer(), sys.MsgNoSignal|sys.MsgWaitAll)
	return nil
}

// CancelSend asks the kernel to end a send of StartSend, whose done is called with
// ECANCELED, or with what was sent before. It must be called on the receiver's loop.
func (r *Receiver) CancelSend() {
	if r.sending.queued.inFlight {
		r.cancel(r.sending.queued.request)
	}
}

// queuedSend is a Receiver as the completer of its StartSend.
type queuedSend Receiver

func (q *queuedSend) complete(c *uring.CQE) {
	r := (*Receiver)(q)
	sent := &r.sending.queued
	done := sent.done
	sent.done, sent.inFlight = nil, false
	sent.message.Clear()
	if errno := c.Errno(); errno != 0 {
		r.sending.noteError(errno)
		done(0, os.NewSyscallError("send", errno))
	} else {
		done(int(c.Res), nil)
	}
	r.finishIfCompleted()
	r.closeIfIdle()
}

// sending is what the connection's writer has in the kernel. Except for writable and broken
// it belongs to the loop's thread.
type sending struct {
	poll     uint64 // user data of the poll for room to write
	polling  bool   // it is in flight
	request  uint64 // user data of a zero-copy send
	inFlight bool   // its first completion has not come
	pinned   bool   // its last completion has not come: the kernel uses the writer's memory
	aborted  bool   // the connection was reset to free that memory
	writable chan struct{}

	queued struct { // by StartSend
		request  uint64 // user data
		inFlight bool
		done     func(n int, err error)
		message  sys.Message // the kernel uses it while the send is in flight
	}

	// broken is the errno of a connection that is broken, 0 else, if a send met it first:
	// the kernel reports it once. Any goroutine stores it.
	broken atomic.Uintptr
}

// noteError remembers that a send has met the connection's error.
func (s *sending) noteError(errno syscall.Errno) {
	switch errno {
	case syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNABORTED:
		s.broken.Store(uintptr(errno))
	}
}

// endOfStream returns what a 0 of the kernel means: the end, or that a send has taken the
// connection's error away.
func (s *sending) endOfStream() error {
	if errno := syscall.Errno(s.broken.Load()); errno != 0 {
		return receiveError(errno)
	}
	return io.EOF
}

// idle reports whether no request holds the socket.
func (s *sending) idle() bool { return !s.polling && !s.inFlight && !s.queued.inFlight }

// allCompleted reports whether no completion can come any more.
func (s *sending) allCompleted() bool { return s.idle() && !s.pinned }

// pollWritable makes sending.writable receive a value when writing may be tried again.
func (r *Receiver) pollWritable() error {
	if r.closeWanted {
		return ErrClosed
	}
	if r.sending.polling || r.moving != nil { // the end of a move wakes the writer too
		return nil
	}
	s, err := r.loop.newRequest(completerFunc(func(*uring.CQE) {
		r.sending.polling = false
		r.sending.wake()
		r.finishIfCompleted()
		r.closeIfIdle()
	}))
	if errors.Is(err, ErrQueueFull) {
		r.sending.polling = true // it is treated as in flight
		r.loop.retry(func() {
			r.sending.polling = false
			if r.pollWritable() != nil {
				r.sending.wake()
			}
			r.finishIfCompleted()
			r.closeIfIdle()
		})
		return nil
	}
	if err != nil {
		return err
	}
	s.PrepPollAdd(r.socket.fd, pollOut)
	r.sending.poll, r.sending.polling = s.UserData, true
	return nil
}

func (s *sending) wake() { wakeUp(s.writable) }

// endSending ends the writer's requests.
func (r *Receiver) endSending() {
	if r.sending.polling {
		r.cancel(r.sending.poll)
	}
	if r.sending.inFlight {
		r.cancel(r.sending.request)
	}
	r.CancelSend()
	if r.sending.pinned {
		// The memory is the writer's again: the kernel must not send from it any more.
		r.sending.aborted = true
		sys.ResetConn(r.socket.fd)
	}
}

// zeroCopySend is a send whose bytes the kernel uses until the second completion.
type zeroCopySend struct {
	loop     *Loop             // the loop that it was started on
	request  uint64            // its user data
	sent     chan int32        // the first completion's result
	finished chan sendFinished // receives a value when the kernel no longer needs the bytes
}

type sendFinished struct {
	copied  bool // the kernel copied the bytes
	aborted bool // the connection was reset to free the bytes: not all may have been sent
}

func (r *Receiver) zeroCopy(fd int, p []byte, expired <-chan struct{}) (n int, copied bool, err error) {
	var pin runtime.Pinner
	pin.Pin(&p[0])
	defer pin.Unpin()
	z := &zeroCopySend{sent: make(chan int32, 1), finished: make(chan sendFinished, 1)}
	err = r.do(func() error { return r.startZeroCopy(z, p) })
	if errors.Is(err, ErrQueueFull) || errors.Is(err, errMoving) {
		return 0, false, ErrNotZeroCopy
	}
	if err != nil {
		return 0, false, err
	}
	finished, timedOut, err := r.awaitZeroCopy(fd, z, expired)
	if err != nil {
		return 0, false, err
	}
	res := <-z.sent
	switch {
	case finished.aborted:
		return 0, finished.copied, ErrClosed
	case res < 0:
		refused, err := zeroCopyError(syscall.Errno(-res), timedOut)
		return 0, finished.copied || refused, err
	}
	return int(res), finished.copied, nil
}

// zeroCopyError turns the errno of a failed send into SendZeroCopy's error. refused means
// that the next send would fail in the same way.
func zeroCopyError(errno syscall.Errno, timedOut bool) (refused bool, err error) {
	switch {
	case errno == syscall.ECANCELED && timedOut:
		return false, os.ErrDeadlineExceeded
	case errno == syscall.ECANCELED:
		return false, ErrClosed
	case errno == syscall.EINTR:
		return false, ErrNotZeroCopy
	case zeroCopyRefused(errno):
		return true, ErrNotZeroCopy
	}
	return false, os.NewSyscallError("send", errno)
}

// awaitZeroCopy returns once the kernel no longer needs the bytes. When expired is closed,
// it makes the kernel take no more of them.
func (r *Receiver) awaitZeroCopy(fd int, z *zeroCopySend, expired <-chan struct{}) (f sendFinished, timedOut bool, err error) {
	for {
		select {
		case f = <-z.finished:
			return f, timedOut, nil
		case <-expired:
			expired, timedOut = nil, true
			_ = r.do(func() error { r.stopZeroCopy(z); return nil }) // a closed loop ends the send by itself
		case <-z.loop.done:
			// The ring was closed with the send in flight. The kernel may still use the
			// bytes.
			sys.ResetConn(fd)
			return f, timedOut, ErrClosed
		}
	}
}

// zeroCopyRefused reports whether errno is about sending without a copy, not about sending
// at all.
func zeroCopyRefused(errno syscall.Errno) bool {
	switch errno {
	case syscall.ENOMEM, syscall.EINVAL, syscall.EOPNOTSUPP, syscall.ENOBUFS:
		return true
	}
	return false
}

// startZeroCopy starts the send. It runs on the loop's thread.
func (r *Receiver) startZeroCopy(z *zeroCopySend, p []byte) error {
	if r.closeWanted {
		return ErrClosed
	}
	if r.moving != nil {
		return errMoving
	}
	sqe, err := r.loop.newRequest(completerFunc(func(c *uring.CQE) { r.zeroCopyCompleted(z, c) }))
	if err != nil {
		return err
	}
	sqe.PrepSendZC(r.socket.fd, p, sys.MsgNoSignal|sys.MsgWaitAll, uring.SendZCReportUsage)
	z.loop, z.request = r.loop, sqe.UserData
	r.sending.request, r.sending.inFlight, r.sending.pinned = sqe.UserData, true, true
	return nil
}

// zeroCopyCompleted handles the two completions: the result, and then the notification that
// the kernel no longer needs the bytes. A send that failed at once has only the first.
func (r *Receiver) zeroCopyCompleted(z *zeroCopySend, c *uring.CQE) {
	sending := &r.sending
	isNotification := c.Flags&uring.CQENotif != 0
	if !isNotification {
		sending.inFlight = false
		sending.noteError(c.Errno())
		z.sent <- c.Res
	}
	if isNotification || !c.More() {
		z.finished <- sendFinished{copied: isNotification && c.Res&uring.NotifZCCopied != 0, aborted: sending.aborted}
		sending.pinned = false
	}
	r.finishIfCompleted()
	r.closeIfIdle()
}

// stopZeroCopy cancels the send if it is in flight. It runs on the loop's thread.
func (r *Receiver) stopZeroCopy(z *zeroCopySend) {
	if r.sending.inFlight && r.sending.request == z.request {
		r.cancel(z.request)
	}
}
