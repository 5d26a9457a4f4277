//go:build !linux

package zcrx

import (
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
)

// Off Linux no ring can be made, so nothing here is reached but what
// ProbeFeatures asks.

// These stand for errnos that not every system has and nobody answers here.
const (
	errTimer  = syscall.Errno(0x7fff)
	errNoData = syscall.Errno(0x7ffe)
)

var errNotLinux = errors.New("zcrx: io_uring needs Linux")

func errnoName(syscall.Errno) string                { return "" }
func threadID() int                                 { return 0 }
func newEventFD() (int, error)                      { return -1, errNotLinux }
func signalEventFD(int) error                       { return errNotLinux }
func closeFD(int) error                             { return errNotLinux }
func mapAnonymous(uintptr, uintptr) ([]byte, error) { return nil, errNotLinux }
func unmap([]byte) error                            { return errNotLinux }
func adviseReceive([]byte)                          {}
func kernelRelease() string                         { return runtime.GOOS }
func ioUringDisabled() int                          { return 0 }
func inInitialNamespace() bool                      { return true }
func pageSize() uintptr                             { return uintptr(os.Getpagesize()) }
func detachConn(*net.TCPConn) (int, error)          { return -1, errNotLinux }
func setNonblock(int, bool) error                   { return errNotLinux }
func checkPlainTCP(int) error                       { return nil }
func boundReceiveBuffer(int, int) error             { return errNotLinux }
func setReceiveBuffer(int, int) error               { return errNotLinux }
func bytesWaiting(int) bool                         { return false }
func receiveBufferIsSet(int) bool                   { return false }
func tcpWindowLimit() int64                         { return 0 }
func receiveNow(int, []byte) (int, syscall.Errno)   { return 0, syscall.ENOSYS }
func incomingNAPI(*net.TCPConn) uint32              { return 0 }
func receiveQueues(string) int                      { return 0 }
func interfaceDriver(string) string                 { return "" }
func seccompFiltered() bool                         { return false }
func memlockLimit() (uint64, bool)                  { return 0, false }
func mapHugeTLB(uintptr) ([]byte, error)            { return nil, errNotLinux }
func mapShared(int, uintptr) ([]byte, error)        { return nil, errNotLinux }
func newUDMABuf(uintptr) (int, error)               { return -1, errNotLinux }
