package zcrx

import (
	"errors"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// poolEvents handles the completions of a pool's events (Linux 7.2): Res is the event's
// type. The kernel reports each type once, on the ring that registered the pool, until it
// is armed again there.
type poolEvents Pool

// errCopied is logged once for a pool; the statistics count further copies.
var errCopied = errors.New("the kernel copies, because a connection does not arrive on the pool's queue (for instance over loopback): see PoolStats.CopiedBytes")

// copyEventPause is how long a copy event is not armed again. How much is copied is in
// the statistics that the kernel shares; an event for each fragment would cost a
// completion and a system call each.
const copyEventPause = time.Second

func (e *poolEvents) complete(c *uring.CQE) {
	p := (*Pool)(e)
	switch event := eventType(c.Res); event {
	case eventAllocFailed:
		// The turn that follows drains and flushes what is there.
		p.allocFailures.Add(1)
		p.growth.allocFailed = true
		p.armEvent(event)
	case eventCopy:
		first := p.copyEvents.Add(1) == 1
		if p.mode == DeviceLess {
			return // there everything is copied: one event is enough
		}
		if first {
			p.loop.report("zero copy", errCopied)
		}
		time.AfterFunc(copyEventPause, func() {
			_ = p.loop.Post(func() { // a closing loop gets no events
				if p.loop.hasSource(p) {
					p.armEvent(event)
				}
			})
		})
	}
}

func (p *Pool) armEvent(event eventType) {
	if err := p.loop.ring.armEvent(p.id, event); err != nil {
		p.loop.report("arm pool event", err)
	}
}
