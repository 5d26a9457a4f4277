//go:build !unix

package sys

import (
	"net"
	"syscall"
)

// ConnReader reads from a connection into borrowed memory. One goroutine at a time may use
// it.
type ConnReader struct{ conn *net.TCPConn }

// NewConnReader returns a ConnReader for conn.
func NewConnReader(conn *net.TCPConn, _ syscall.RawConn) *ConnReader { return &ConnReader{conn} }

// Read reads into memory of m, which it holds while it waits. If there is no memory, Read
// returns 0 and no error. The end of the stream is io.EOF.
func (r *ConnReader) Read(m BorrowedMemory) (int, error) {
	memory := m.Get()
	if memory == nil {
		return 0, nil
	}
	return r.conn.Read(memory)
}
