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

// Conn is a TCP connection. Recv, RecvBatch, Buffers and Handle return received bytes as
// leased Buffers, without a copy. Peek and Chunks give access to the bytes in place. Conn
// also implements net.Conn, whose Read copies once.
//
// All methods are safe for concurrent use: readers take turns, and so do writers. A
// connection has at most zcrx.PoolConfig.MaxLeases leases out, including those of bytes
// that have arrived and are not read yet. When it has that many it is paused, and the
// peer is stopped by TCP's window.
//
// Errors are, or wrap, *net.OpError, and match os.ErrDeadlineExceeded, net.ErrClosed,
// syscall.ECONNRESET and so on. Exceptions are io.EOF, the errors of contexts, and those of
// the reader of ReadFrom and the writer of WriteTo.
type Conn struct {
	below         atomic.Pointer[socket] // replaced by useRing alone
	local, remote net.Addr
	onClose       func() // called once, when the socket is closed; may be nil

	reading   turnstile // held by the reader
	inbox     inbox     // guarded by reading
	handled   bool      // guarded by reading: a Handler takes the bytes
	readLimit deadline

	writing    turnstile     // held by the writer, and by Migrate
	slices     [][]byte      // what Write and Send write; guarded by writing
	leased     []zcrx.Buffer // what Send sends; guarded by writing
	writeLimit deadline

	closedParts atomic.Int32 // calls of closedPart

	closing atomic.Bool   // set by the first Close; then reads and writes fail
	closed  chan struct{} // closed by the first Close right after that
}

var (
	_ net.Conn      = (*Conn)(nil)
	_ io.WriterTo   = (*Conn)(nil)
	_ io.ReaderFrom = (*Conn)(nil)
	_ syscall.Conn  = (*Conn)(nil)
)

// socket is the layer below a Conn: a ringSocket or a plainSocket. At most one goroutine
// calls recv at a time, and at most one send.
type socket interface {
	// recv puts at least one buffer into dst, waiting until ctx ends or limit passes. The
	// moment of limit was also passed to setReadDeadline. A fiber calls recv only if the socket
	// has a loop.
	recv(ctx context.Context, dst []zcrx.Buffer, limit *deadline) (int, error)
	// readDirect reads into p what recv would put into buffers. direct is false if the socket
	// cannot, and has done nothing.
	readDirect(p []byte) (n int, direct bool, err error)
	setReadDeadline(t time.Time) error
	// handle passes first, and everything received from then on, to fn. recv is not called
	// after it. name is the program counter of the user's function in fn. On a loop it
	// returns ErrWouldBlock if it had to wait for another loop.
	handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error), name uintptr) error
	// send writes all of v. With an error it returns how many bytes it wrote.
	send(v [][]byte, limit *deadline) (int, error)
	// sendHere is send for a goroutine, which it may block.
	sendHere(v [][]byte, limit *deadline) (int, error)
	// queueLeased sees to it that all of buffers are sent and then released. queued is false
	// if the socket cannot, and has done nothing.
	queueLeased(buffers []zcrx.Buffer, limit *deadline) (queued bool, err error)
	setWriteDeadline(t time.Time) error
	// readFrom sends what r returns. handled is false if the socket has no better way
	// than send, and has done nothing.
	readFrom(r io.Reader) (n int64, handled bool, err error)
	shutdown(how int) error
	control(fn func(fd uintptr)) error
	// close closes the socket. closed is called when it is, which is later if something is
	// still to be sent.
	close(closed func()) error
	mode() zcrx.Mode
	loop() *zcrx.Loop // nil if there is none
	moveTo(ctx context.Context, to *zcrx.Loop) error
	// goFiber runs fn as a fiber. name is the program counter of the user's function in it.
	goFiber(fn func(), name uintptr) error

	socketOptions
}

// socketOptions are the methods of net.TCPConn with these names.
type socketOptions interface {
	SetNoDelay(noDelay bool) error
	SetLinger(sec int) error
	SetKeepAlive(keepAlive bool) error
	SetKeepAliveConfig(config net.KeepAliveConfig) error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

func newConn(s socket, local, remote net.Addr, onClose func()) *Conn {
	c := &Conn{
		local: local, remote: remote, onClose: onClose,
		closed: make(chan struct{}),
	}
	c.setSocket(s)
	return c
}

func (c *Conn) socket() socket     { return *c.below.Load() }
func (c *Conn) setSocket(s socket) { c.below.Store(&s) }

// Mode returns how bytes come into the buffers.
func (c *Conn) Mode() zcrx.Mode { return c.socket().mode() }

// LocalAddr returns the local address, a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address, a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// Close closes the connection. What was written is still sent, for up to 30 seconds if it was
// written on the loop, and by the kernel otherwise, except for a Write without a copy (see
// Config.SendZeroCopyFrom) that is under way: then Close resets the connection. Close releases received bytes that were not read. Leased buffers stay
// valid until they are released. Readers and writers that wait return an error that
// matches net.ErrClosed, and so does a second Close. On a loop, and while something is
// still to be sent, Close does not wait for the socket to be closed.
func (c *Conn) Close() error {
	if !c.closing.CompareAndSwap(false, true) {
		return c.opError("close", zcrx.ErrClosed)
	}
	close(c.closed)
	err := c.socket().close(c.closedPart)
	c.emptyInbox()
	c.readLimit.set(time.Time{}) // stops its timer
	c.writeLimit.set(time.Time{})
	c.closedPart()
	return c.opError("close", err)
}

// closedPart is called twice: when the socket is closed, and at the end of Close. The second
// call calls onClose.
func (c *Conn) closedPart() {
	if c.closedParts.Add(1) == 2 && c.onClose != nil {
		c.onClose()
	}
}

// endReading ends a turn that startReading began.
func (c *Conn) endReading() {
	c.reading.leave()
	if c.closing.Load() {
		c.emptyInbox()
	}
}

// emptyInbox releases the received bytes that were not read. If a reader has the turn, it
// does nothing, and endReading does it: that reader may be the caller, up the stack.
func (c *Conn) emptyInbox() {
	if c.reading.tryEnter() {
		c.inbox.release()
		c.reading.leave()
	}
}

// CloseRead shuts down the receiving side of the connection. The peer is not told. What
// was received before can still be read.
func (c *Conn) CloseRead() error { return c.opError("close", c.socket().shutdown(syscall.SHUT_RD)) }

// CloseWrite shuts down the sending side of the connection: the peer reads the end of the
// stream.
func (c *Conn) CloseWrite() error { return c.opError("close", c.socket().shutdown(syscall.SHUT_WR)) }

// SetDeadline sets the read and the write deadline. The zero time means none.
func (c *Conn) SetDeadline(t time.Time) error {
	err := c.SetReadDeadline(t)
	if werr := c.SetWriteDeadline(t); err == nil {
		err = werr
	}
	return err
}

// SetReadDeadline sets the moment from which on calls that read return an error that
// matches os.ErrDeadlineExceeded, including calls that wait already. The zero time means
// none. A Handler has no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.opError("set", c.setLimit(&c.readLimit, c.socket().setReadDeadline, t))
}

// SetWriteDeadline sets the moment from which on calls that write return an error that
// matches os.ErrDeadlineExceeded, including calls that wait already. The zero time means
// none. A Write without a copy (see Config.SendZeroCopyFrom) that began without a deadline
// returns later: when the peer has acknowledged what the kernel took of it. While there is
// a deadline, Write copies.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.opError("set", c.setLimit(&c.writeLimit, c.socket().setWriteDeadline, t))
}

// setLimit sets a deadline of the connection and of its socket to the same moment.
func (c *Conn) setLimit(d *deadline, setSocket func(time.Time) error, t time.Time) error {
	d.setting.Lock() // or two callers could leave two moments
	defer d.setting.Unlock()
	if err := setSocket(t); err != nil {
		return err
	}
	d.set(t)
	if c.closing.Load() {
		d.set(time.Time{}) // Close may have done so before: no timer stays
	}
	return nil
}

// SetNoDelay turns Nagle's algorithm off (true, the default) or on, as
// net.TCPConn.SetNoDelay does.
func (c *Conn) SetNoDelay(noDelay bool) error {
	return c.opError("set", c.socket().SetNoDelay(noDelay))
}

// SetLinger sets what Close does with unsent bytes, as net.TCPConn.SetLinger does. With 0
// Close drops them and resets the connection.
func (c *Conn) SetLinger(sec int) error { return c.opError("set", c.socket().SetLinger(sec)) }

// SetKeepAlive turns keep-alive probes on (the default) or off, as
// net.TCPConn.SetKeepAlive does.
func (c *Conn) SetKeepAlive(keepAlive bool) error {
	return c.opError("set", c.socket().SetKeepAlive(keepAlive))
}

// SetKeepAliveConfig configures keep-alive probes, as net.TCPConn.SetKeepAliveConfig does.
func (c *Conn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.opError("set", c.socket().SetKeepAliveConfig(config))
}

// SetReadBuffer sets the size in bytes of the kernel's receive buffer. Linux doubles the
// number. In ZeroCopy mode the bytes there lie in the pool's buffers: unless the program
// sets the size, it starts small and grows while the connection is read, up to what fits
// the pool.
func (c *Conn) SetReadBuffer(bytes int) error {
	return c.opError("set", c.socket().SetReadBuffer(bytes))
}

// SetWriteBuffer sets the size in bytes of the kernel's send buffer. Linux doubles the
// number.
func (c *Conn) SetWriteBuffer(bytes int) error {
	return c.opError("set", c.socket().SetWriteBuffer(bytes))
}

// SyscallConn returns access to the socket's fd, for socket options. The Read method of
// the returned value always fails, because the engine receives the bytes. Its Write method
// calls its function once and does not wait.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return rawConn{c}, nil }

type rawConn struct{ c *Conn }

// Control calls fn with the fd, which stays open until fn returns. fn must not wait.
func (r rawConn) Control(fn func(fd uintptr)) error {
	return r.c.opError("raw-control", r.c.socket().control(fn))
}

func (r rawConn) Read(func(fd uintptr) bool) error {
	return r.c.opError("raw-read", errRawRead)
}

// Write calls fn once. It returns an error if fn returns false: it does not wait until the
// socket has room.
func (r rawConn) Write(fn func(fd uintptr) bool) error {
	done := false
	err := r.c.socket().control(func(fd uintptr) { done = fn(fd) })
	if err == nil && !done {
		err = errRawWrite
	}
	return r.c.opError("raw-write", err)
}

var (
	errRawRead  = errors.New("the fd must not be read: take received bytes with Conn.Read or Conn.Recv")
	errRawWrite = errors.New("the socket is not ready")
)

// opError wraps err in a *net.OpError, as package net does. It returns nil, io.EOF, errors
// of contexts and *net.OpErrors as they are.
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
