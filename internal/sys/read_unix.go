//go:build unix

package sys

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// ConnReader reads from a connection into borrowed memory, and allocates nothing. One
// goroutine at a time may use it.
type ConnReader struct {
	raw syscall.RawConn
	try func(fd uintptr) bool

	// Of the call of Read:
	lender BorrowedMemory
	memory []byte
	n      int
	err    error
}

// NewConnReader returns a ConnReader for conn, whose RawConn is raw.
func NewConnReader(_ *net.TCPConn, raw syscall.RawConn) *ConnReader {
	r := &ConnReader{raw: raw}
	r.try = r.tryRead
	return r
}

// Read reads into memory of m, which it borrows only once there is something to read, so that
// a connection that is idle holds no memory. If there is no memory, Read returns 0 and no
// error. The end of the stream is io.EOF.
func (r *ConnReader) Read(m BorrowedMemory) (int, error) {
	r.lender = m
	err := r.raw.Read(r.try)
	memory, n, readErr := r.memory, r.n, r.err
	r.lender, r.memory, r.n, r.err = nil, nil, 0, nil
	switch op, told := errors.AsType[*net.OpError](err); {
	case told:
		return 0, op.Err // of waiting, not of a Read of the RawConn
	case err != nil:
		return 0, err
	case memory == nil:
		return 0, nil
	case readErr != nil:
		return 0, os.NewSyscallError("read", readErr)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// tryRead returns false if it has to be called again when there is something to read.
func (r *ConnReader) tryRead(fd uintptr) bool {
	if r.memory = r.lender.Get(); r.memory == nil {
		return true
	}
	if r.n, r.err = readSocket(int(fd), r.memory); r.err == syscall.EAGAIN { //nolint:errorlint // of read(2) itself
		r.lender.Put()
		return false
	}
	return true
}

func readSocket(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
