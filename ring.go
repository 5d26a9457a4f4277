package zcrx

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// SetupFlags are the IORING_SETUP_* flags of a ring (uapi linux/io_uring.h).
type SetupFlags uint32

// The set-up flags that zcrx and modern networking use.
const (
	SetupCQSize       SetupFlags = 1 << 3  // RingConfig.CQEntries counts
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

const (
	sqCQOverflow = 1 << 1 // IORING_SQ_CQ_OVERFLOW

	maxSQEntries = 32768 // IORING_MAX_ENTRIES
	maxCQEntries = 65536 // IORING_MAX_CQ_ENTRIES
)

// RingConfig says how a ring is made.
type RingConfig struct {
	// Entries is the number of submission queue entries, 1 to 32768; the kernel
	// rounds it up to a power of two.
	Entries int
	// CQEntries is the number of completion queue entries, Entries to 65536,
	// rounded up likewise. 0 leaves it at twice Entries.
	CQEntries int
	// Flags are the set-up flags. SetupCQSize is added where CQEntries asks for
	// it. SetupCQE32 and SetupCQEMixed exclude each other.
	Flags SetupFlags
}

// Ring is one io_uring ring: liburing's, with the submission and completion
// queues read and written from Go. It belongs to the thread that made it: no
// method may be called from another one (runtime.LockOSThread, or a Loop, which
// does that). Methods that enter the kernel answer EEXIST elsewhere.
type Ring struct {
	h     ringHandle
	mem   ringMemory
	calls uint64 // entries into C on behalf of this ring
}

// NewRing makes a ring that belongs to the calling thread, which must be locked
// with runtime.LockOSThread for as long as the ring lives. The caller must
// Close it. Errors: *UnsupportedError where io_uring cannot be had,
// *KernelError else. A memlock limit that rings closed just before still fill is
// waited for, up to 2 seconds.
func NewRing(cfg RingConfig) (*Ring, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if !haveLiburing {
		return nil, unsupportedBuild("io_uring")
	}
	if cfg.CQEntries > 0 {
		cfg.Flags |= SetupCQSize
	}
	var r *Ring
	need := cfg.memory()
	err := charges.await(context.Background(), need, func() error {
		h, mem, errno := cRingNew(uint32(cfg.Entries), uint32(cfg.CQEntries), cfg.Flags)
		if errno != 0 {
			return setupError(errno, need)
		}
		r = &Ring{h: h, mem: mem}
		return nil
	})
	return r, err
}

func (cfg *RingConfig) check() error {
	clamp := cfg.Flags&SetupClamp != 0
	if cfg.Entries < 1 || (cfg.Entries > maxSQEntries && !clamp) {
		return rangeError("RingConfig.Entries", int64(cfg.Entries), 1, maxSQEntries)
	}
	if cfg.CQEntries < 0 || (cfg.CQEntries > maxCQEntries && !clamp) ||
		(cfg.CQEntries > 0 && cfg.CQEntries < cfg.Entries) {
		return rangeError("RingConfig.CQEntries", int64(cfg.CQEntries), int64(cfg.Entries), maxCQEntries)
	}
	if both := SetupCQE32 | SetupCQEMixed; cfg.Flags&both == both {
		return fmt.Errorf("zcrx: RingConfig.Flags %#x: SetupCQE32 and SetupCQEMixed exclude each other", uint32(cfg.Flags))
	}
	return nil
}

// memory is what the kernel allocates for the queues, in bytes, and charges to
// memlock in Linux 6.16 to 7.1: whole pages of submission queue entries, and whole
// pages of completions, with the heads and tails of both queues before them.
func (cfg *RingConfig) memory() uint64 {
	const entry, heads = 64, 320 // sizeof struct io_uring_sqe, struct io_rings
	submissions := roundUpPow2(uint32(min(cfg.Entries, maxSQEntries)))
	completions, size := 2*submissions, uint64(16)
	if cfg.CQEntries > 0 {
		completions = roundUpPow2(uint32(min(cfg.CQEntries, maxCQEntries)))
	}
	if cfg.Flags&SetupCQE32 != 0 {
		size = 32
	}
	return wholePages(uint64(submissions)*entry) + wholePages(heads+uint64(completions)*size)
}

// Enable starts a ring that was made with SetupDisabled and makes the calling
// thread its submitter.
func (r *Ring) Enable() error {
	if err := r.check("enable ring"); err != nil {
		return err
	}
	return kernelError("enable ring", cRingEnable(r.h))
}

// Close cancels what is in flight, unmaps the ring and closes its fd. The
// kernel tears down what was registered on it some time later. Close is
// idempotent.
func (r *Ring) Close() error {
	if r.h == nil {
		return nil
	}
	if err := r.check("close ring"); err != nil {
		return err
	}
	cRingFree(r.h)
	charges.givenUp()
	r.h, r.mem = nil, ringMemory{fd: -1}
	return nil
}

// FD is the ring's file descriptor, -1 after Close. It stays the ring's.
func (r *Ring) FD() int { return r.mem.fd }

// Flags are the set-up flags that the ring has.
func (r *Ring) Flags() SetupFlags { return r.mem.flags }

// SQEntries and CQEntries are the sizes that the kernel granted.
func (r *Ring) SQEntries() int { return int(r.mem.sqEntries) }

// CQEntries is the number of completion queue entries, of 16 bytes each unless
// the ring has SetupCQE32.
func (r *Ring) CQEntries() int { return int(r.mem.cqEntries) }

// GetSQE takes the next free submission queue entry, zeroed, or nil when the
// queue is full: then Submit and take again. The entry goes to the kernel with
// the next Submit or SubmitAndWait and must not be touched after that.
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
// not wait. It answers the number of SQEs taken.
func (r *Ring) Submit() (int, error) { return r.turn(0, 0, nil) }

// SubmitAndWait is Submit, and then waits until waitFor completions are there or
// the time-out has passed; a negative timeout waits for ever. A time-out and a
// signal are no errors: there are just fewer completions.
func (r *Ring) SubmitAndWait(waitFor int, timeout time.Duration) (int, error) {
	if waitFor < 0 || waitFor > int(r.mem.cqEntries) {
		return 0, rangeError("number of completions to wait for", int64(waitFor), 0, int64(r.mem.cqEntries))
	}
	return r.turn(uint32(waitFor), timeout, nil)
}

// turn is the one call into C that a turn of a loop makes: flush, submit, wait.
func (r *Ring) turn(waitFor uint32, timeout time.Duration, flushes []flushRequest) (int, error) {
	if r.h == nil {
		return 0, ErrClosed
	}
	r.calls++
	n, errno := cRingTurn(r.h, waitFor, int64(timeout), flushes)
	switch errno {
	case 0:
		return n, nil
	case sys.ETIME, syscall.EINTR:
		return 0, nil
	case syscall.EEXIST:
		return 0, wrongThread("submit")
	}
	return 0, kernelError("submit", errno)
}

// Overflown tells whether completions wait in the kernel because the
// completion queue was full. The next Submit brings them, as far as there is
// room. The flag is the one to ask: the ring's overflow counter stays 0 for
// completions that were kept (Linux 7.3).
func (r *Ring) Overflown() bool {
	return atomic.LoadUint32(r.mem.sqFlags)&sqCQOverflow != 0
}

// Dropped is the number of completions that the kernel could not even keep.
func (r *Ring) Dropped() int { return int(atomic.LoadUint32(r.mem.cqOverflow)) }

// check refuses a call on a closed ring or off its thread, before the kernel is
// asked.
func (r *Ring) check(op string) error {
	if r.h == nil {
		return ErrClosed
	}
	r.calls++
	if !cRingOnOwner(r.h) {
		return wrongThread(op)
	}
	return nil
}
