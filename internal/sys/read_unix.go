//go:build unix

package sys

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// ReadConn reads from conn, whose RawConn is raw, into m. It
// borrows m only once there is something to read, so that a connection that is idle
// holds no memory. If there is no memory, ReadConn returns 0 and no error. The end of the
// stream is io.EOF.
func ReadConn(_ *net.TCPConn, raw syscall.RawConn, m BorrowedMemory) (n int, err error) {
	var mem []byte
	var errno error
	err = raw.Read(func(fd uintptr) bool {
		if mem = m.Get(); mem == nil {
			return true
		}
		if n, errno = readSocket(int(fd), mem); errors.Is(errno, syscall.EAGAIN) {
			m.Put()
			return false
		}
		return true
	})
	switch op, told := errors.AsType[*net.OpError](err); {
	case told:
		return 0, op.Err // of waiting, not of a Read of the RawConn
	case err != nil:
		return 0, err
	case mem == nil:
		return 0, nil
	case errno != nil:
		return 0, os.NewSyscallError("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

func readSocket(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}
