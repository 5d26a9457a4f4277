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

// startReading waits for the caller's turn to read. If the caller wants bytes, it then waits
// until there are some; there may be less. If it returns nil, the caller must call
// endReading.
func (c *Conn) startReading(ctx context.Context, want int) error {
	return c.startTaking(ctx, want, c.mayWait)
}

// startTaking is startReading that calls check instead of mayWait, before it takes a byte.
func (c *Conn) startTaking(ctx context.Context, want int, check func(context.Context) error) error {
	err := c.enterReading(ctx)
	if err != nil {
		return err
	}
	started := false
	defer func() {
		if !started { // after an error, and when the fiber that reads is ended while it waits
			c.endReading()
		}
	}()
	if err = c.mayTake(); err == nil {
		err = check(ctx)
	}
	if err == nil && want > 0 && c.inbox.empty() {
		err = c.fill(ctx, want)
	}
	started = err == nil
	return err
}

// enterReading takes the reading turn. Without contention it makes no closure.
func (c *Conn) enterReading(ctx context.Context) error {
	if c.reading.tryEnter() {
		return nil
	}
	return c.reading.enter(ctx, &c.readLimit, c.closed, c.endReading)
}

// mayStart returns an error if the connection is closed.
func (c *Conn) mayStart() error {
	if c.closing.Load() {
		return zcrx.ErrClosed
	}
	return nil
}

// mayTake returns an error if nobody may take bytes any more. The caller has the reading
// turn.
func (c *Conn) mayTake() error {
	switch {
	case c.closing.Load():
		return zcrx.ErrClosed
	case c.handled:
		return errHandled
	}
	return nil
}

// mayWait returns an error if ctx has ended or the read deadline has passed.
func (c *Conn) mayWait(ctx context.Context) error {
	if c.readLimit.hasPassed.Load() {
		return os.ErrDeadlineExceeded
	}
	return ctx.Err()
}

// mayWaitIfEmpty is mayWait for calls that end after a number of bytes: what Peek returned
// can be consumed, whatever ends meanwhile.
func (c *Conn) mayWaitIfEmpty(ctx context.Context) error {
	if !c.inbox.empty() {
		return nil
	}
	return c.mayWait(ctx)
}

// fill waits until something was received and adds it to the inbox: about as many buffers
// as there are in want bytes. The caller has the reading turn.
func (c *Conn) fill(ctx context.Context, want int) error {
	if err := c.mayWait(ctx); err != nil {
		return err
	}
	n, err := c.recv(ctx, c.inbox.room(want))
	c.inbox.added(n)
	return err
}

// recv takes at least one buffer from the socket. The caller has the reading turn.
func (c *Conn) recv(ctx context.Context, dst []zcrx.Buffer) (int, error) {
	s := c.socket()
	if f := currentFiber(); f != nil && s.loop() == nil {
		return c.recvForFiber(ctx, f, dst)
	}
	return s.recv(ctx, dst, &c.readLimit)
}

// Recv returns the next buffer, which the caller must release. It waits for it until ctx
// ends or the read deadline passes; no byte is lost then, and a later call returns it.
// After the last buffer Recv returns io.EOF if the peer ended the stream, or the error
// that ended it.
func (c *Conn) Recv(ctx context.Context) (zcrx.Buffer, error) {
	if err := c.startReading(ctx, 1); err != nil {
		return zcrx.Buffer{}, c.opError("read", err)
	}
	defer c.endReading()
	return c.inbox.takeFirst(), nil
}

// RecvBatch is Recv for several buffers: it waits for at least one, puts those that are
// there into dst, and returns their number. It returns 0 only with an error or for an
// empty dst. The caller must release the buffers.
func (c *Conn) RecvBatch(ctx context.Context, dst []zcrx.Buffer) (int, error) {
	if len(dst) == 0 {
		return 0, c.opError("read", c.mayStart())
	}
	if err := c.startReading(ctx, 0); err != nil {
		return 0, c.opError("read", err)
	}
	defer c.endReading()
	if !c.inbox.empty() {
		return c.inbox.take(dst), nil
	}
	n, err := c.recv(ctx, dst)
	return n, c.opError("read", err)
}

// Buffers returns an iterator over the buffers up to the end of the stream. The loop body
// must release each. An error, ctx's included, comes as the last pair, with an empty
// Buffer. The end of the stream is not an error: it ends the loop.
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

// Read copies up to len(p) received bytes into p and returns their number. It waits until
// there is at least one. It returns io.EOF at the end of the stream.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, c.opError("read", c.mayStart())
	}
	if err := c.startReading(context.Background(), 0); err != nil {
		return 0, c.opError("read", err)
	}
	defer c.endReading()
	if c.inbox.empty() {
		n, direct, err := c.socket().readDirect(p)
		if direct {
			return n, c.opError("read", err)
		}
		if err := c.fill(context.Background(), len(p)); err != nil {
			return 0, c.opError("read", err)
		}
	}
	return c.inbox.read(p), nil
}

// Peek returns the next n bytes, 0 to 1 GiB, without consuming them. If they lie in one
// buffer they are not copied. They are read-only, and valid until the next call that
// reads from the connection or closes it. If the stream or ctx ends, or the read deadline
// passes, while Peek waits for more, it returns the bytes that there are and the error.
func (c *Conn) Peek(ctx context.Context, n int) ([]byte, error) {
	if n < 0 || n > maxPeek {
		return nil, c.opError("read", rangeError("length of Peek", int64(n), 0, maxPeek))
	}
	if err := c.enterReading(ctx); err != nil {
		return nil, c.opError("read", err)
	}
	defer c.endReading()
	if err := c.mayTake(); err != nil {
		return nil, c.opError("read", err)
	}
	err := c.mayWait(ctx)
	for err == nil && c.inbox.bytes < n {
		// A Peek that waits holds no lease: it could wait for a buffer that another one
		// holds, which waits as well. The bytes have to be copied together anyway.
		c.inbox.copyOut()
		err = c.fill(ctx, n-c.inbox.bytes)
	}
	n = min(n, c.inbox.bytes)
	c.inbox.merge(n)
	return c.inbox.front()[:n:n], c.opError("read", err)
}

// maxPeek is the largest length of Peek. It limits how much memory a peer can make a
// parser use.
const maxPeek = 1 << 30

// Discard skips the next n bytes and returns how many it skipped: fewer than n only with
// an error. n must not be negative. Bytes that Peek returned can be skipped also after ctx
// has ended or the read deadline has passed, which only end the wait for more.
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

// Chunks returns an iterator over the next n bytes, for a message of known length. Each
// chunk lies in a receive buffer and is not copied. It is read-only, and valid until its
// round of the loop ends; then it is consumed. Leaving the loop consumes the current chunk
// and leaves the rest in the connection. An error, io.EOF included, comes as the last
// pair, with a nil chunk. The end of ctx and the read deadline only end the wait for bytes,
// as in Discard. The loop body must not read from the connection. n must not be
// negative.
func (c *Conn) Chunks(ctx context.Context, n int) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		if n < 0 {
			yield(nil, c.opError("read", rangeError("number of bytes", int64(n), 0, math.MaxInt)))
			return
		}
		if err := c.mayStart(); err != nil && n == 0 {
			yield(nil, c.opError("read", err))
		}
		for n > 0 {
			if err := c.startTaking(ctx, n, c.mayWaitIfEmpty); err != nil {
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

// consume yields a chunk, then discards it and ends the turn, also if the loop body panics.
func (c *Conn) consume(chunk []byte, yield func([]byte, error) bool) bool {
	defer func() {
		c.inbox.discard(len(chunk))
		c.endReading()
	}()
	return yield(chunk, nil)
}

// WriteTo writes everything up to the end of the stream to w and returns the number of
// bytes. If w is a *Conn or a *net.TCPConn, it writes many buffers with one system call.
// After an error of w, the bytes that w did not take stay in the connection. w must not
// read from the connection.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	for {
		err := c.startReading(context.Background(), math.MaxInt)
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

// drainTo writes the inbox to w, discards what was written, and ends the turn.
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

var errInvalidWrite = errors.New("zcnet: Write returned an invalid count")

// writeEach writes v to w, slice by slice.
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
