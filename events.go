package zcrx

import (
	"errors"

	"github.com/zcrx-go/zcrx/uring"
)

// poolEvents takes the completions of a pool's events (Linux 7.2): Res is the
// event's type. The kernel sends each type once, to the ring that registered the
// pool, until it is armed again there.
type poolEvents Pool

// errCopied is told once for a pool: the statistics count on.
var errCopied = errors.New("the kernel copies what connections receive that do not arrive on the pool's queue, as over loopback: see PoolStats.CopiedBytes")

func (e *poolEvents) complete(c *uring.CQE) {
	p := (*Pool)(e)
	event := EventType(c.Res)
	switch event {
	case EventAllocFailed:
		// The turn that follows drains and flushes what is there.
		p.allocFailures.Add(1)
		p.growth.allocFailed = true
	case EventCopy:
		first := p.copyEvents.Add(1) == 1
		if p.mode == DeviceLess {
			return // there everything is copied: once is enough
		}
		if first {
			p.loop.report("zero copy", errCopied)
		}
	default:
		return
	}
	if err := p.loop.ring.armEvent(p.id, event); err != nil {
		p.loop.report("arm pool event", err)
	}
}
