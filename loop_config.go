package zcrx

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// CompletionSize is the size of a loop's completion queue entries.
type CompletionSize uint8

// The sizes. A Pool needs 32-byte completions: CompletionAuto, Completion32 and
// CompletionMixed all have them.
const (
	// CompletionAuto is CompletionMixed from Linux 7.3 on, and Completion32 before: Linux
	// 7.2 repeats completions when a mixed queue overflows.
	CompletionAuto  CompletionSize = iota
	Completion16                   // 16 bytes each: for copying modes only
	Completion32                   // 32 bytes each
	CompletionMixed                // 16 or 32 bytes, as each completion needs (Linux 6.18)
)

// LoopConfig configures a loop. A field that is zero has its default.
type LoopConfig struct {
	// Entries is the number of submission queue entries, 1 to 32768, by default 256. More
	// requests than that in one turn cost one more system call.
	Entries int
	// CQEntries is the number of completion queue entries, at least Entries and 4, at most
	// 65536, by default 16384 or Entries, whichever is larger. 16384 entries take 256 KiB;
	// a zero-copy completion takes two. If the queue is too small for a burst, receives end
	// with ENOSPC and are armed again: that costs time, but loses nothing.
	CQEntries int
	// CompletionSize is the size of completions.
	CompletionSize CompletionSize
	// Logger, if set, receives failures and warnings that no caller can be told of: a
	// failed flush, or a pool whose numbers do not fit. Most are also in the statistics.
	Logger *slog.Logger
}

const (
	defaultSQEntries = 256
	defaultCQEntries = 16384
	completionBatch  = 256

	// A 32-byte completion in a mixed ring takes two entries, and a filler when
	// it would wrap: with fewer than four it may never fit.
	minCQEntries = 4
)

func (s CompletionSize) setupFlags() (uring.SetupFlags, error) {
	switch s {
	case Completion16:
		return 0, nil
	case Completion32:
		return uring.SetupCQE32, nil
	case CompletionMixed:
		return uring.SetupCQEMixed, Have(FeatureMixedCQE)
	case CompletionAuto:
		err := Have(FeatureMixedCQE)
		if errors.Is(err, ErrNotSupported) || (err == nil && olderKernel(sys.KernelRelease(), 7, 3, 0)) {
			return uring.SetupCQE32, nil
		}
		return uring.SetupCQEMixed, err
	}
	return 0, rangeError("LoopConfig.CompletionSize", int64(s), int64(CompletionAuto), int64(CompletionMixed))
}

type loopCounters struct {
	turns, calls, completions, wakeUps, functions, overflows, strays atomic.Uint64
}

// LoopStats is a snapshot of a loop's counters.
type LoopStats struct {
	Turns       uint64 `json:"turns"`        // rounds of the loop
	Calls       uint64 `json:"calls"`        // calls into C: one a turn, and those of set-up and control
	Completions uint64 `json:"completions"`  // completions of any kind
	WakeUps     uint64 `json:"wake_ups"`     // times that a goroutine woke the sleeping loop
	Functions   uint64 `json:"functions"`    // functions run for Do and Post
	Overflows   uint64 `json:"cq_overflows"` // turns in which the completion queue had overflowed
	Strays      uint64 `json:"strays"`       // completions of unknown requests: a bug if not 0
}

// needWideCompletions returns an error if the loop has no 32-byte completions, which a Pool
// needs.
func (l *Loop) needWideCompletions() error {
	if l.wide {
		return nil
	}
	return errors.New("zcrx: the loop's completions have 16 bytes: a pool needs LoopConfig.CompletionSize CompletionAuto, Completion32 or CompletionMixed")
}

// Stats returns a snapshot of the loop's counters.
func (l *Loop) Stats() LoopStats {
	c := &l.stats
	return LoopStats{
		Turns: c.turns.Load(), Calls: c.calls.Load(), Completions: c.completions.Load(), WakeUps: c.wakeUps.Load(),
		Functions: c.functions.Load(), Overflows: c.overflows.Load(), Strays: c.strays.Load(),
	}
}
