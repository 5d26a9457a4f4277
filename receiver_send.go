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

// TrySend sends some of v, in order, without waiting: from the caller's own system
// call, whichever goroutine that is. It returns how many bytes the socket took, and
// an error that matches syscall.EAGAIN if it takes none: see WaitWritable. Whoever
// has several goroutines send keeps their bytes apart himself.
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

// WaitWritable returns nil once TrySend may be tried again, perhaps in vain. It
// returns os.ErrDeadlineExceeded when expired is closed first, which is never for
// nil, and ErrClosed after Close of receiver or loop. One goroutine may wait at a
// time, and none on a loop, which would wait for itself.
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
			return nil // it moved before
		}
		return ErrClosed
	}
}

// ErrNotZeroCopy is what SendZeroCopy returns when nothing was sent, because it
// cannot be sent without a copy, now or ever: send it with TrySend.
var ErrNotZeroCopy = errors.New("zcrx: not sent: it cannot be sent without a copy")

// maxZeroCopySend bounds the memory that one send pins, in bytes.
const maxZeroCopySend = 1 << 20

// SendZeroCopy sends p, or its first MiB, from p's own memory (Linux 6.0). It returns
// when the kernel needs that no more, which is when the peer has acknowledged it, or
// the connection is over. p is not empty.
//
// It returns how many bytes were sent. copied says that the kernel copied them all
// the same, as over loopback, or refuses to send without a copy: TrySend then costs
// less for the whole connection. ErrNotZeroCopy means that nothing was sent.
//
// When expired is closed, the kernel takes no more of p; what it took must be
// acknowledged still. If nothing was sent by then, the error is
// os.ErrDeadlineExceeded. Close meanwhile resets the connection, to get the memory
// back at once. As for WaitWritable, one goroutine sends at a time, and none on a
// loop.
func (r *Receiver) SendZeroCopy(p []byte, expired <-chan struct{}) (n int, copied bool, err error) {
	err = r.socket.use(func(fd int) error { // open until the end, so that it can be aborted
		n, copied, err = r.zeroCopy(fd, p[:min(len(p), maxZeroCopySend)], expired)
		return err
	})
	return n, copied, err
}

// sending is what the connection's writer has in the kernel. It belongs to the
// loop's thread, but for the channel and broken.
type sending struct {
	poll     uint64 // user data of the poll for room to write
	polling  bool   // it is in flight
	request  uint64 // user data of a zero-copy send
	inFlight bool   // its first completion has not come
	pinned   bool   // its last completion has not come: the kernel uses the writer's memory
	aborted  bool   // the connection was reset because of that
	writable chan struct{}

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

// idle tells that no request holds the socket.
func (s *sending) idle() bool { return !s.polling && !s.inFlight }

// quiet tells that no completion will come.
func (s *sending) quiet() bool { return s.idle() && !s.pinned }

// pollWritable has the next wake-up of sending.writable tell that writing may be
// tried again.
func (r *Receiver) pollWritable() error {
	if r.closeWanted {
		return ErrClosed
	}
	if r.sending.polling || r.moving != nil { // the end of the move wakes the writer, too
		return nil
	}
	s, err := r.loop.newRequest(completerFunc(func(*uring.CQE) {
		r.sending.polling = false
		r.sending.wake()
		r.endIfQuiet()
		r.closeIfIdle()
	}))
	if errors.Is(err, ErrQueueFull) {
		r.sending.polling = true // as good as in flight
		r.loop.retry(func() {
			r.sending.polling = false
			if r.pollWritable() != nil {
				r.sending.wake()
			}
			r.endIfQuiet()
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

// endSending ends what the writer has in flight.
func (r *Receiver) endSending() {
	if r.sending.polling {
		r.cancel(r.sending.poll)
	}
	if r.sending.inFlight {
		r.cancel(r.sending.request)
	}
	if r.sending.pinned {
		// Bytes that the writer gets back must not be sent any more.
		r.sending.aborted = true
		sys.ResetConn(r.socket.fd)
	}
}

// zeroCopySend is a send whose bytes the kernel uses until the second completion.
type zeroCopySend struct {
	loop     *Loop             // on which it is
	request  uint64            // its user data
	sent     chan int32        // the first completion's result
	finished chan sendFinished // the kernel needs the bytes no more
}

type sendFinished struct {
	copied  bool // by the kernel, after all
	aborted bool // the connection was reset to get the bytes back: not all may have been sent
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

// zeroCopyError judges a failed send. refused means that the next one would fail the
// same way.
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

// awaitZeroCopy returns once the kernel needs the bytes no more. When expired is
// closed it has the kernel take no more of them.
func (r *Receiver) awaitZeroCopy(fd int, z *zeroCopySend, expired <-chan struct{}) (f sendFinished, timedOut bool, err error) {
	for {
		select {
		case f = <-z.finished:
			return f, timedOut, nil
		case <-expired:
			expired, timedOut = nil, true
			_ = r.do(func() error { r.stopZeroCopy(z); return nil }) // a loop that is closed ends it
		case <-z.loop.done:
			// The ring went with the send in it. The kernel may use the bytes still.
			sys.ResetConn(fd)
			return f, timedOut, ErrClosed
		}
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

// zeroCopyCompleted takes the two completions: what was sent, and, behind it, that
// the kernel needs the bytes no more. A send that failed at once has the first alone.
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
	r.endIfQuiet()
	r.closeIfIdle()
}

// stopZeroCopy runs on the loop.
func (r *Receiver) stopZeroCopy(z *zeroCopySend) {
	if r.sending.inFlight && r.sending.request == z.request {
		r.cancel(z.request)
	}
}
