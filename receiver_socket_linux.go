package zcrx

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	msgNoSignal = unix.MSG_NOSIGNAL
	msgWaitAll  = unix.MSG_WAITALL
)

// sendMessage sends some of v without waiting; EAGAIN if the socket takes nothing.
func sendMessage(fd int, v [][]byte) (int, error) {
	for {
		n, err := unix.SendmsgBuffers(fd, v, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), os.NewSyscallError("sendmsg", err)
	}
}

// abortSocket resets the connection at once; what was not sent is dropped.
func abortSocket(fd int) {
	var unspecified [16]byte // sa_family AF_UNSPEC
	_, _, _ = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), uintptr(len(unspecified)))
}

func shutdownSocket(fd, how int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, how)) }
