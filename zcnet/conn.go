package zcnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
)

// Conn is a TCP connection. Programs that want no copy take its bytes as leased
// Buffers (Recv, RecvBatch, Buffers, Handle), or look at them in place (Peek,
// Chunks); for all others it is a net.Conn, whose Read copies once.
//
// All methods are safe from any goroutine. Readers take turns, and so do writers. A
// connection has at most zcrx.PoolConfig.MaxLeases leases out, those that nobody has
// taken yet included: then it is paused, and TCP's window closes.
//
// Errors but io.EOF and a context's are *net.OpError; errors.Is finds in them
// os.ErrDeadlineExceeded, net.ErrClosed, syscall.ECONNRESET and the like.
type Conn struct {
	socket        socket
	local, remote net.Addr
	onClose       func() // called once, after the socket was given up

	reading   turnstile // held by whoever takes bytes
	inbox     inbox     // guarded by reading
	handled   bool      // guarded by reading: a Handler takes the bytes
	readLimit deadline

	writing    turnstile // held by whoever writes, or moves the connection
	writeLimit deadline

	closing atomic.Bool   // set by the first Close; from then on nobody takes a turn
	closed  chan struct{} // closed by that Close, before anything else
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ syscall.Conn  = (*Conn)(nil)
)

// socket is what carries a connection's bytes: a ringSocket on a loop, or a
// plainSocket. recv and send have one caller each at a time.
type socket interface {
	// recv puts buffers into dst, at least one. It waits until ctx ends or limit passes;
	// setReadDeadline was called with the same moment.
	recv(ctx context.Context, dst []zcrx.Buffer, limit *deadline) (int, error)
	setReadDeadline(t time.Time) error
	// handle has fn take first, and what comes from now on; recv is not called any
	// more. It returns ErrWouldBlock on a loop where it would have to wait for
	// another one.
	handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error)) error
	// send writes all of v, and returns how much it wrote if it cannot.
	send(v [][]byte, limit *deadline) (int, error)
	setWriteDeadline(t time.Time) error
	readFrom(r io.Reader) (n int64, handled bool, err error)
	shutdown(how int) error
	control(fn func(fd uintptr)) error
	close() error
	// onLoop tells whether the caller is on a loop, and must not wait.
	onLoop() bool

	mode() zcrx.Mode
	// maxLeases is how many leases the connection may have out.
	maxLeases() int
	// loop is the one that it is on, nil if there is none.
	loop() *zcrx.Loop
	// moveTo takes the socket to another loop.
	moveTo(ctx context.Context, to *zcrx.Loop) error

	socketOptions
}

// socketOptions are those of a net.TCPConn.
type socketOptions interface {
	SetNoDelay(noDelay bool) error
	SetLinger(sec int) error
	SetKeepAlive(keepAlive bool) error
	SetKeepAliveConfig(config net.KeepAliveConfig) error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

func newConn(s socket, local, remote net.Addr, onClose func()) *Conn {
	return &Conn{
		socket: s, local: local, remote: remote, onClose: onClose,
		reading: newTurnstile(), writing: newTurnstile(), closed: make(chan struct{}),
	}
}

// Mode is how the bytes come into the buffers.
func (c *Conn) Mode() zcrx.Mode { return c.socket.mode() }

// LocalAddr is a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Close ends the connection. What was written is still sent; what was received
// and not taken is released. Buffers that are out stay valid. Readers and writers
// that wait return net.ErrClosed. On a loop (in a Handler) it does not wait for the
// socket to be closed. A second Close returns net.ErrClosed, at once.
func (c *Conn) Close() error {
	if !c.closing.CompareAndSwap(false, true) {
		return c.opError("close", zcrx.ErrClosed)
	}
	close(c.closed)
	err := c.socket.close()
	c.emptyInbox()
	c.readLimit.set(time.Time{}) // no timer stays
	c.writeLimit.set(time.Time{})
	if c.onClose != nil {
		c.onClose()
	}
	return c.opError("close", err)
}

// endReading ends a turn.
func (c *Conn) endReading() {
	c.reading.leave()
	if c.closing.Load() {
		c.emptyInbox()
	}
}

// emptyInbox releases what nobody took. If somebody has the turn, he does it at its
// end: he may be the caller, up the stack.
func (c *Conn) emptyInbox() {
	if c.reading.tryEnter() {
		c.inbox.release()
		c.reading.leave()
	}
}

// CloseRead ends the receiving direction: the peer is not told. What came before
// can still be read.
func (c *Conn) CloseRead() error { return c.opError("close", c.socket.shutdown(syscall.SHUT_RD)) }

// CloseWrite ends the sending direction: the peer reads the end of the stream.
func (c *Conn) CloseWrite() error { return c.opError("close", c.socket.shutdown(syscall.SHUT_WR)) }

// SetDeadline sets both deadlines. The zero time means none.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline is the moment from which on nothing is received:
// os.ErrDeadlineExceeded. It concerns calls that wait already, too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	if err := c.socket.setReadDeadline(t); err != nil {
		return c.opError("set", err)
	}
	c.readLimit.set(t)
	return nil
}

// SetWriteDeadline is the moment from which on nothing is written. A large Write
// that began without a deadline may send without a copy: then it returns only when
// the kernel needs its bytes no more.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	if err := c.socket.setWriteDeadline(t); err != nil {
		return c.opError("set", err)
	}
	c.writeLimit.set(t)
	return nil
}

// SetNoDelay turns Nagle's algorithm off (the default) or on.
func (c *Conn) SetNoDelay(noDelay bool) error {
	return c.opError("set", c.socket.SetNoDelay(noDelay))
}

// SetLinger is as net.TCPConn's: 0 has Close reset the connection.
func (c *Conn) SetLinger(sec int) error { return c.opError("set", c.socket.SetLinger(sec)) }

// SetKeepAlive is as net.TCPConn's.
func (c *Conn) SetKeepAlive(keepAlive bool) error {
	return c.opError("set", c.socket.SetKeepAlive(keepAlive))
}

// SetKeepAliveConfig is as net.TCPConn's.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.opError("set", c.socket.SetKeepAliveConfig(config))
}

// SetReadBuffer is the size in bytes of the kernel's receive buffer, which the kernel
// doubles. In ZeroCopy mode what lies there lies in the pool's buffers; unless it is set,
// it grows from a small size on while the connection is read, up to what fits the pool.
func (c *Conn) SetReadBuffer(bytes int) error {
	return c.opError("set", c.socket.SetReadBuffer(bytes))
}

// SetWriteBuffer is the size in bytes of the kernel's send buffer.
func (c *Conn) SetWriteBuffer(bytes int) error {
	return c.opError("set", c.socket.SetWriteBuffer(bytes))
}

// SyscallConn gives access to the socket. Its Read returns an error: the bytes are
// the kernel's to deliver.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ c *Conn }

// Control runs fn with the fd, which stays open meanwhile: fn must not wait.
func (r rawConn) Control(fn func(fd uintptr)) error {
	return r.c.opError("raw-control", r.c.socket.control(fn))
}

func (r rawConn) Read(func(fd uintptr) bool) error {
	return r.c.opError("raw-read", errRawRead)
}

// Write runs fn until it returns true, once: it does not wait for room.
func (r rawConn) Write(fn func(fd uintptr) bool) error {
	done := false
	err := r.c.socket.control(func(fd uintptr) { done = fn(fd) })
	if err == nil && !done {
		err = errRawWrite
	}
	return r.c.opError("raw-write", err)
}

var (
	errRawRead  = errors.New("received bytes are taken with Read or Recv")
	errRawWrite = errors.New("the socket is not ready")
)

// opError is err as package net tells it.
func (c *Conn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if _, told := errors.AsType[*net.OpError](err); told {
		return err
	}
	if errors.Is(err, zcrx.ErrClosed) {
		err = net.ErrClosed
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}
