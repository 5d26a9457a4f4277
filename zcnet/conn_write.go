package zcnet

import (
	"context"
	"io"
	"net"
	"os"

	"github.com/zcrx-go/zcrx"
)

// startWriting takes the turn; the caller leaves, unless there is an error.
func (c *Conn) startWriting() error {
	if !c.writing.tryEnter() {
		if c.socket.onLoop() { // whoever has the turn may wait for this very loop
			return ErrWouldBlock
		}
		if err := c.writing.enter(context.Background(), &c.writeLimit, c.closed); err != nil {
			return err
		}
	}
	if c.closing.Load() {
		c.writing.leave()
		return zcrx.ErrClosed
	}
	if c.writeLimit.hasPassed.Load() {
		c.writing.leave()
		return os.ErrDeadlineExceeded
	}
	return nil
}

// Write sends p, as io.Writer's. On a loop (in a Handler) it does not wait: it
// returns ErrWouldBlock, and how much it sent, when the socket takes no more, or
// somebody else is writing.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.WriteBuffers(net.Buffers{p})
	return int(n), err
}

// WriteBuffers sends the bytes of v in order, many slices with one system call. It
// leaves v as it is. See Write.
func (c *Conn) WriteBuffers(v net.Buffers) (int64, error) {
	if err := c.startWriting(); err != nil {
		return 0, c.opError("write", err)
	}
	defer c.writing.leave()
	n, err := c.socket.send(v, &c.writeLimit)
	return int64(n), c.opError("write", err)
}

// copySize is the size in bytes of ReadFrom's buffer.
const copySize = 64 << 10

// ReadFrom sends everything that r returns up to io.EOF. From another Conn it
// copies nothing; in Socket mode it leaves it to the kernel where that can.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if from, ok := r.(*Conn); ok {
		return from.WriteTo(c)
	}
	n, handled, err := c.socket.readFrom(r)
	if handled {
		return n, err
	}
	p := make([]byte, copySize)
	for {
		k, rerr := r.Read(p)
		if k > 0 {
			sent, err := c.Write(p[:k])
			n += int64(sent)
			if err != nil {
				return n, err
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, rerr
		}
	}
}
