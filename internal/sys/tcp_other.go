//go:build !linux

package sys

import (
	"net"
	"syscall"
)

// Off Linux no ring can be made, so no receiver has a socket of its own, and none of
// this is called.

// DetachConn returns ErrNotLinux.
func DetachConn(*net.TCPConn) (int, error) { return -1, ErrNotLinux }

// SetNonblock returns ErrNotLinux.
func SetNonblock(int, bool) error { return ErrNotLinux }

// ReceiveNow returns ENOSYS.
func ReceiveNow(int, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }

// Readable returns false.
func Readable(int) bool { return false }

// HasQueued returns false.
func HasQueued(int) bool { return false }

// BoundReceiveBuffer returns ErrNotLinux.
func BoundReceiveBuffer(int, int) error { return ErrNotLinux }

// SetReceiveBuffer returns ErrNotLinux.
func SetReceiveBuffer(int, int) error { return ErrNotLinux }

// ReceiveBufferIsSet returns false.
func ReceiveBufferIsSet(int) bool { return false }

// ReceiveBufferLimit returns 0.
func ReceiveBufferLimit() int64 { return 0 }

// UpperProtocol returns nothing.
func UpperProtocol(int) string { return "" }

// ConnNAPI returns 0.
func ConnNAPI(*net.TCPConn) uint32 { return 0 }

// Flags of a send.
const (
	MsgNoSignal = 0
	MsgWaitAll  = 0
)

// SockCloseOnExec is 0.
const SockCloseOnExec = 0

// SendNow returns ErrNotLinux.
func SendNow(int, [][]byte) (int, error) { return 0, ErrNotLinux }

// ResetConn does nothing.
func ResetConn(int) {}

// Lingers returns false.
func Lingers(int) bool { return false }

// DropsOnClose returns false.
func DropsOnClose(int) bool { return false }

// Shutdown returns ErrNotLinux.
func Shutdown(int, int) error { return ErrNotLinux }
