package zcrx

import (
	"context"
	"errors"

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
// Each lease of any member counts as a buffer.
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
		return // the program has called Grow
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
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.outstanding() > have-(have+7)/8
}

func (p *Pool) grew(err error) {
	if err == nil {
		p.memory.mayGrow.Store(p.NumBuffers() < p.growth.most)
	} else if !errors.Is(err, ErrClosed) {
		p.loop.report("grow pool", err)
	}
}
