//go:build !unix

package sys

import (
	"net"
	"syscall"
)

// ReadConn reads from conn into m, which it holds while it waits. If there is no memory,
// ReadConn returns 0 and no error. The end of the stream is
// io.EOF.
func ReadConn(conn *net.TCPConn, _ syscall.RawConn, m BorrowedMemory) (int, error) {
	mem := m.Get()
	if mem == nil {
		return 0, nil
	}
	return conn.Read(mem)
}
