package zcrx

import (
	"context"
	"errors"
	"fmt"
)

// OpenPool makes a pool of the given mode on the loop. Auto makes a ZeroCopy pool if a
// queue is named and kernel, process and interface support it, and otherwise a Provided
// pool, whose Reason says why. An interface or queue that does not exist is an error in
// both ZeroCopy and Auto; the other modes ignore queue. Socket is an error: its pools come
// from NewSocketPool. The caller must Close the pool; closing the loop closes it too.
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

// errNoInterface is the Reason of a pool for which no interface was named.
var errNoInterface = errors.New("no interface was named for zero copy")

// mayFallBack reports whether Auto may use a copying mode after zero copy failed with err:
// because kernel, process or device do not support it, or because the kernel refused it.
func mayFallBack(err error) bool {
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
		if !mayFallBack(err) {
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

// asBufferPool returns a nil interface, not one that holds a nil pointer, if there is an
// error.
func asBufferPool[P BufferPool](p P, err error) (BufferPool, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}
