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
	SetupCQSize       SetupFlags = 1 << 3  // use Config.CQEntries; New sets the flag when it is not 0
	SetupClamp        SetupFlags = 1 << 4  // reduce sizes that are too large instead of refusing them
	SetupDisabled     SetupFlags = 1 << 6  // R_DISABLED: the ring takes no request before Enable
	SetupSubmitAll    SetupFlags = 1 << 7  // go on submitting after a bad SQE (Linux 5.18)
	SetupCoopTaskrun  SetupFlags = 1 << 8  // do not interrupt the thread for task work (Linux 5.19)
	SetupTaskrunFlag  SetupFlags = 1 << 9  // show pending task work in the SQ flags (Linux 5.19)
	SetupSQE128       SetupFlags = 1 << 10 // 128-byte submission queue entries (Linux 5.19)
	SetupCQE32        SetupFlags = 1 << 11 // 32-byte completions (Linux 5.19)
	SetupSingleIssuer SetupFlags = 1 << 12 // only one thread submits (Linux 6.0)
	SetupDeferTaskrun SetupFlags = 1 << 13 // run task work only in a wait or submit that asks for it (Linux 6.1)
	SetupNoSQArray    SetupFlags = 1 << 16 // SQEs are taken in order; liburing sets it (Linux 6.6)
	SetupCQEMixed     SetupFlags = 1 << 18 // 16- and 32-byte completions (Linux 6.18)
)

const knownFlags = SetupCQSize | SetupClamp | SetupDisabled | SetupSubmitAll | SetupCoopTaskrun | SetupTaskrunFlag |
	SetupSQE128 | SetupCQE32 | SetupSingleIssuer | SetupDeferTaskrun | SetupNoSQArray | SetupCQEMixed

// Features are the IORING_FEAT_* flags of a ring: what its kernel supports.
type Features uint32

// The features that are newer than Linux 6.1.
const (
	FeatRecvSendBundle Features = 1 << 14 // receives and sends over several provided buffers (Linux 6.10)
	FeatMinTimeout     Features = 1 << 15 // waits with a minimum time (Linux 6.12)
)

const (
	// MaxEntries is the largest submission queue (IORING_MAX_ENTRIES).
	MaxEntries = 32768
	// MaxCQEntries is the largest completion queue (IORING_MAX_CQ_ENTRIES).
	MaxCQEntries = 65536

	sqCQOverflow = 1 << 1 // IORING_SQ_CQ_OVERFLOW
)

// ErrWrongThread is what a method's error wraps if it was not called on the thread
// that owns the ring. It matches syscall.EEXIST, the kernel's errno for such calls.
var ErrWrongThread = fmt.Errorf("called off the thread that owns the ring: %w", syscall.EEXIST)

var (
	errClosed      = fmt.Errorf("uring: ring: %w", os.ErrClosed)
	errUnsupported = fmt.Errorf("uring: %w: build for Linux with CGO_ENABLED=1 and a C compiler", errors.ErrUnsupported)
)

// Config has the parameters of a ring.
type Config struct {
	// Entries is the number of submission queue entries, 1 to MaxEntries; the kernel
	// rounds it up to a power of two.
	Entries int
	// CQEntries is the number of completion queue entries, Entries to MaxCQEntries,
	// also rounded up to a power of two. 0 means twice Entries.
	CQEntries int
	// Flags are the set-up flags. New adds SetupCQSize if CQEntries is not 0.
	// SetupCQE32 and SetupCQEMixed exclude each other.
	Flags SetupFlags
}

// Ring is an io_uring ring. liburing makes it and calls the kernel for it; Go code
// reads and writes the submission and completion queues. It belongs to the thread
// that made it: no method may be called on another one. The zero Ring is closed.
type Ring struct {
	h     handle
	mem   memory
	calls uint64 // see Calls
}

// memory describes the queues that liburing mapped, so that Go can take SQEs and
// read completions without calling C.
type memory struct {
	fd       int
	flags    SetupFlags // as the kernel granted them
	features Features

	sqHead    *uint32 // moved by the kernel
	sqTail    *uint32 // liburing's private tail, published by the next submit
	sqFlags   *uint32 // written by the kernel: SQ_CQ_OVERFLOW and others
	sqes      unsafe.Pointer
	sqeSize   uintptr
	sqMask    uint32
	sqEntries uint32

	cqHead     *uint32 // moved by Go
	cqTail     *uint32 // moved by the kernel
	cqOverflow *uint32
	cqes       unsafe.Pointer
	cqMask     uint32
	cqEntries  uint32
}

// New makes a ring that belongs to the calling thread. The goroutine must stay locked
// to that thread (runtime.LockOSThread) until the ring is closed. The caller must
// Close it.
//
// Errors of io_uring_setup: ENOSYS or EPERM if io_uring is compiled out or forbidden
// (seccomp, kernel.io_uring_disabled); EINVAL for flags that the kernel does not
// know; EMFILE; ENOMEM. In Linux 6.16 to 7.1 the queues count against
// RLIMIT_MEMLOCK, and those of a closed ring still do for some milliseconds.
//
// Implements: int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *p)
func New(cfg Config) (*Ring, error) {
	if cfg.Flags&SetupClamp != 0 {
		cfg.Entries, cfg.CQEntries = min(cfg.Entries, MaxEntries), min(cfg.CQEntries, MaxCQEntries)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Flags &^= SetupCQSize // which says that CQEntries is not 0
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
	if cfg.Entries < 1 || cfg.Entries > MaxEntries {
		return rangeError("Config.Entries", int64(cfg.Entries), 1, MaxEntries)
	}
	if cfg.CQEntries < 0 || cfg.CQEntries > MaxCQEntries || (cfg.CQEntries > 0 && cfg.CQEntries < cfg.Entries) {
		return rangeError("Config.CQEntries", int64(cfg.CQEntries), int64(cfg.Entries), MaxCQEntries)
	}
	if unknown := cfg.Flags &^ knownFlags; unknown != 0 {
		return fmt.Errorf("uring: Config.Flags %#x: %#x is unknown to this package: allowed are the bits of %#x", uint32(cfg.Flags), uint32(unknown), uint32(knownFlags))
	}
	if both := SetupCQE32 | SetupCQEMixed; cfg.Flags&both == both {
		return fmt.Errorf("uring: Config.Flags %#x: SetupCQE32 and SetupCQEMixed exclude each other", uint32(cfg.Flags))
	}
	return nil
}

// rangeError returns the error for a number outside its allowed range.
func rangeError(what string, value, low, high int64) error {
	return fmt.Errorf("uring: %s %d is out of range: allowed are %d to %d", what, value, low, high)
}

// Version returns the version of the liburing that the program is linked to, 0 and 0
// if it is built without.
func Version() (major, minor int) { return liburingVersion() }

// Enable starts a ring that was made with SetupDisabled. With SetupSingleIssuer, the
// calling thread becomes the one that may submit.
//
// Implements: int io_uring_enable_rings(struct io_uring *ring)
func (r *Ring) Enable() error {
	return r.register("io_uring_enable_rings", func() syscall.Errno { return cEnable(r.h) })
}

// Close cancels the requests in flight, unmaps the queues and closes the fd. A PrepSendZC
// whose bytes are queued cannot be cancelled: the kernel reads its memory until the peer has
// acknowledged them or the connection is reset, so the memory must stay until then. The
// kernel frees what was registered on the ring some time after Close returned. A second
// Close does nothing and returns nil. Once the thread that owns the ring has ended, any
// other may close it; the caller must see to it that one goroutine does.
//
// Implements: void io_uring_queue_exit(struct io_uring *ring)
func (r *Ring) Close() error {
	if r.h == nil {
		return nil
	}
	switch err := r.Check("io_uring_queue_exit"); {
	case err == nil:
		cFree(r.h)
	case cOwnerEnded(r.h):
		cFreeOrphan(r.h)
	default:
		return err
	}
	r.h, r.mem = nil, memory{}
	return nil
}

// Pointer returns the ring's struct io_uring, for programs that call liburing
// themselves, and nil after Close. Call Check before each such call. The struct must
// not be copied, and no call may move or resize the queues.
func (r *Ring) Pointer() unsafe.Pointer { return pointerOf(r.h) }

// Check returns an error if the ring is closed, or if the calling thread does not own
// it; the latter is an *os.SyscallError that names call. Check is for calls that use
// Pointer: the methods of Ring that call the kernel check by themselves.
func (r *Ring) Check(call string) error {
	if r.h == nil {
		return errClosed
	}
	if !cOnOwner(r.h) {
		return os.NewSyscallError(call, ErrWrongThread)
	}
	r.calls++ // not before: on another thread it would be a data race
	return nil
}

// FD returns the ring's file descriptor, -1 after Close. The caller must not close it.
func (r *Ring) FD() int {
	if r.h == nil {
		return -1
	}
	return r.mem.fd
}

// Flags returns the set-up flags that the ring has.
func (r *Ring) Flags() SetupFlags { return r.mem.flags }

// Features returns what the kernel supports, as reported when the ring was made.
func (r *Ring) Features() Features { return r.mem.features }

// SQEntries returns the number of submission queue entries that the kernel granted.
func (r *Ring) SQEntries() int { return int(r.mem.sqEntries) }

// CQEntries returns the number of completion queue entries that the kernel granted,
// of 32 bytes each with SetupCQE32, else of 16.
func (r *Ring) CQEntries() int { return int(r.mem.cqEntries) }

// SQSpaceLeft returns how many submission queue entries GetSQE can still take.
//
// Implements: unsigned io_uring_sq_space_left(const struct io_uring *ring)
func (r *Ring) SQSpaceLeft() int {
	if r.h == nil {
		return 0
	}
	m := &r.mem
	return int(m.sqEntries - (*m.sqTail - atomic.LoadUint32(m.sqHead)))
}

// GetSQE returns the next free submission queue entry, zeroed, or nil if the queue is
// full: then call Submit first. The next Submit or SubmitAndWait hands the entry to
// the kernel, and it must not be used after that. A closed ring has no entries.
//
// Implements: struct io_uring_sqe *io_uring_get_sqe(struct io_uring *ring)
func (r *Ring) GetSQE() *SQE {
	if r.h == nil {
		return nil
	}
	m := &r.mem
	tail := *m.sqTail
	if tail-atomic.LoadUint32(m.sqHead) >= m.sqEntries {
		return nil
	}
	// The mask keeps the index inside the array that liburing mapped.
	sqe := (*SQE)(unsafe.Add(m.sqes, uintptr(tail&m.sqMask)*m.sqeSize))
	*sqe = SQE{}
	if m.sqeSize > sqeSize {
		*(*SQE)(unsafe.Add(unsafe.Pointer(sqe), sqeSize)) = SQE{} // the second half
	}
	*m.sqTail = tail + 1
	return sqe
}

// Submit hands the queued SQEs to the kernel and runs deferred task work. It does not
// wait. It returns the number of SQEs that the kernel took.
//
// Implements: int io_uring_submit_and_get_events(struct io_uring *ring)
func (r *Ring) Submit() (int, error) { return r.submit(0, 0) }

// SubmitAndWait hands the queued SQEs to the kernel, and waits until waitFor completions (0
// to CQEntries) are there or the timeout has passed. If so many are there already it does
// not run deferred task work, which Submit does; a negative timeout waits for ever.
// If the timeout passes or a signal arrives, it returns no error, and there may be
// fewer completions.
//
// Implements: int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct __kernel_timespec *ts, sigset_t *sigmask)
func (r *Ring) SubmitAndWait(waitFor int, timeout time.Duration) (int, error) {
	if r.h == nil {
		return 0, errClosed
	}
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
	n, errno := cSubmit(r.h, waitFor, int64(timeout))
	if errno == syscall.EEXIST {
		return 0, os.NewSyscallError(call, ErrWrongThread)
	}
	r.calls++
	switch errno {
	case 0:
		return n, nil
	case sys.ETIME, syscall.EINTR:
		return 0, nil
	}
	return 0, os.NewSyscallError(call, errno)
}

// Overflown reports whether completions wait in the kernel because the completion
// queue was full. The next Submit moves as many into the queue as there is room for.
// Dropped does not count them: they are not lost.
//
// Implements: bool io_uring_cq_has_overflow(const struct io_uring *ring)
func (r *Ring) Overflown() bool {
	return r.h != nil && atomic.LoadUint32(r.mem.sqFlags)&sqCQOverflow != 0
}

// Dropped returns the number of completions that the kernel lost, because it had no
// memory to keep them in when the completion queue was full.
func (r *Ring) Dropped() int {
	if r.h == nil {
		return 0
	}
	return int(atomic.LoadUint32(r.mem.cqOverflow))
}

// Calls returns how many calls of the ring's methods have entered C. Check is one of
// them, hence each call through Pointer counts too.
func (r *Ring) Calls() uint64 { return r.calls }
