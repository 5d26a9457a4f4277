package zcnet

import (
	"context"
	"errors"
	"fmt"

	"github.com/zcrx-go/zcrx"
)

// Migrate moves the connection to another loop of its engine. No byte is lost, and the
// order of bytes stays. Reads go on during the move. Migrate waits for the current Write
// until ctx ends, and later writes wait for the move. If ctx ends when the move has begun,
// Migrate returns ctx's error and the move goes on.
//
// In ZeroCopy mode the new loop must serve the hardware queue that the connection's packets
// arrive on, as owner or as importer; otherwise receiving ends with EFAULT. If the stream
// has ended, Migrate returns its error, io.EOF for instance. In Socket mode, which has no
// loops, Migrate returns an error. In a Handler it returns ErrWouldBlock. A fiber stays on its
// loop when its connection moves, and then waits longer for it.
func (c *Conn) Migrate(ctx context.Context, to *zcrx.Loop) error {
	if f := currentFiber(); f != nil {
		var err error
		f.await(func() { err = c.Migrate(ctx, to) })
		return err
	}
	if zcrx.OnAnyLoop() {
		return c.opError("migrate", ErrWouldBlock)
	}
	if err := c.writing.enter(ctx, &noLimit, c.closed, nil); err != nil {
		return c.opError("migrate", err)
	}
	if c.closing.Load() {
		c.writing.leave()
		return c.opError("migrate", zcrx.ErrClosed)
	}
	moved := make(chan error, 1)
	go func() { // it goes on if ctx ends, and keeps the turn: nothing is sent during the move
		err := c.socket().moveTo(ctx, to)
		c.writing.leave()
		moved <- err
	}()
	select {
	case err := <-moved:
		return c.opError("migrate", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Loop returns the loop that the connection is on, nil in Socket mode. Migrate changes it.
func (c *Conn) Loop() *zcrx.Loop { return c.socket().loop() }

func (s *ringSocket) loop() *zcrx.Loop  { return s.Pool().Loop() }
func (s *plainSocket) loop() *zcrx.Loop { return nil }

func (s *ringSocket) moveTo(ctx context.Context, to *zcrx.Loop) error {
	pool := s.transport.pools.Pool(to)
	if pool == nil {
		return fmt.Errorf("the loop is not one of the engine's %d loops", len(s.transport.loops))
	}
	if s.queue.unsent.Load() > 0 {
		if err := s.waitQueue(ctx.Done()); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
	return s.MoveTo(context.WithoutCancel(ctx), pool)
}

func (s *plainSocket) moveTo(context.Context, *zcrx.Loop) error {
	return fmt.Errorf("a connection in mode %v has no loop", zcrx.Socket)
}
