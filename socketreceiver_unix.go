//go:build unix

package zcrx

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// readInto waits for data without a buffer: a connection that is idle holds none. If
// there is data, but the pool has no buffer, it returns neither bytes nor an error.
func (r *SocketReceiver) readInto(b *socketBuffer) (n int, err error) {
	var errno error
	err = r.raw.Read(func(fd uintptr) bool {
		if b.mem == nil && !r.pool.tryBorrow(b) {
			return true
		}
		if n, errno = readSocket(int(fd), b.mem); errors.Is(errno, syscall.EAGAIN) {
			r.pool.giveBack(b)
			return false
		}
		return true
	})
	switch op, told := errors.AsType[*net.OpError](err); {
	case told:
		return 0, op.Err // of waiting, not of a Read of the RawConn
	case err != nil:
		return 0, err
	case b.mem == nil:
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
