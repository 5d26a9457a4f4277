package zcnet

import (
	"context"
	"errors"

	"github.com/zcrx-go/zcrx"
)

var errNoHandler = errors.New("the Handler is nil")

// Handler handles what a connection receives. Each call passes buffers and a nil error, or,
// once and last, no buffers and the error that ended the stream: io.EOF if the peer did.
// The Handler must release each buffer, then or later. The slice is valid only during the
// call.
//
// A Handler runs on the connection's loop, one call at a time. It must not wait, because
// all connections of the loop wait with it, nor call methods that read, of any connection.
// There Write returns ErrWouldBlock instead of waiting, and Close does not wait. In Socket
// mode a Handler runs on a goroutine of its own. A panic in a Handler ends the program.
type Handler func(c *Conn, buffers []zcrx.Buffer, err error)

// Handle passes everything received from now on to h, beginning with the bytes that were
// received and not read. From then on all other methods that read return an error, and the
// read deadline has no effect. A connection has one Handler for the rest of its life.
//
// Handle waits for the current reader and for the connection's loop. On a loop it does not
// wait: if it had to, it returns ErrWouldBlock.
func (c *Conn) Handle(h Handler) error {
	if h == nil {
		return c.opError("read", errNoHandler)
	}
	if !c.reading.tryEnter() {
		if zcrx.OnAnyLoop() {
			return c.opError("read", ErrWouldBlock)
		}
		if err := c.reading.enter(context.Background(), &noLimit, c.closed, c.endReading); err != nil {
			return c.opError("read", err)
		}
	}
	defer c.endReading()
	return c.opError("read", c.startHandling(h))
}

// startHandling starts h. The caller has the reading turn.
func (c *Conn) startHandling(h Handler) error {
	if c.closing.Load() {
		return zcrx.ErrClosed
	}
	if c.handled {
		return errHandled
	}
	if err := c.useRing(); err != nil {
		return err
	}
	err := c.socket().handle(c.inbox.buffers[c.inbox.first:], func(buffers []zcrx.Buffer, err error) {
		h(c, buffers, c.opError("read", err))
	}, programCounter(h))
	if err != nil {
		return err
	}
	c.handled = true
	c.inbox = inbox{}
	return nil
}
