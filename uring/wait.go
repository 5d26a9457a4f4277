package uring

import (
	"errors"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring/uapi"
)

// WaitOptions say when a wait for completions ends.
type WaitOptions struct {
	// Timeout ends the wait after that time; 0 does not wait, and a negative one waits for ever.
	Timeout time.Duration
	// MinTimeout has the wait end after that time, 0 to 71 minutes, if there is at least one
	// completion, though not as many as are waited for. If there is none by then, the wait
	// goes on until there is one or Timeout passes. 0 means none (Linux 6.12).
	MinTimeout time.Duration
	// Signals are the signals that are blocked during the wait, bit n-1 for signal n, instead
	// of those of the thread. nil leaves them as they are.
	Signals *uint64
}

// Wait waits until n completions are there, 0 to CQEntries, without submitting anything. If
// the wait ends for another reason, such as a signal, there may be fewer, and that is no error.
//
// Implements: int io_uring_wait_cqes(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct __kernel_timespec *ts, sigset_t *sigmask)
// Implements: int io_uring_wait_cqes_min_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct __kernel_timespec *ts, unsigned int min_ts_usec, sigset_t *sigmask)
// Implements: int io_uring_wait_cqe_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, struct __kernel_timespec *ts)
// Implements: int io_uring_wait_cqe_nr(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr)
// Implements: int io_uring_wait_cqe(struct io_uring *ring, struct io_uring_cqe **cqe_ptr)
func (r *Ring) Wait(n int, o WaitOptions) error {
	_, err := r.wait(fnWaitCQEs, fnWaitCQEsMinTimeout, n, o)
	return err
}

// SubmitAndWaitOptions is SubmitAndWait with more to say about the wait. It returns the number
// of entries that the kernel took, which means nothing with SetupSQPoll.
//
// Implements: int io_uring_submit_and_wait_min_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct __kernel_timespec *ts, unsigned min_wait, sigset_t *sigmask)
func (r *Ring) SubmitAndWaitOptions(n int, o WaitOptions) (int, error) {
	return r.wait(fnSubmitAndWaitTimeout, fnSubmitAndWaitMinTimeout, n, o)
}

// checkWait returns an error if nobody can wait for n completions.
func (r *Ring) checkWait(n int) error {
	if r.h == nil {
		return errClosed
	}
	return inRange("number of completions to wait for", n, 0, r.CQEntries())
}

// wait calls plain, or withMin if there is a minimum time.
func (r *Ring) wait(plain, withMin function, n int, o WaitOptions) (int, error) {
	if err := r.checkWait(n); err != nil {
		return 0, err
	}
	const longest = 1<<32 - 1
	if us := o.MinTimeout.Microseconds(); us < 0 || us > longest {
		return 0, rangeError("WaitOptions.MinTimeout in µs", us, 0, longest)
	}
	// What liburing gets the addresses of. The C library's signal set is larger than the
	// kernel's, which is all that is read of it.
	args := &struct {
		cqe     unsafe.Pointer
		ts      Timespec
		signals [32]uintptr
	}{}
	var ts, signals uint64
	if o.Timeout < 0 && o.MinTimeout > 0 {
		o.Timeout = forEver // without a timeout the kernel takes no notice of the other time
	}
	if o.Timeout >= 0 {
		args.ts = TimespecOf(o.Timeout)
		ts = address(&args.ts)
	}
	if o.Signals != nil {
		args.signals[0] = uintptr(*o.Signals)
		if wordBits == 32 {
			args.signals[1] = uintptr(*o.Signals >> 32)
		}
		signals = address(&args.signals)
	}
	var took int
	var err error
	if o.MinTimeout > 0 {
		took, err = r.call(withMin, address(&args.cqe), uint64(n), ts, uint64(o.MinTimeout.Microseconds()), signals)
	} else {
		took, err = r.call(plain, address(&args.cqe), uint64(n), ts, signals)
	}
	runtime.KeepAlive(args)
	return took, waitError(err)
}

// wordBits is the number of bits of an unsigned long, of which sets of signals and of CPUs consist.
const wordBits = 8 * int(unsafe.Sizeof(uintptr(0)))

// forEver is longer than any program runs.
const forEver = 20 * 365 * 24 * time.Hour

// waitError returns the error of a wait: that it ended early is none.
func waitError(err error) error {
	if errors.Is(err, sys.ETIME) || errors.Is(err, syscall.EINTR) || errors.Is(err, syscall.EAGAIN) {
		return nil
	}
	return err
}

// SubmitAndWaitReg hands the queued entries to the kernel, and waits until n completions are
// there or the wait ends as the registered argument of that index says (RegisterRegion): the
// kernel reads it without a copy (Linux 6.13).
//
// Implements: int io_uring_submit_and_wait_reg(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, int reg_index)
func (r *Ring) SubmitAndWaitReg(n, index int) (int, error) {
	if err := r.checkWait(n); err != nil {
		return 0, err
	}
	if err := inRange("index", index, 0, 1<<20); err != nil {
		return 0, err
	}
	cqe := new(unsafe.Pointer)
	took, err := r.call(fnSubmitAndWaitReg, address(cqe), uint64(n), uint64(index))
	runtime.KeepAlive(cqe)
	return took, waitError(err)
}

// SubmitOnly hands the queued entries to the kernel, and does nothing else: unlike Submit it
// does not run deferred task work. With SetupSQPoll it makes no system call unless the kernel's
// thread sleeps.
//
// Implements: int io_uring_submit(struct io_uring *ring)
func (r *Ring) SubmitOnly() (int, error) { return r.call(fnSubmit) }

// GetEvents runs deferred task work, and moves completions that had no room into the queue. It
// submits nothing and does not wait.
//
// Implements: int io_uring_get_events(struct io_uring *ring)
func (r *Ring) GetEvents() error {
	_, err := r.call(fnGetEvents)
	return err
}

// WaitArg returns the argument of a wait for RegisterRegion and RegisterWaitReg. A negative
// timeout means none. minTimeout is as for WaitOptions; what is out of its range becomes 0 or 71
// minutes.
func WaitArg(timeout, minTimeout time.Duration) uapi.RegWait {
	const longest = 1<<32 - 1
	w := uapi.RegWait{MinWaitUsec: uint32(max(0, min(minTimeout.Microseconds(), longest)))}
	if timeout >= 0 {
		w.TS, w.Flags = TimespecOf(timeout), uapi.IORING_REG_WAIT_TS
	}
	return w
}
