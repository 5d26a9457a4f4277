package zcnet

import (
	"context"
	"io"
	"net"
	"os"

	"github.com/zcrx-go/zcrx"
)

// startWriting waits for the caller's turn to write. If it returns nil, the caller must
// call writing.leave.
func (c *Conn) startWriting() error {
	if err := c.writing.enter(context.Background(), &c.writeLimit, c.closed, nil); err != nil {
		return err
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

// Write sends p and returns how many bytes it sent: fewer than len(p) only with an error.
// It waits until the socket has taken all of p or the write deadline passes; for large
// writes see also Config.SendZeroCopyFrom.
//
// On the connection's loop, in a fiber or a Handler, the loop's ring sends all that was
// written in a turn at its end. There Write copies up to 16 KiB and returns at once; an error
// of sending is returned by a later call. In a fiber a longer write is not copied and waits
// until it is sent, and any write waits while 256 KiB are unsent. A Handler does not wait:
// there Write copies all of p, and returns ErrWouldBlock while 256 KiB are unsent, or while
// another goroutine writes.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.startWriting(); err != nil {
		return 0, c.opError("write", err)
	}
	defer c.endWriting()
	c.slices = append(c.slices, p)
	n, err := c.socket().send(c.slices, &c.writeLimit)
	return n, c.writeError(err)
}

// endWriting ends a turn that startWriting began. The lists are kept for the next write: with
// lists of their own, calls through the socket's interface would allocate them each time.
func (c *Conn) endWriting() {
	clear(c.slices)
	clear(c.leased)
	c.slices, c.leased = c.slices[:0], c.leased[:0]
	if cap(c.slices)+cap(c.leased) > mostKept {
		c.slices, c.leased = nil, nil
	}
	c.writing.leave()
}

// mostKept is how long the lists are that an idle connection keeps, at most.
const mostKept = 64

// WriteBuffers is Write for the bytes of several slices, in order, with one system call
// for many of them. Unlike net.Buffers.WriteTo it does not change v.
func (c *Conn) WriteBuffers(v net.Buffers) (int64, error) {
	if err := c.startWriting(); err != nil {
		return 0, c.opError("write", err)
	}
	defer c.endWriting()
	n, err := c.socket().send(v, &c.writeLimit)
	return int64(n), c.writeError(err)
}

// writeError returns the error of a write. If Close came meanwhile that is the reason, even if
// the peer has reset the connection before the write saw that the socket is closed.
func (c *Conn) writeError(err error) error {
	if err != nil && c.closing.Load() {
		err = zcrx.ErrClosed
	}
	return c.opError("write", err)
}

// Send sends the bytes of received buffers, of this connection or another, and releases the
// buffers, also if it returns an error. On the connection's loop the kernel sends them from
// where they are, and they are released when it has done so; Send does not wait for that.
// Otherwise it is WriteBuffers.
func (c *Conn) Send(buffers ...zcrx.Buffer) error {
	started := false
	defer func() {
		if !started { // after an error, and when the fiber that sends is ended while it waits
			_ = zcrx.ReleaseAll(buffers) // the first error is the one to return
		}
	}()
	if err := c.startWriting(); err != nil {
		return c.opError("write", err)
	}
	started = true
	defer c.endWriting()
	c.leased = append(c.leased, buffers...)
	queued, err := c.socket().queueLeased(c.leased, &c.writeLimit)
	if queued {
		clear(c.leased)
		return c.writeError(err)
	}
	for _, b := range c.leased {
		c.slices = append(c.slices, b.Bytes())
	}
	if f := currentFiber(); f != nil {
		_, err = sendForFiber(f, c.socket(), c.slices, c.leased, &c.writeLimit)
		return c.writeError(err)
	}
	_, err = c.socket().send(c.slices, &c.writeLimit)
	released := zcrx.ReleaseAll(c.leased)
	clear(c.leased)
	if err == nil {
		err = released
	}
	return c.writeError(err)
}

// copySize is the size of ReadFrom's buffer, in bytes.
const copySize = 64 << 10

// ReadFrom sends everything that r returns up to io.EOF and returns the number of bytes.
// If r is a *Conn, it sends that connection's buffers without copying them in the program.
// In Socket mode it uses sendfile or splice where package net does.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	if from, ok := r.(*Conn); ok {
		return from.WriteTo(c)
	}
	n, handled, err := c.socket().readFrom(r)
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
