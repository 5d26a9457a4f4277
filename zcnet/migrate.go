package zcnet

import (
	"context"
	"fmt"

	"github.com/zcrx-go/zcrx"
)

// Migrate takes the connection to another loop of its engine: what the old loop has
// received comes first, then what the new one does, and no byte is lost. Readers may
// be at work meanwhile; a Write under way is waited for as long as ctx allows, and
// later ones wait. If ctx ends when the move has begun, the move goes on.
//
// In ZeroCopy mode the new loop must serve the hardware queue that the connection's
// packets arrive on, as an owner or as an importer: else receiving ends with EFAULT.
// It returns the end of a stream that has ended. In Socket mode there are no
// loops. On a loop (in a Handler) Migrate returns ErrWouldBlock.
func (c *Conn) Migrate(ctx context.Context, to *zcrx.Loop) error {
	if c.socket.onLoop() {
		return c.opError("migrate", ErrWouldBlock)
	}
	if err := c.writing.enter(ctx, &noLimit, c.closed); err != nil {
		return c.opError("migrate", err)
	}
	defer c.writing.leave()
	if c.closing.Load() {
		return c.opError("migrate", zcrx.ErrClosed)
	}
	return c.opError("migrate", c.socket.moveTo(ctx, to))
}

// Loop returns the loop that the connection is on, which Migrate changes; nil in Socket
// mode.
func (c *Conn) Loop() *zcrx.Loop { return c.socket.loop() }

func (s *ringSocket) loop() *zcrx.Loop  { return s.Pool().Loop() }
func (s *plainSocket) loop() *zcrx.Loop { return nil }

func (s *ringSocket) moveTo(ctx context.Context, to *zcrx.Loop) error {
	pool := s.transport.pools.Pool(to)
	if pool == nil {
		return fmt.Errorf("the loop is none of the engine's %d", len(s.transport.loops))
	}
	return s.MoveTo(ctx, pool)
}

func (s *plainSocket) moveTo(context.Context, *zcrx.Loop) error {
	return fmt.Errorf("a connection in mode %v is on no loop", zcrx.Socket)
}
