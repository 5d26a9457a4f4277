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
	if !c.writing.tryEnter() {
		if zcrx.OnAnyLoop() { // the writer that has the turn may be waiting for this loop
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

// Write sends p and returns how many bytes it sent: fewer than len(p) only with an error.
// It waits until the socket has taken all of p or the write deadline passes; for large
// writes see also Config.SendZeroCopyFrom. On a loop (in a Handler) it does not wait: it
// returns ErrWouldBlock when the socket has no room, or while another goroutine writes.
func (c *Conn) Write(p []byte) (int, error) {
	n, err := c.WriteBuffers(net.Buffers{p})
	return int(n), err
}

// WriteBuffers is Write for the bytes of several slices, in order, with one system call
// for many of them. Unlike net.Buffers.WriteTo it does not change v.
func (c *Conn) WriteBuffers(v net.Buffers) (int64, error) {
	if err := c.startWriting(); err != nil {
		return 0, c.opError("write", err)
	}
	defer c.writing.leave()
	n, err := c.socket.send(v, &c.writeLimit)
	return int64(n), c.opError("write", err)
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
