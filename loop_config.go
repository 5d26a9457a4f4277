package zcrx

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// CompletionSize is the size of a loop's completions.
type CompletionSize uint8

// The sizes. A Pool needs 32-byte completions, which CompletionMixed has beside
// the others.
const (
	// CompletionAuto is CompletionMixed from Linux 7.3 on, and Completion32 before:
	// 7.2 repeats completions when a mixed queue overflows.
	CompletionAuto  CompletionSize = iota
	Completion16                   // for copying modes only
	Completion32                   // all of them
	CompletionMixed                // as large as each has to be (Linux 6.18)
)

// LoopConfig says what loop to make. The zero value of a field means its
// default.
type LoopConfig struct {
	// Entries is the number of submission queue entries, 1 to 32768, by default
	// 256. More requests than that in one turn cost one more system call.
	Entries int
	// CQEntries is the number of completion queue entries, Entries and at least 4
	// to 65536, by default 16384 (256 KiB; a zero-copy completion takes two). When it is too small for a burst, receives end with ENOSPC
	// and are armed again: nothing is lost, but time.
	CQEntries int
	// CompletionSize is the size of completions.
	CompletionSize CompletionSize
	// Logger, if set, is told of failures that belong to no caller: of flushing
	// and of arming events. They are in the statistics as well.
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
	Completions uint64 `json:"completions"`  // of any kind
	WakeUps     uint64 `json:"wake_ups"`     // times that the sleeping loop was woken by a goroutine
	Functions   uint64 `json:"functions"`    // run for Do and Post
	Overflows   uint64 `json:"cq_overflows"` // turns that found the completion queue overflown
	Strays      uint64 `json:"strays"`       // completions of unknown requests: a bug if not 0
}

// needWideCompletions refuses a pool on a loop that cannot have one.
func (l *Loop) needWideCompletions() error {
	if l.wide {
		return nil
	}
	return errors.New("zcrx: the loop's completions have 16 bytes: a pool needs LoopConfig.CompletionSize CompletionAuto, Completion32 or CompletionMixed")
}

// Stats is a snapshot of the loop's counters.
func (l *Loop) Stats() LoopStats {
	c := &l.stats
	return LoopStats{
		Turns: c.turns.Load(), Calls: c.calls.Load(), Completions: c.completions.Load(), WakeUps: c.wakeUps.Load(),
		Functions: c.functions.Load(), Overflows: c.overflows.Load(), Strays: c.strays.Load(),
	}
}
