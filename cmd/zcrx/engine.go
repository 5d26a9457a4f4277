package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// engine is a zcnet.Engine with one loop and one pool, and what the reports tell of
// it. In mode socket it has no loop.
type engine struct {
	*zcnet.Engine
	asked    zcrx.Mode
	fallback error // why it is no better mode; nil: there is none, or it was asked for
	pool     poolSizes

	iface  string
	queue  int
	before *placement // when the pool was opened; nil: the driver does not tell
}

// poolSizes are a pool's numbers.
type poolSizes interface {
	NumBuffers() int
	BufferSize() int
	MaxLeases() int
}

// open makes the engine. The caller must close it.
func (o *engineOptions) open(ctx context.Context) (*engine, error) {
	cfg := o.config()
	e := &engine{asked: cfg.Mode, iface: o.iface, queue: o.queue}
	var err error
	if e.Engine, err = zcnet.NewEngine(ctx, cfg); err != nil {
		return nil, withoutStep(err)
	}
	e.fallback = e.Reason()
	if cfg.Mode == zcrx.Auto && e.Mode() == zcrx.Provided {
		// Goroutines would read through Go's poller, and not through the pool that the
		// command shows, unless the mode is named.
		if err := e.Engine.Close(); err != nil {
			return nil, err
		}
		cfg.Mode = zcrx.Provided
		if e.Engine, err = zcnet.NewEngine(ctx, cfg); err != nil {
			return nil, withoutStep(err)
		}
	}
	e.pool = e.SocketPool()
	if group := e.Group(); group != nil {
		e.pool = group.Pools()[0]
	}
	if e.Mode() == zcrx.ZeroCopy {
		e.before = readPlacement(e.iface, e.queue)
	}
	return e, nil
}

// withoutStep returns what a step of making a group came to, without the numbers of
// its loop and queue: there is one of each.
func withoutStep(err error) error {
	if step, ok := errors.AsType[*zcrx.GroupError](err); ok {
		return step.Err
	}
	return err
}

// placement returns where the device has put payload since the pool was opened;
// nil if the driver does not tell.
func (e *engine) placement() *placement {
	if e.before == nil {
		return nil
	}
	now := readPlacement(e.iface, e.queue)
	if now == nil {
		return nil // the device has gone
	}
	return now.since(e.before)
}

// reason says why it is this mode.
func (e *engine) reason() string {
	switch {
	case e.fallback != nil:
		return errorText(withoutStep(e.fallback))
	case e.asked == zcrx.Auto:
		return "there is no better mode"
	}
	return "asked for with --mode " + e.asked.String()
}

// Close ends everything, and complains about buffers that are still out.
func (e *engine) Close() error {
	err := e.Engine.Close()
	if out := e.Stats().Group.Total.Outstanding; out != 0 {
		err = errors.Join(err, fmt.Errorf("%d buffers are outstanding", out))
	}
	return err
}

// counters returns those of the pool and of the loop, which are 0 if there is none.
func counters(s zcnet.EngineStats) (pool zcrx.PoolStats, loop zcrx.LoopStats) {
	if len(s.Loops) > 0 {
		loop = s.Loops[0]
	}
	return s.Group.Total, loop
}
