package zcnet

import (
	"context"
	"errors"
	"io"
	"iter"
	"math"
	"net"
	"os"

	"github.com/zcrx-go/zcrx"
)

var errHandled = errors.New("a Handler takes the connection's bytes")

// startReading waits for the caller's turn to read, and then for so many bytes in the
// inbox. Unless it returns an error, the caller calls endReading.
func (c *Conn) startReading(ctx context.Context, bytes int) error {
	err := c.reading.enter(ctx, &c.readLimit, c.closed)
	if err != nil {
		return err
	}
	switch {
	case c.closing.Load():
		err = zcrx.ErrClosed
	case c.handled:
		err = errHandled
	case c.readLimit.hasPassed.Load():
		err = os.ErrDeadlineExceeded
	default:
		err = ctx.Err()
	}
	for err == nil && c.inbox.bytes < bytes {
		err = c.fill(ctx)
	}
	if err != nil {
		c.endReading()
	}
	return err
}

// fill waits for more, and adds it to the inbox. It is called by whose turn it is.
func (c *Conn) fill(ctx context.Context) error {
	n, err := c.socket.recv(ctx, c.inbox.room(), &c.readLimit)
	c.inbox.added(n)
	return err
}

// Recv returns the next buffer, which the caller must release, waiting for it as
// long as ctx and the read deadline allow. After the last one it returns io.EOF
// when the peer ended the stream, else what went wrong. An ended ctx loses
// nothing.
func (c *Conn) Recv(ctx context.Context) (zcrx.Buffer, error) {
	if err := c.startReading(ctx, 1); err != nil {
		return zcrx.Buffer{}, c.opError("read", err)
	}
	defer c.endReading()
	return c.inbox.takeFirst(), nil
}

// RecvBatch is Recv for as many buffers as are there, up to len(dst). It returns
// at least one, or an error.
func (c *Conn) RecvBatch(ctx context.Context, dst []zcrx.Buffer) (int, error) {
	if len(dst) == 0 {
		return 0, nil
	}
	if err := c.startReading(ctx, 0); err != nil {
		return 0, c.opError("read", err)
	}
	defer c.endReading()
	if !c.inbox.empty() {
		return c.inbox.take(dst), nil
	}
	n, err := c.socket.recv(ctx, dst, &c.readLimit)
	return n, c.opError("read", err)
}

// Buffers ranges over the buffers up to the end of the stream; the body must
// release each. An error, also ctx's, comes as the last pair, with an empty
// Buffer; the end of the stream is none.
func (c *Conn) Buffers(ctx context.Context) iter.Seq2[zcrx.Buffer, error] {
	return func(yield func(zcrx.Buffer, error) bool) {
		for {
			b, err := c.Recv(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// Read copies what is there, as io.Reader's.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := c.startReading(context.Background(), 1); err != nil {
		return 0, c.opError("read", err)
	}
	defer c.endReading()
	return c.inbox.read(p), nil
}

// Peek returns the next n bytes without taking them. Where they lie in one buffer
// they are not copied. They are read-only, and valid until the next call of any
// method that reads, and until Close. If the stream ends before, Peek returns what there is and the
// error: io.EOF, a context's, or another.
func (c *Conn) Peek(ctx context.Context, n int) ([]byte, error) {
	if n < 0 || n > maxPeek {
		return nil, c.opError("read", rangeError("number of bytes to peek at,", int64(n), 0, maxPeek))
	}
	err := c.startReading(ctx, 0)
	if err != nil {
		return nil, c.opError("read", err)
	}
	defer c.endReading()
	for err == nil && c.inbox.bytes < n {
		if c.inbox.leases() >= mergeAt(c.socket.maxLeases()) {
			c.inbox.copyOut()
		}
		err = c.fill(ctx)
	}
	n = min(n, c.inbox.bytes)
	c.inbox.merge(n)
	return c.inbox.front()[:n:n], c.opError("read", err)
}

// mergeAt is how many leases an unread prefix may consist of before it is copied
// together: well below half of a share, which a paused receiver waits for.
func mergeAt(maxLeases int) int { return max(1, min(16, maxLeases/4)) }

// maxPeek bounds what a peer can make a parser hold: 1 GiB.
const maxPeek = 1 << 30

// Discard takes the next n bytes and drops them. It returns how many these were
// if there is an error. n is at least 0.
func (c *Conn) Discard(ctx context.Context, n int) (int, error) {
	dropped := 0
	for chunk, err := range c.Chunks(ctx, n) {
		if err != nil {
			return dropped, err
		}
		dropped += len(chunk)
	}
	return dropped, nil
}

// Chunks takes the next n bytes as slices that lie in the buffers, without
// copying: a message of known length. Each is valid, and read-only, in its round of
// the loop; leaving the loop early keeps the chunk of that round taken, and what
// follows in the connection. An error, io.EOF included, comes as the last pair.
// The body must not read from the connection. n is at least 0.
func (c *Conn) Chunks(ctx context.Context, n int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if n < 0 {
			yield(nil, c.opError("read", rangeError("number of bytes to take,", int64(n), 0, math.MaxInt)))
			return
		}
		for n > 0 {
			if err := c.startReading(ctx, 1); err != nil {
				yield(nil, c.opError("read", err))
				return
			}
			front := c.inbox.front()
			front = front[:min(n, len(front)):min(n, len(front))]
			n -= len(front)
			more := c.consume(front, yield)
			if !more {
				return
			}
		}
	}
}

// consume yields a chunk and takes it, also if the body panics.
func (c *Conn) consume(chunk []byte, yield func([]byte, error) bool) bool {
	defer func() {
		c.inbox.discard(len(chunk))
		c.endReading()
	}()
	return yield(chunk, nil)
}

// WriteTo writes everything up to the end of the stream to w, many buffers at a
// time where w takes them (a *Conn or *net.TCPConn). What w did not take stays in
// the connection. w must not read from it.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	for {
		err := c.startReading(context.Background(), 1)
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, c.opError("read", err)
		}
		n, err := c.drainTo(w)
		written += n
		if err != nil {
			return written, err
		}
	}
}

// drainTo writes the inbox to w, and takes what was written.
func (c *Conn) drainTo(w io.Writer) (n int64, err error) {
	defer c.endReading()
	var slices [mostBatch]([]byte)
	v := slices[:0]
	for _, b := range c.inbox.buffers[c.inbox.first:] {
		if len(v) == cap(v) {
			break
		}
		v = append(v, b.Bytes())
	}
	switch to := w.(type) {
	case *Conn:
		n, err = to.WriteBuffers(v)
	case *net.TCPConn:
		buffers := net.Buffers(v)
		n, err = buffers.WriteTo(to)
	default:
		n, err = writeEach(w, v)
	}
	c.inbox.discard(int(n))
	return n, err
}

var errInvalidWrite = errors.New("zcnet: the writer returned an impossible count")

// writeEach writes v to any writer.
func writeEach(w io.Writer, v [][]byte) (written int64, err error) {
	for _, p := range v {
		n, err := w.Write(p)
		if n < 0 || n > len(p) {
			return written, errInvalidWrite
		}
		written += int64(n)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
