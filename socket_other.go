//go:build !linux

package zcrx

import (
	"net"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Off Linux no receiver has a socket of its own: no ring can be made.

func detachConn(*net.TCPConn) (int, error)        { return -1, sys.ErrNotLinux }
func setNonblock(int, bool) error                 { return sys.ErrNotLinux }
func receiveNow(int, []byte) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func boundReceiveBuffer(int, int) error           { return sys.ErrNotLinux }
func setReceiveBuffer(int, int) error             { return sys.ErrNotLinux }
func bytesBehind(int) bool                        { return false }
func bytesWaiting(int) bool                       { return false }
func receiveBufferIsSet(int) bool                 { return false }
func tcpWindowLimit() int64                       { return 0 }
func checkPlainTCP(int) error                     { return nil }
func incomingNAPI(*net.TCPConn) uint32            { return 0 }

// Off Linux there is no Receiver: no ring can be made.

const (
	msgNoSignal = 0
	msgWaitAll  = 0
)

func sendMessage(int, [][]byte) (int, error) { return 0, sys.ErrNotLinux }
func abortSocket(int)                        {}
func shutdownSocket(int, int) error          { return sys.ErrNotLinux }
