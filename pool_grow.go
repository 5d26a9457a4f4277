package zcrx

import (
	"context"
	"errors"

	"github.com/zcrx-go/zcrx/uring"
)

// Grow gives the pool n more buffers of the same size and kind of memory, at run
// time (Linux 7.3; dma-bufs come from udmabuf). A pool has at most 1024 areas of
// at most 4 GiB. Receives that wait for a buffer go on. On an error the pool is as
// it was. Safe from any goroutine.
//
// It is the answer to an allocation failure: a hardware queue that found no
// buffer drops packets, and returning buffers then waits for the sender's next
// retransmission, while growing ends it within one.
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
	err = charges.await(ctx, req.pinned(), func() error {
		return p.loop.Do(ctx, func(*uring.Ring) error { return p.growOn(p.loop.ring, a) })
	})
	if err != nil {
		a.unmap()
	}
	return err
}

// growOn adds the area on the loop's thread.
func (p *Pool) growOn(r *zcrxRing, a area) error {
	if p.receivers.closing || !p.loop.hasSource(p) {
		return ErrClosed
	}
	return p.memory.addArea(a, func() (uint64, error) { return r.addArea(p.id, &a) })
}

// growth lets a pool grow by itself. It belongs to the loop's thread.
type growth struct {
	most        int // buffers that it may have; 0: it does not grow
	step        int // buffers at a time
	underWay    bool
	allocFailed bool // the kernel found no buffer since the last growth
}

// growIfLow has the pool grow, if it may, when the kernel found no buffer or fewer
// than an eighth of the buffers are free: on a hardware queue packets are dropped
// once there is none. Each lease counts as a buffer.
func (p *Pool) growIfLow() {
	g := &p.growth
	have := p.NumBuffers()
	if have >= g.most || g.underWay {
		return
	}
	g.allocFailed = p.moreWanted.Swap(false) || g.allocFailed
	p.mu.Lock()
	out := p.outstandingLocked()
	p.mu.Unlock()
	if !g.allocFailed && p.receivers.hungry() == 0 && out <= have-(have+7)/8 {
		return
	}
	g.underWay, g.allocFailed = true, false
	n := min(g.step, g.most-have)
	// Memory is mapped and pinned off the loop, which goes on meanwhile.
	go func() {
		err := p.Grow(context.Background(), n)
		_ = p.loop.Post(func() { p.grew(err) }) // a closing loop grows nothing more
	}()
}

func (p *Pool) grew(err error) {
	p.growth.underWay = false
	if err != nil && !errors.Is(err, ErrClosed) {
		p.growth.most = 0
		p.loop.report("grow pool", err)
	}
}

// poolEvents takes the completions of a pool's events (Linux 7.2): Res is the
// event's type. The kernel sends each type once, to the ring that registered the
// pool, until it is armed again there.
type poolEvents Pool

// errCopied is told once for a pool: the statistics count on.
var errCopied = errors.New("the kernel copies what connections receive that do not arrive on the pool's queue, as over loopback: see PoolStats.CopiedBytes")

func (e *poolEvents) complete(c *uring.CQE) {
	p := (*Pool)(e)
	event := eventType(c.Res)
	switch event {
	case eventAllocFailed:
		// The turn that follows drains and flushes what is there.
		p.allocFailures.Add(1)
		p.growth.allocFailed = true
	case eventCopy:
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
