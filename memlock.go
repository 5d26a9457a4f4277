package zcrx

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// The kernel charges what it pins to RLIMIT_MEMLOCK, unless the process has CAP_IPC_LOCK:
// the areas and refill queues of pools, and in Linux 6.16 to 7.1 also rings and
// provided-buffer rings. Two things about that are easy to get wrong:
//
//   - The charge counts for the user, over all processes. No file shows how much it is: in
//     /proc/self/status, VmLck is about mlock(2) and VmPin about this process's areas only.
//   - The charge of a ring and its pools ends only when a kernel worker frees them, some
//     time after the ring was closed or its process ended. The charge of a provided-buffer
//     ring ends with the call that unregisters it, and a refused call leaves no charge.

// chargeTimeout bounds how long a charge may take to end. It took 30 ms on an idle machine
// and 0.6 s on one with four times more work than processors.
const chargeTimeout = 2 * time.Second

// maxChargePause is the longest pause between two tries. Tries should be few: each may pin
// a large area before it is refused.
const maxChargePause = 200 * time.Millisecond

// charges decides whether a set-up that finds the limit used up waits. It is global because
// the limit is: a ring that one part of a program closed is in the way of the next ring of
// another part. Without it, either every refusal would come late, or a limit that is full
// for a moment would look too small. Close cannot wait instead, because nothing shows when
// the charge has ended.
//
// The program's start counts as the closing of a ring: a service that is restarted finds
// the rings of the process before it still charged.
var charges = chargeWatch{limit: sys.MemlockLimit, last: time.Now()}

// chargeWatch remembers when memory was last released whose charge may not have ended.
type chargeWatch struct {
	limit func() (limit uint64, limited bool)

	mu   sync.Mutex
	last time.Time // guarded by mu
}

// released records that a ring, or a pool's last handle, was closed.
func (c *chargeWatch) released() {
	c.mu.Lock()
	c.last = time.Now()
	c.mu.Unlock()
}

// retryUntil returns the time by which every charge released before now has ended.
func (c *chargeWatch) retryUntil() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.Add(chargeTimeout)
}

// retry calls try, which needs to have need bytes pinned. If the limit has no room for them
// while charges may still end, it calls try again with growing pauses, until retryUntil or
// as long as ctx allows. It does not retry if the limit itself is below need.
func (c *chargeWatch) retry(ctx context.Context, need uint64, try func() error) error {
	var deadline time.Time
	for pause := time.Millisecond; ; pause = min(2*pause, maxChargePause) {
		err := try()
		if !errors.Is(err, syscall.ENOMEM) {
			return err
		}
		if limit, limited := c.limit(); !limited || need > limit {
			return err
		}
		if deadline.IsZero() {
			deadline = c.retryUntil() // once: rings closed meanwhile do not prolong it
		}
		left := time.Until(deadline)
		if left <= 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(min(pause, left)):
		}
	}
}

// ringCharge returns the bytes that the kernel allocates for a ring's queues, and charges
// in Linux 6.16 to 7.1: whole pages of submission queue entries, and whole pages that hold
// the heads and tails of both queues and then the completions.
func ringCharge(cfg uring.Config) uint64 {
	const entry, heads = 64, 320 // sizeof struct io_uring_sqe, struct io_rings
	submissions := roundUpPow2(uint32(min(cfg.Entries, uring.MaxEntries)))
	completions, size := 2*submissions, uint64(16)
	if cfg.CQEntries > 0 {
		completions = roundUpPow2(uint32(min(cfg.CQEntries, uring.MaxCQEntries)))
	}
	if cfg.Flags&uring.SetupCQE32 != 0 {
		size = 32
	}
	return wholePages(uint64(submissions)*entry) + wholePages(heads+uint64(completions)*size)
}
