package uring

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring/uapi"
)

const (
	// MaxEntries is the largest submission queue (IORING_MAX_ENTRIES).
	MaxEntries = 32768
	// MaxCQEntries is the largest completion queue (IORING_MAX_CQ_ENTRIES).
	MaxCQEntries = 65536
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
	// Flags are the set-up flags. New adds those that belong to fields that are set.
	// SetupCQE32 and SetupCQEMixed exclude each other, and so do SetupSQE128 and
	// SetupSQEMixed.
	Flags SetupFlags
	// SQThreadCPU is the CPU that the thread of SetupSQPoll runs on, with SetupSQAff.
	SQThreadCPU int
	// SQThreadIdle is how long the thread of SetupSQPoll looks for SQEs before it sleeps: 0
	// (one second) to 49 days, rounded down to milliseconds. Submit wakes it.
	SQThreadIdle time.Duration
	// AttachTo is a ring whose workers, and whose thread of SetupSQPoll, the new ring
	// shares. nil means workers of its own.
	AttachTo *Ring
	// Memory is where the queues shall lie: mapped memory that begins with a page, not Go's
	// heap, of at least MemorySize bytes, which must stay mapped until after Close. nil
	// means that the kernel allocates it.
	Memory []byte
}

// Ring is an io_uring ring. liburing makes it and calls the kernel for it; Go code
// reads and writes the submission and completion queues. It belongs to the thread
// that made it: no method may be called on another one. The zero Ring is closed.
type Ring struct {
	h     handle
	mem   memory
	calls uint64 // see Calls

	buffers  map[int]*byte // the registered buffers, by their places
	requests *Requests     // nil if there are none

	generation uint32 // what the next Requests begin with: larger than any of the last
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
	sqDropped *uint32 // written by the kernel
	sqes      unsafe.Pointer
	sqeSize   uintptr
	sqMask    uint32
	sqEntries uint32

	cqHead     *uint32 // moved by Go
	cqTail     *uint32 // moved by the kernel
	cqOverflow *uint32
	cqFlags    *uint32 // written by Go: CQ_EVENTFD_DISABLED; nil before Linux 5.8
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
// Implements: int io_uring_queue_init_mem(unsigned entries, struct io_uring *ring, struct io_uring_params *p, void *buf, size_t buf_size)
func New(cfg Config) (*Ring, error) {
	cfg.clamp()
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if !haveLiburing {
		return nil, errUnsupported
	}
	p, err := cfg.params()
	if err != nil {
		return nil, err
	}
	h, errno := cNew(uint32(cfg.Entries), &p, cfg.Memory)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_setup", errno)
	}
	return &Ring{h: h, mem: cMemory(h)}, nil
}

// clamp reduces what is too large, with SetupClamp.
func (cfg *Config) clamp() {
	if cfg.Flags&SetupClamp != 0 {
		cfg.Entries, cfg.CQEntries = min(cfg.Entries, MaxEntries), min(cfg.CQEntries, MaxCQEntries)
	}
}

// params returns what io_uring_setup gets of a Config that check has accepted.
func (cfg *Config) params() (uapi.Params, error) {
	flags := cfg.Flags &^ (SetupCQSize | SetupAttachWQ | SetupNoMmap) // which say that fields are set
	p := uapi.Params{
		CQEntries: uint32(cfg.CQEntries), SQThreadCPU: uint32(cfg.SQThreadCPU),
		SQThreadIdle: uint32(cfg.SQThreadIdle.Milliseconds()),
	}
	if cfg.CQEntries > 0 {
		flags |= SetupCQSize
	}
	if cfg.Memory != nil {
		flags |= SetupNoMmap
	}
	if cfg.AttachTo != nil {
		if cfg.AttachTo.h == nil {
			return p, fmt.Errorf("uring: Config.AttachTo: %w", errClosed)
		}
		if cfg.AttachTo.FD() < 0 {
			return p, errors.New("uring: Config.AttachTo: the ring has no fd, only a registered one")
		}
		flags |= SetupAttachWQ
		p.WQFD = uint32(cfg.AttachTo.FD())
	}
	p.Flags = uint32(flags)
	return p, nil
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
	if both := SetupSQE128 | SetupSQEMixed; cfg.Flags&both == both {
		return fmt.Errorf("uring: Config.Flags %#x: SetupSQE128 and SetupSQEMixed exclude each other", uint32(cfg.Flags))
	}
	const longest = 1<<32 - 1
	if ms := cfg.SQThreadIdle.Milliseconds(); ms < 0 || ms > longest {
		return rangeError("Config.SQThreadIdle in ms", ms, 0, longest)
	}
	if cfg.SQThreadCPU < 0 || cfg.SQThreadCPU > 1<<20 {
		return rangeError("Config.SQThreadCPU", int64(cfg.SQThreadCPU), 0, 1<<20)
	}
	if cfg.Flags&SetupRegisteredFDOnly != 0 && cfg.Memory == nil {
		return fmt.Errorf("uring: Config.Flags %#x: SetupRegisteredFDOnly needs Config.Memory", uint32(cfg.Flags))
	}
	return cfg.checkMemory()
}

// checkMemory returns an error if Config.Memory cannot hold the queues: liburing tells a
// buffer that is too small only from its own sizes, and the kernel takes whole pages.
func (cfg *Config) checkMemory() error {
	if cfg.Memory == nil {
		return nil
	}
	if at := uintptr(unsafe.Pointer(unsafe.SliceData(cfg.Memory))); at%uintptr(os.Getpagesize()) != 0 {
		return fmt.Errorf("uring: Config.Memory begins at %#x: it must begin with a page", at)
	}
	if len(cfg.Memory) < os.Getpagesize() {
		return rangeError("length of Config.Memory", int64(len(cfg.Memory)), int64(os.Getpagesize()), math.MaxInt)
	}
	return nil
}

// Version returns the version of the liburing that the program is linked to, 0 and 0
// if it is built without.
//
// Implements: int io_uring_major_version(void)
// Implements: int io_uring_minor_version(void)
func Version() (major, minor int) { return liburingVersion() }

// CheckVersion reports whether the liburing that the program is linked to is at least that
// one. liburing's functions return the opposite.
//
// Implements: bool io_uring_check_version(int major, int minor)
// Implements: IO_URING_CHECK_VERSION(major,minor)
func CheckVersion(major, minor int) bool {
	have, haveMinor := Version()
	return have > major || have == major && haveMinor >= minor
}

// Enable starts a ring that was made with SetupDisabled. With SetupSingleIssuer, the
// calling thread becomes the one that may submit.
//
// Implements: int io_uring_enable_rings(struct io_uring *ring)
func (r *Ring) Enable() error {
	_, err := r.call(fnEnableRings)
	return err
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
	if r.requests != nil {
		r.requests.abandon()
		r.requests = nil
	}
	r.h, r.mem, r.buffers = nil, memory{}, nil
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

// FD returns the ring's file descriptor, -1 after Close and CloseRingFD. The caller must not
// close it.
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
func (r *Ring) SQSpaceLeft() int { return r.SQEntries() - r.SQReady() }

// SQReady returns how many entries the kernel has not taken yet.
//
// Implements: unsigned io_uring_sq_ready(const struct io_uring *ring)
// Implements: unsigned io_uring_load_sq_head(const struct io_uring *ring)
func (r *Ring) SQReady() int {
	if r.h == nil {
		return 0
	}
	return int(*r.mem.sqTail - atomic.LoadUint32(r.mem.sqHead))
}

// SQWait waits until the thread of SetupSQPoll has made room in a full submission queue, or a
// signal comes: look at SQSpaceLeft after it.
//
// Implements: int io_uring_sqring_wait(struct io_uring *ring)
// Implements: int __io_uring_sqring_wait(struct io_uring *ring)
func (r *Ring) SQWait() error {
	if r.h != nil && (r.mem.flags&SetupSQPoll == 0 || r.SQSpaceLeft() > 0) {
		return nil
	}
	_, err := r.call(fnInternalSQRingWait)
	return err
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

// GetSQE128 is GetSQE for an entry of 128 bytes, for PrepNop128 and PrepUringCmd128. It needs
// SetupSQE128 or SetupSQEMixed, and returns nil without. In a mixed ring the entry takes the
// places of two, and one more if they would not be next to each other: that becomes a request
// that does nothing and has no completion (SQECQESkipSuccess, after which the kernel refuses
// SQEDrain on the ring with EOPNOTSUPP).
//
// Implements: struct io_uring_sqe *io_uring_get_sqe128(struct io_uring *ring)
func (r *Ring) GetSQE128() *SQE {
	switch {
	case r.mem.flags&SetupSQE128 != 0: // not of a closed ring, which has no flags
		return r.GetSQE()
	case r.mem.flags&SetupSQEMixed == 0:
		return nil
	}
	m := &r.mem
	left := r.SQSpaceLeft()
	if (*m.sqTail+1)&m.sqMask == 0 { // at the last place
		if left < 3 {
			return nil
		}
		filler := r.GetSQE()
		filler.PrepNop()
		filler.Flags = SQECQESkipSuccess
	} else if left < 2 {
		return nil
	}
	s := r.GetSQE()
	*r.GetSQE() = SQE{}
	return s
}

// Command returns the part of an entry that belongs to the command of PrepUringCmd: 16 bytes,
// or 80 of an entry of 128 bytes, which must be one.
func (s *SQE) Command(of128 bool) []byte {
	const offset, whole = unsafe.Offsetof(SQE{}.Addr3), 128
	size := sqeSize - offset
	if of128 {
		size = whole - offset
	}
	if s.isTracked() { // the mark lies there
		(*trackedSQE)(unsafe.Pointer(s)).commanded = true
		s.tracked = 0
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&s.Addr3)), size)
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
// Implements: int io_uring_submit_and_wait(struct io_uring *ring, unsigned wait_nr)
// Implements: int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe_ptr, unsigned wait_nr, struct __kernel_timespec *ts, sigset_t *sigmask)
func (r *Ring) SubmitAndWait(waitFor int, timeout time.Duration) (int, error) {
	if err := r.checkWait(waitFor); err != nil {
		return 0, err
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
	return r.h != nil && atomic.LoadUint32(r.mem.sqFlags)&uapi.IORING_SQ_CQ_OVERFLOW != 0
}

// EventfdEnabled reports whether completions are counted in the eventfd that is registered.
//
// Implements: bool io_uring_cq_eventfd_enabled(const struct io_uring *ring)
func (r *Ring) EventfdEnabled() bool {
	return r.h != nil && (r.mem.cqFlags == nil || atomic.LoadUint32(r.mem.cqFlags)&uapi.IORING_CQ_EVENTFD_DISABLED == 0)
}

// EnableEventfd has completions counted in the eventfd, or not (Linux 5.8).
//
// Implements: int io_uring_cq_eventfd_toggle(struct io_uring *ring, bool enabled)
func (r *Ring) EnableEventfd(enabled bool) error {
	switch {
	case r.h == nil:
		return errClosed
	case enabled == r.EventfdEnabled():
		return nil
	case r.mem.cqFlags == nil:
		return os.NewSyscallError("io_uring_cq_eventfd_toggle", syscall.EOPNOTSUPP)
	}
	flags := atomic.LoadUint32(r.mem.cqFlags) | uapi.IORING_CQ_EVENTFD_DISABLED
	if enabled {
		flags &^= uapi.IORING_CQ_EVENTFD_DISABLED
	}
	atomic.StoreUint32(r.mem.cqFlags, flags)
	return nil
}

// Dropped returns the number of completions that the kernel lost, because it had no
// memory to keep them in when the completion queue was full.
func (r *Ring) Dropped() int {
	if r.h == nil {
		return 0
	}
	return int(atomic.LoadUint32(r.mem.cqOverflow))
}

// Refused returns the number of entries that the kernel did not take because their index was
// invalid, which GetSQE never makes.
func (r *Ring) Refused() int {
	if r.h == nil || r.mem.sqDropped == nil {
		return 0
	}
	return int(atomic.LoadUint32(r.mem.sqDropped))
}

// DontFork keeps the queues out of child processes (madvise(2) with MADV_DONTFORK).
//
// Implements: int io_uring_ring_dontfork(struct io_uring *ring)
func (r *Ring) DontFork() error {
	_, err := r.call(fnRingDontfork)
	return err
}

// Resize changes the sizes of the queues. Completions that were not read stay, and must have
// room; entries must have been submitted. cqEntries 0 means twice entries. It needs
// SetupDeferTaskrun, and a ring with an fd (Linux 6.13).
//
// Implements: int io_uring_resize_rings(struct io_uring *ring, struct io_uring_params *p)
func (r *Ring) Resize(entries, cqEntries int) error {
	cfg := Config{Entries: entries, CQEntries: cqEntries}
	if err := cfg.check(); err != nil {
		return err
	}
	if err := r.Check("io_uring_resize_rings"); err != nil {
		return err
	}
	if n := r.SQReady(); n > 0 {
		return fmt.Errorf("uring: resize: %d entries are not submitted: there must be none", n)
	}
	if r.mem.fd < 0 {
		return fmt.Errorf("uring: resize: the ring has no fd, only a registered one: %w", syscall.EINVAL)
	}
	p := &uapi.Params{SQEntries: uint32(entries), CQEntries: uint32(cqEntries)}
	if cqEntries > 0 {
		p.Flags = uint32(SetupCQSize)
	}
	_, err := r.call(fnResizeRings, address(p))
	runtime.KeepAlive(p)
	if err == nil {
		r.mem = cMemory(r.h)
	}
	return err
}

// Calls returns how many calls of the ring's methods have entered C. Check is one of
// them, hence each call through Pointer counts too.
func (r *Ring) Calls() uint64 { return r.calls }
