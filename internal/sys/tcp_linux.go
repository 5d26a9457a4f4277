package sys

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DetachConn returns an fd of conn's socket that is independent of conn.
func DetachConn(conn *net.TCPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	err = raw.Control(func(own uintptr) {
		fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return -1, err
	}
	return fd, os.NewSyscallError("fcntl", dupErr)
}

// SetNonblock makes fd non-blocking, or blocking.
func SetNonblock(fd int, nonblocking bool) error {
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, nonblocking))
}

// ReceiveNow reads what the socket holds, without waiting. No bytes and no errno are the
// end of the stream.
func ReceiveNow(fd int, p []byte) (int, syscall.Errno) {
	for {
		n, _, err := unix.Recvfrom(fd, p, unix.MSG_DONTWAIT)
		if err == nil {
			return n, 0
		}
		errno, ok := errors.AsType[syscall.Errno](err)
		switch {
		case !ok:
			return 0, syscall.EIO // a system call's error is an errno
		case errno != syscall.EINTR:
			return 0, errno
		}
	}
}

// Readable tells whether recv(2) would return bytes, and not the end of the stream.
func Readable(fd int) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == nil && n > 0
}

// HasQueued tells whether the socket's receive queue holds bytes (SIOCINQ).
func HasQueued(fd int) bool {
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return err == nil && n > 0
}

// BoundReceiveBuffer bounds what the socket may queue to so many bytes: the kernel counts
// what the packets' memory takes. 0 has the kernel tune the size again, by itself.
func BoundReceiveBuffer(fd, bytes int) error {
	if bytes == 0 {
		return unlockReceiveBuffer(fd)
	}
	// Doubled by the kernel. SO_RCVBUF is bounded by net.core.rmem_max as well.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes/2) == nil {
		return nil
	}
	return SetReceiveBuffer(fd, bytes/2)
}

const sockRcvbufLock = 2 // SOCK_RCVBUF_LOCK (uapi linux/socket.h)

// unlockReceiveBuffer does not change whether the size of the send buffer is set.
func unlockReceiveBuffer(fd int) error {
	locked, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked&^sockRcvbufLock))
}

// SetReceiveBuffer sets SO_RCVBUF in bytes, which the kernel doubles.
func SetReceiveBuffer(fd, bytes int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes))
}

// ReceiveBufferIsSet tells whether a program has set the size of the socket's receive
// buffer. Before Linux 5.14 it returns false.
func ReceiveBufferIsSet(fd int) bool {
	locked, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	return err == nil && locked&sockRcvbufLock != 0
}

// ReceiveBufferLimit returns the largest receive buffer that the kernel gives a socket by
// itself, in bytes: the last number of net.ipv4.tcp_rmem.
func ReceiveBufferLimit() int64 {
	const usual = 6 << 20
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_rmem")
	if err != nil {
		return usual
	}
	f := strings.Fields(string(b))
	if len(f) != 3 {
		return usual
	}
	n, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil {
		return usual
	}
	return n
}

// UpperProtocol returns the name of the protocol that lies above TCP (TCP_ULP), empty if
// there is none or that is not known.
func UpperProtocol(fd int) string {
	name, _ := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP)
	return name
}

// ConnNAPI is IncomingNAPI of conn's socket.
func ConnNAPI(conn *net.TCPConn) uint32 {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	id := uint32(0)
	if raw.Control(func(fd uintptr) { id = IncomingNAPI(int(fd)) }) != nil {
		return 0
	}
	return id
}

// Flags of a send.
const (
	MsgNoSignal = unix.MSG_NOSIGNAL
	MsgWaitAll  = unix.MSG_WAITALL
)

// SockCloseOnExec is a flag of accept.
const SockCloseOnExec = unix.SOCK_CLOEXEC

const maxSlices = 1024 // UIO_MAXIOV: the kernel refuses more

// SendNow sends some of v without waiting. It returns an error that matches EAGAIN if the
// socket takes nothing.
func SendNow(fd int, v [][]byte) (int, error) {
	v = v[:min(len(v), maxSlices)]
	for {
		n, err := unix.SendmsgBuffers(fd, v, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		return max(n, 0), os.NewSyscallError("sendmsg", err)
	}
}

// ResetConn resets the connection at once; what was not sent is dropped. The fd stays
// open.
func ResetConn(fd int) {
	var unspecified [16]byte // sa_family AF_UNSPEC
	_, _, _ = unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspecified)), uintptr(len(unspecified)))
}

// Lingers reports whether close(2) of the socket waits until what was written has been sent
// (SO_LINGER with a time of more than 0).
func Lingers(fd int) bool {
	l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	return err == nil && l.Onoff != 0 && l.Linger != 0 // a negative time is a very long one
}

// DropsOnClose reports whether close(2) of the socket drops what has not been sent and resets
// the connection (SO_LINGER with a time of 0).
func DropsOnClose(fd int) bool {
	l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	return err == nil && l.Onoff != 0 && l.Linger == 0
}

// Shutdown ends a direction of the connection: how is SHUT_RD, SHUT_WR or SHUT_RDWR.
func Shutdown(fd, how int) error { return os.NewSyscallError("shutdown", unix.Shutdown(fd, how)) }
