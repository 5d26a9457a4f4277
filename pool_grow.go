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

// growth lets a pool grow by itself. It belongs to the owner's thread.
type growth struct {
	most        int  // buffers that it may have; 0: it does not grow
	step        int  // buffers at a time
	allocFailed bool // the kernel found no buffer since the last growth
}

// growIfLow has the pool grow, if it may, when the kernel found no buffer or fewer
// than an eighth of the buffers are free: on a hardware queue packets are dropped
// once there is none. Each lease of any member counts as a buffer.
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
		return // somebody has called Grow
	}
	// Memory is mapped off the loop, which goes on meanwhile.
	go func() {
		err := p.Grow(context.Background(), n)
		_ = p.loop.Post(func() { p.grew(err) }) // a closing loop grows nothing more
	}()
}

func (p *Pool) runsLow() bool {
	m := p.memory
	if p.growth.allocFailed || p.receivers.hungry() > 0 || p.owner && m.moreWanted.Load() {
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
