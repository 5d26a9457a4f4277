package zcnet

import (
	"context"
	"errors"

	"github.com/zcrx-go/zcrx"
)

var errNoHandler = errors.New("the Handler is nil")

// Handler takes what a connection receives: some buffers, which it must release
// some time, or, once and last, the error that follows them, io.EOF at the end of
// the stream. The slice is valid during the call only.
//
// It runs on the connection's loop, one call at a time, and must not wait: it holds
// up every connection of the loop. Write returns ErrWouldBlock there instead of
// waiting, Close does not wait. In Socket mode it runs on a goroutine of its own.
// A panic ends the program.
type Handler func(c *Conn, buffers []zcrx.Buffer, err error)

// Handle has h take what is received from now on, beginning with what is there
// already. From then on everything else that takes bytes returns an error, and the
// read deadline does not matter.
//
// It waits for whoever is reading, and for the connection's loop. On a loop it does
// not: where it would have to it returns ErrWouldBlock.
func (c *Conn) Handle(h Handler) error {
	if h == nil {
		return c.opError("read", errNoHandler)
	}
	if !c.reading.tryEnter() {
		if c.socket.onLoop() {
			return c.opError("read", ErrWouldBlock)
		}
		if err := c.reading.enter(context.Background(), &noLimit, c.closed); err != nil {
			return c.opError("read", err)
		}
	}
	defer c.endReading()
	return c.opError("read", c.startHandling(h))
}

// startHandling is called by whose turn it is.
func (c *Conn) startHandling(h Handler) error {
	if c.closing.Load() {
		return zcrx.ErrClosed
	}
	if c.handled {
		return errHandled
	}
	err := c.socket.handle(c.inbox.buffers[c.inbox.first:], func(buffers []zcrx.Buffer, err error) {
		h(c, buffers, c.opError("read", err))
	})
	if err != nil {
		return err
	}
	c.handled = true
	c.inbox = inbox{}
	return nil
}
