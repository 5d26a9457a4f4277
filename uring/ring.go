package uring

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// SetupFlags are the IORING_SETUP_* flags of a ring (uapi linux/io_uring.h).
type SetupFlags uint32

// The set-up flags that this package can work with.
const (
	SetupCQSize       SetupFlags = 1 << 3  // Config.CQEntries counts; New adds it
	SetupClamp        SetupFlags = 1 << 4  // too large sizes are cut, not refused
	SetupDisabled     SetupFlags = 1 << 6  // R_DISABLED: nothing runs before Enable
	SetupSubmitAll    SetupFlags = 1 << 7  // go on submitting after a bad SQE (Linux 5.18)
	SetupCoopTaskrun  SetupFlags = 1 << 8  // no interrupt for task work (Linux 5.19)
	SetupTaskrunFlag  SetupFlags = 1 << 9  // tell of task work in the SQ flags (Linux 5.19)
	SetupCQE32        SetupFlags = 1 << 11 // 32-byte completions (Linux 5.19)
	SetupSingleIssuer SetupFlags = 1 << 12 // one thread submits (Linux 6.0)
	SetupDeferTaskrun SetupFlags = 1 << 13 // task work runs only when asked for (Linux 6.1)
	SetupNoSQArray    SetupFlags = 1 << 16 // SQEs in order; liburing asks for it (Linux 6.6)
	SetupCQEMixed     SetupFlags = 1 << 18 // 16- and 32-byte completions (Linux 6.18)
)

// Features are the IORING_FEAT_* flags of a ring: what its kernel can do.
type Features uint32

// The features that tell more than that the kernel is not ancient.
const (
	FeatRecvSendBundle Features = 1 << 14 // bundles of provided buffers (Linux 6.10)
	FeatMinTimeout     Features = 1 << 15 // a wait may have a least time (Linux 6.12)
)

const (
	// MaxEntries is the largest submission queue (IORING_MAX_ENTRIES).
	MaxEntries = 32768
	// MaxCQEntries is the largest completion queue (IORING_MAX_CQ_ENTRIES).
	MaxCQEntries = 65536

	sqCQOverflow = 1 << 1 // IORING_SQ_CQ_OVERFLOW
)

// ErrWrongThread is in the error of a call off the thread that owns the ring. It
// matches syscall.EEXIST, with which the kernel refuses such calls.
var ErrWrongThread = fmt.Errorf("called off the thread that owns the ring: %w", syscall.EEXIST)

var (
	errClosed      = fmt.Errorf("uring: ring: %w", os.ErrClosed)
	errUnsupported = fmt.Errorf("uring: %w: build for Linux with CGO_ENABLED=1 and a C compiler", errors.ErrUnsupported)
)

// Config says how a ring is made.
type Config struct {
	// Entries is the number of submission queue entries, 1 to MaxEntries; the kernel
	// rounds it up to a power of two.
	Entries int
	// CQEntries is the number of completion queue entries, Entries to MaxCQEntries,
	// rounded up likewise. 0 means twice Entries.
	CQEntries int
	// Flags are the set-up flags. SetupCQSize is added where CQEntries asks for
	// it. SetupCQE32 and SetupCQEMixed exclude each other.
	Flags SetupFlags
}

// Ring is one io_uring ring: liburing's, with the submission and completion
// queues read and written from Go. It belongs to the thread that made it: no
// method may be called from another one. The zero Ring is a closed one.
type Ring struct {
	h     handle
	mem   memory
	calls uint64 // entries into C on behalf of this ring
}

// memory is where liburing mapped the queues: what Go needs to take SQEs and to
// walk completions without entering C.
type memory struct {
	fd       int
	flags    SetupFlags // as granted
	features Features

	sqHead    *uint32 // moved by the kernel
	sqTail    *uint32 // liburing's private tail, published by the next submit
	sqFlags   *uint32 // written by the kernel: SQ_CQ_OVERFLOW and others
	sqes      unsafe.Pointer
	sqMask    uint32
	sqEntries uint32

	cqHead     *uint32 // moved by Go
	cqTail     *uint32 // moved by the kernel
	cqOverflow *uint32
	cqes       unsafe.Pointer
	cqMask     uint32
	cqEntries  uint32
}

// New makes a ring that belongs to the calling thread, which must be locked with
// runtime.LockOSThread for as long as the ring lives. The caller must Close it.
//
// Errors of io_uring_setup to expect: ENOSYS and EPERM where io_uring is compiled out
// or forbidden (seccomp, kernel.io_uring_disabled), EINVAL for flags that the kernel
// does not know, EMFILE, and ENOMEM: in Linux 6.16 to 7.1 the queues count against
// RLIMIT_MEMLOCK, where a ring closed just before still counts for some
// milliseconds.
//
// Implements: int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
func New(cfg Config) (*Ring, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if !haveLiburing {
		return nil, errUnsupported
	}
	if cfg.CQEntries > 0 {
		cfg.Flags |= SetupCQSize
	}
	h, mem, errno := cNew(uint32(cfg.Entries), uint32(cfg.CQEntries), cfg.Flags)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	return &Ring{h: h, mem: mem}, nil
}

func (cfg *Config) check() error {
	clamp := cfg.Flags&SetupClamp != 0
	if cfg.Entries < 1 || (cfg.Entries > MaxEntries && !clamp) {
		return rangeError("Config.Entries", int64(cfg.Entries), 1, MaxEntries)
	}
	if cfg.CQEntries < 0 || (cfg.CQEntries > MaxCQEntries && !clamp) ||
		(cfg.CQEntries > 0 && cfg.CQEntries < cfg.Entries) {
		return rangeError("Config.CQEntries", int64(cfg.CQEntries), int64(cfg.Entries), MaxCQEntries)
	}
	if both := SetupCQE32 | SetupCQEMixed; cfg.Flags&both == both {
		return fmt.Errorf("uring: Config.Flags %#x: SetupCQE32 and SetupCQEMixed exclude each other", uint32(cfg.Flags))
	}
	return nil
}

// rangeError says that a number is outside its allowed range.
func rangeError(what string, value, low, high int64) error {
	return fmt.Errorf("uring: %s %d is out of range: allowed are %d to %d", what, value, low, high)
}

// Version is the version of the liburing that this build is linked to, 0.0 without.
func Version() (major, minor int) { return liburingVersion() }

// Enable starts a ring that was made with SetupDisabled and makes the calling
// thread its submitter.
//
// Implements: int io_uring_enable_rings(struct io_uring *ring)
func (r *Ring) Enable() error {
	return r.register("io_uring_enable_rings", func() syscall.Errno { return cEnable(r.h) })
}

// Close cancels what is in flight, unmaps the ring and closes its fd. The
// kernel tears down what was registered on it some time later. Close is
// idempotent.
//
// Implements: void io_uring_queue_exit(struct io_uring *ring)
func (r *Ring) Close() error {
	if r.h == nil {
		return nil
	}
	if err := r.Check("io_uring_queue_exit"); err != nil {
		return err
	}
	cFree(r.h)
	r.h, r.mem = nil, memory{}
	return nil
}

// Pointer is the ring's struct io_uring, nil after Close, for whoever calls liburing
// himself: call Check before, on every call. It must not be copied, and nothing may
// be done through it that moves or resizes the queues.
func (r *Ring) Pointer() unsafe.Pointer { return pointerOf(r.h) }

// Check returns an error if the ring is closed, or the calling thread is not the
// one that owns it; the error names call. Methods of Ring that call the kernel check by
// themselves: Check is for calls that use Pointer.
func (r *Ring) Check(call string) error {
	if r.h == nil {
		return errClosed
	}
	r.calls++
	if !cOnOwner(r.h) {
		return os.NewSyscallError(call, ErrWrongThread)
	}
	return nil
}

// FD is the ring's file descriptor, -1 after Close. It stays the ring's.
func (r *Ring) FD() int {
	if r.h == nil {
		return -1
	}
	return r.mem.fd
}

// Flags are the set-up flags that the ring has.
func (r *Ring) Flags() SetupFlags { return r.mem.flags }

// Features are the kernel's features that set-up told of.
func (r *Ring) Features() Features { return r.mem.features }

// SQEntries is the number of submission queue entries that the kernel granted.
func (r *Ring) SQEntries() int { return int(r.mem.sqEntries) }

// CQEntries is the number of completion queue entries that the kernel granted, of 16
// bytes each unless the ring has SetupCQE32.
func (r *Ring) CQEntries() int { return int(r.mem.cqEntries) }

// SQSpaceLeft is the number of submission queue entries that GetSQE has left.
//
// Implements: unsigned io_uring_sq_space_left(const struct io_uring *ring)
func (r *Ring) SQSpaceLeft() int {
	m := &r.mem
	return int(m.sqEntries - (*m.sqTail - atomic.LoadUint32(m.sqHead)))
}

// GetSQE takes the next free submission queue entry, zeroed, or returns nil when
// the queue is full: then Submit and take again. The entry goes to the kernel with
// the next Submit or SubmitAndWait and must not be touched after that. The ring must
// not be closed.
//
// Implements: struct io_uring_sqe *io_uring_get_sqe(struct io_uring *ring)
func (r *Ring) GetSQE() *SQE {
	m := &r.mem
	tail := *m.sqTail
	if tail-atomic.LoadUint32(m.sqHead) >= m.sqEntries {
		return nil
	}
	// The mask keeps the index inside the array that liburing mapped.
	sqe := (*SQE)(unsafe.Add(m.sqes, uintptr(tail&m.sqMask)*unsafe.Sizeof(SQE{})))
	*sqe = SQE{}
	*m.sqTail = tail + 1
	return sqe
}

// Submit hands the queued SQEs to the kernel, runs deferred task work, and does
// not wait. It returns the number of SQEs taken.
//
// Implements: int io_uring_submit_and_get_events(struct io_uring *ring)
func (r *Ring) Submit() (int, error) { return r.submit(0, 0) }

// SubmitAndWait is Submit, and then waits until waitFor completions are there or
// the time-out has passed; a negative timeout waits for ever. A time-out and a
// signal are no errors: there are just fewer completions.
//
// Implements: int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct __kernel_timespec *ts, sigset_t *sigmask)
func (r *Ring) SubmitAndWait(waitFor int, timeout time.Duration) (int, error) {
	if waitFor < 0 || waitFor > int(r.mem.cqEntries) {
		return 0, rangeError("number of completions to wait for", int64(waitFor), 0, int64(r.mem.cqEntries))
	}
	return r.submit(uint32(waitFor), timeout)
}

func (r *Ring) submit(waitFor uint32, timeout time.Duration) (int, error) {
	const call = "io_uring_enter"
	if r.h == nil {
		return 0, errClosed
	}
	r.calls++
	n, errno := cSubmit(r.h, waitFor, int64(timeout))
	switch errno {
	case 0:
		return n, nil
	case sys.ETIME, syscall.EINTR:
		return 0, nil
	case syscall.EEXIST:
		return 0, os.NewSyscallError(call, ErrWrongThread)
	}
	return 0, os.NewSyscallError(call, errno)
}

// Overflown tells whether completions wait in the kernel because the
// completion queue was full. The next Submit brings them, as far as there is
// room. The flag is the one to ask: the ring's overflow counter stays 0 for
// completions that were kept (Linux 7.3).
//
// Implements: bool io_uring_cq_has_overflow(const struct io_uring *ring)
func (r *Ring) Overflown() bool {
	return atomic.LoadUint32(r.mem.sqFlags)&sqCQOverflow != 0
}

// Dropped is the number of completions that the kernel could not even keep.
func (r *Ring) Dropped() int { return int(atomic.LoadUint32(r.mem.cqOverflow)) }

// Calls is the number of entries into C that the ring's methods made.
func (r *Ring) Calls() uint64 { return r.calls }
