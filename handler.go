package zcrx

import (
	"context"
)

// Handler takes what a connection receives: some buffers, which it must release
// some time, or, once and last, the error that follows them, io.EOF at the end of
// the stream. The slice is valid during the call only.
//
// It runs on the connection's loop, one call at a time, and must not wait: it holds
// up every connection of the loop. Write answers ErrWouldBlock there instead of
// waiting, Close does not wait. In Socket mode it runs on a goroutine of its own.
// A panic ends the program.
type Handler func(c *Conn, buffers []Buffer, err error)

// Handle has h take what is received from now on, beginning with what is there
// already. From then on everything else that takes bytes answers an error.
func (c *Conn) Handle(h Handler) error {
	if err := c.reading.enter(context.Background(), nil); err != nil {
		return err
	}
	defer c.endReading()
	if c.handled {
		return c.opError("read", errHandled)
	}
	err := c.socket.handle(c.inbox.buffers[c.inbox.first:], func(buffers []Buffer, err error) { h(c, buffers, err) })
	if err != nil {
		return c.opError("read", err)
	}
	c.handled = true
	c.inbox = inbox{}
	return nil
}
