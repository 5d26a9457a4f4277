package zcrx

import (
	"context"
	"fmt"
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
	if err := HaveAddArea(); err != nil {
		return err
	}
	if n < 1 || uint64(n) > maxAreaSize/p.bufferSize {
		return rangeError("number of buffers to grow by", int64(n), 1, int64(maxAreaSize/p.bufferSize))
	}
	a, err := newArea(p.memory, n, uintptr(p.bufferSize), -1)
	if err != nil {
		return err
	}
	err = p.loop.Do(ctx, func(r *Ring) error { return p.growOn(r, a) })
	if err != nil {
		a.unmap()
	}
	return err
}

// growOn adds the area on the loop's thread.
func (p *Pool) growOn(r *Ring, a area) error {
	switch {
	case p.receivers.closing || !p.loop.hasSource(p):
		return ErrClosed
	case len(p.areas) >= maxAreas:
		return rangeError("number of areas", int64(len(p.areas)+1), 1, maxAreas)
	}
	token, err := r.addArea(p.id, &a)
	if err != nil {
		return err
	}
	// The kernel numbers areas as they come.
	if id := token >> areaShift; id != uint64(len(p.areas)) {
		return fmt.Errorf("zcrx: the kernel numbered area %d as %d", len(p.areas), id)
	}
	p.areas = append(p.areas, a)
	p.numBuffers.Add(int64(a.buffers()))
	p.grown = true
	p.loop.again = true // receives that wait are armed in the next turn
	return nil
}
