package zcrx

import (
	"context"
	"errors"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// Grow adds n buffers of the same size and kind of memory to the pool, at run time (Linux
// 7.3; for MemoryDMABuf they come from udmabuf). A pool has at most 1024 areas of at most 4
// GiB each. Receives that wait for a buffer continue. After an error the pool is unchanged.
// Safe from any goroutine.
//
// Grow is the remedy for allocation failures (PoolStats.AllocFailures): a hardware queue
// that finds no buffer drops packets, and its streams continue with the sender's next
// retransmission after buffers were added or returned.
func (p *Pool) Grow(ctx context.Context, n int) error {
	if err := Have(FeatureAddArea); err != nil {
		return err
	}
	m := p.memory
	if n < 1 || uint64(n) > maxAreaSize/m.bufferSize {
		return rangeError("number of buffers to grow by", int64(n), 1, int64(maxAreaSize/m.bufferSize))
	}
	a, err := newArea(m.kind, n, uintptr(m.bufferSize), -1)
	if err != nil {
		return err
	}
	a.populate()
	var req ifqRequest
	a.describe(&req)
	err = charges.retry(ctx, req.pinned(), func() error {
		return p.loop.Do(ctx, func(*uring.Ring) error { return p.growOn(p.loop.ring, a) })
	})
	if err != nil {
		a.unmap()
	}
	return err
}

// growOn adds the area. It runs on the loop's thread.
func (p *Pool) growOn(r *zcrxRing, a area) error {
	if p.receivers.closing || !p.loop.hasSource(p) {
		return ErrClosed
	}
	return p.memory.addArea(a, func() (uint64, error) { return r.addArea(p.id, &a) })
}

// growth is the state of a pool that grows by itself. It belongs to the owner's thread.
type growth struct {
	most        int  // the largest number of buffers; 0: the pool does not grow
	step        int  // buffers to add at a time
	allocFailed bool // the kernel found no buffer since the last growth
}

// growIfLow makes the pool grow, if it may, when the kernel found no buffer or fewer than
// an eighth of the buffers are free: a hardware queue without free buffers drops packets.
// Each lease of any member in the areas counts as a buffer.
func (p *Pool) growIfLow() {
	m := p.memory
	if !m.mayGrow.Load() || !p.runsLow() {
		return
	}
	g := &p.growth
	g.allocFailed = false
	if !p.owner {
		m.wantMore()
		return
	}
	m.mayGrow.Store(false)
	m.moreWanted.Store(false)
	n := min(g.step, g.most-p.NumBuffers())
	if n <= 0 {
		m.growable.Store(false) // the program has called Grow
		return
	}
	// Memory is mapped off the loop's thread, which continues meanwhile.
	go func() {
		err := p.Grow(context.Background(), n)
		_ = p.loop.Post(func() { p.grew(err) }) // a closing loop no longer grows pools
	}()
}

func (p *Pool) runsLow() bool {
	m := p.memory
	if p.growth.allocFailed || p.receivers.numWaiting() > 0 || p.owner && m.moreWanted.Load() {
		return true
	}
	have := p.NumBuffers()
	return m.countUsed() > have-(have+7)/8
}

func (p *Pool) grew(err error) {
	more := err == nil && p.NumBuffers() < p.growth.most
	p.memory.growable.Store(more)
	p.memory.mayGrow.Store(more)
	if err != nil && !errors.Is(err, ErrClosed) {
		p.loop.report("grow pool", err)
	}
}

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
