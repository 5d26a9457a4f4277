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

// The kernel charges what it pins to RLIMIT_MEMLOCK, unless the process has
// CAP_IPC_LOCK: the areas and refill queues of pools, and in Linux 6.16 to 7.1
// rings and provided-buffer rings too. Two things about that are easy to get wrong:
//
//   - The charge is the user's, summed over all processes. No file tells how much it
//     is: of VmLck and VmPin in /proc/self/status the first is about mlock(2) and
//     the second about this process's areas only.
//   - What a ring and its pools were charged comes back only when a worker of the
//     kernel frees them, some time after the ring was closed or its process ended.
//     A provided-buffer ring that is unregistered, and what is refused, stay charged
//     no longer than the call.

// chargePatience bounds how long a charge may take to come back. It took 30 ms on an
// idle machine and 0.6 s on one with four times as much to do as it can.
const chargePatience = 2 * time.Second

// maxChargePause keeps the tries few: a try may pin a large area before it is refused.
const maxChargePause = 200 * time.Millisecond

// charges tells a set-up that found the limit used up whether to wait. It is global
// because the limit is: a ring that one part of a program closed is in the way of one
// that another part, which knows nothing of it, sets up next. Without a memory of
// that, either every refusal would be late, or a limit that is full for a moment
// would look too small. (Close cannot wait instead: nothing tells when the charge is
// back.)
//
// The program's start counts as if a ring had been closed: a service that is started
// again finds its predecessor's rings still charged.
var charges = chargeWatch{limit: sys.MemlockLimit, last: time.Now()}

// chargeWatch remembers when memory was last given up that may still be charged.
type chargeWatch struct {
	limit func() (limit uint64, limited bool)

	mu   sync.Mutex
	last time.Time // guarded by mu
}

// givenUp notes that a ring, or a pool's last handle, was closed.
func (c *chargeWatch) givenUp() {
	c.mu.Lock()
	c.last = time.Now()
	c.mu.Unlock()
}

// patientUntil is when everything is back that was given up before now.
func (c *chargeWatch) patientUntil() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.Add(chargePatience)
}

// await calls try, which wants need bytes pinned. If the limit has no room for them
// while charges may still come back, it tries again with growing pauses, until then or
// as long as ctx allows. It does not wait for a limit that is too small by itself.
func (c *chargeWatch) await(ctx context.Context, need uint64, try func() error) error {
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
			deadline = c.patientUntil() // once: rings that others close meanwhile prolong nothing
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

// ringCharge is what the kernel allocates for a ring's queues, in bytes, and charges
// in Linux 6.16 to 7.1: whole pages of submission queue entries, and whole pages of
// completions, with the heads and tails of both queues before them.
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
