package zcrx

import (
	"errors"
	"os"
	"runtime"
	"syscall"

	"github.com/zcrx-go/zcrx/uring"
)

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

// maxZeroCopySend bounds the memory that one send pins, in bytes.
const maxZeroCopySend = 1 << 20

// errSendCopying has the caller send with a copy, this time at least.
var errSendCopying = errors.New("send with a copy")

func (s *ringSocket) wantsZeroCopy(n int) bool {
	from := s.engine.config.SendZeroCopyFrom
	return from > 0 && n >= from && !s.copies.Load() && !s.limited.Load() && !s.onLoop()
}

// sendZeroCopy sends from p's own memory. It answers when the kernel needs that no
// more, which is when the peer has acknowledged it, or the connection is over.
func (s *ringSocket) sendZeroCopy(p []byte, expired <-chan struct{}) (n int, err error) {
	err = s.socket.use(func(fd int) error { // open until the end, so that it can be aborted
		n, err = s.zeroCopy(fd, p[:min(len(p), maxZeroCopySend)], expired)
		return err
	})
	return n, err
}

func (s *ringSocket) zeroCopy(fd int, p []byte, expired <-chan struct{}) (int, error) {
	var pin runtime.Pinner
	pin.Pin(&p[0])
	defer pin.Unpin()
	z := &zeroCopySend{sent: make(chan int32, 1), finished: make(chan sendFinished, 1)}
	err := s.do(func() error { return s.startZeroCopy(z, p) })
	if errors.Is(err, ErrQueueFull) || errors.Is(err, errMoving) {
		return 0, errSendCopying
	}
	if err != nil {
		return 0, err
	}
	finished, timedOut, err := s.awaitZeroCopy(fd, z, expired)
	if err != nil {
		return 0, err
	}
	if finished.copied && !s.evenIfCopied {
		s.copies.Store(true)
	}
	n := <-z.sent
	switch {
	case finished.aborted:
		return 0, ErrClosed
	case n < 0:
		return 0, s.zeroCopyError(syscall.Errno(-n), timedOut)
	}
	return int(n), nil
}

// zeroCopyError judges a failed send.
func (s *ringSocket) zeroCopyError(errno syscall.Errno, timedOut bool) error {
	switch {
	case errno == syscall.ECANCELED && timedOut:
		return os.ErrDeadlineExceeded
	case errno == syscall.ECANCELED:
		return ErrClosed
	case errno == syscall.EINTR:
		return errSendCopying
	case zeroCopyRefused(errno):
		s.copies.Store(true)
		return errSendCopying
	}
	return os.NewSyscallError("send", errno)
}

// awaitZeroCopy returns once the kernel needs the bytes no more. When expired is
// closed it has the kernel take no more of them.
func (s *ringSocket) awaitZeroCopy(fd int, z *zeroCopySend, expired <-chan struct{}) (f sendFinished, timedOut bool, err error) {
	for {
		select {
		case f = <-z.finished:
			return f, timedOut, nil
		case <-expired:
			expired, timedOut = nil, true
			_ = s.do(func() error { s.stopZeroCopy(z); return nil }) // a loop that is closed ends it
		case <-z.loop.done:
			// The ring went with the send in it. The kernel may use the bytes still.
			abortSocket(fd)
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
func (s *ringSocket) startZeroCopy(z *zeroCopySend, p []byte) error {
	r := s.Receiver
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
	sqe.PrepSendZC(r.socket.fd, p, msgNoSignal|msgWaitAll, uring.SendZCReportUsage)
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
		z.sent <- c.Res
	}
	if isNotification || !c.More() {
		z.finished <- sendFinished{copied: isNotification && c.Res&uring.NotifZCCopied != 0, aborted: sending.aborted}
		sending.pinned = false
	}
	r.settle()
	r.closeIfIdle()
}

// stopZeroCopy runs on the loop.
func (s *ringSocket) stopZeroCopy(z *zeroCopySend) {
	if s.sending.inFlight && s.sending.request == z.request {
		s.cancel(z.request)
	}
}
