package zcrx

import (
	"context"
	"errors"
	"fmt"
)

// OpenPool makes the pool that mode asks for on the loop. Auto takes ZeroCopy
// where a queue is named and kernel, process and interface can do it, and Provided
// else; the pool's Reason then says why. An interface or queue that does not exist is
// an error in both ZeroCopy and Auto; the other modes do not look at queue. Socket mode
// has no pool.
func OpenPool(ctx context.Context, loop *Loop, mode Mode, queue Queue, cfg PoolConfig) (BufferPool, error) {
	switch mode {
	case ZeroCopy:
		return asBufferPool(NewPool(ctx, loop, queue, cfg))
	case DeviceLess:
		return asBufferPool(NewDeviceLessPool(ctx, loop, cfg))
	case Provided:
		return asBufferPool(newProvidedPool(ctx, loop, cfg, bestConsumption()))
	case Auto:
		return openBest(ctx, loop, queue, cfg)
	case Socket:
	}
	return nil, fmt.Errorf("zcrx: mode %v has no pool: allowed are %v, %v, %v and %v", mode, Auto, ZeroCopy, DeviceLess, Provided)
}

// errNoInterface is Auto's reason where zero copy was not asked for.
var errNoInterface = errors.New("no interface was named for zero copy")

// calledOff tells whether zero copy failed for a reason for which Auto copies:
// kernel, process or device cannot, or the kernel refused.
func calledOff(err error) bool {
	_, refused := errors.AsType[*KernelError](err)
	return refused || errors.Is(err, ErrNotSupported)
}

func openBest(ctx context.Context, loop *Loop, queue Queue, cfg PoolConfig) (BufferPool, error) {
	reason := errNoInterface
	if queue.Interface != "" {
		pool, err := NewPool(ctx, loop, queue, cfg)
		if err == nil {
			return pool, nil
		}
		if !calledOff(err) {
			return nil, err
		}
		reason = err
	}
	pool, err := newProvidedPool(ctx, loop, cfg, bestConsumption())
	if err != nil {
		return nil, err
	}
	pool.reason = reason
	return pool, nil
}

// asBufferPool keeps a nil pointer from becoming a BufferPool that is not nil.
func asBufferPool[P BufferPool](p P, err error) (BufferPool, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}
