package zcrx

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// System calls on sockets. What other systems have in their place is in socket_other.go.

// detachConn makes an fd of conn's socket that is independent of conn.
func detachConn(conn *net.TCPConn) (fd int, err error) {
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

func setNonblock(fd int, nonblocking bool) error {
	return os.NewSyscallError("fcntl", unix.SetNonblock(fd, nonblocking))
}

// receiveNow reads what the socket holds, without waiting. No bytes and no errno are the
// end of the stream.
func receiveNow(fd int, p []byte) (int, syscall.Errno) {
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

// boundReceiveBuffer bounds what the socket may queue to so many bytes: the kernel counts
// what the packets' memory takes. 0 has the kernel tune the size again, by itself.
func boundReceiveBuffer(fd, bytes int) error {
	if bytes == 0 {
		return letReceiveBufferGo(fd)
	}
	// Doubled by the kernel. SO_RCVBUF is bounded by net.core.rmem_max as well.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes/2) == nil {
		return nil
	}
	return setReceiveBuffer(fd, bytes/2)
}

// letReceiveBufferGo leaves alone whether the size of the send buffer is set.
func letReceiveBufferGo(fd int) error {
	locked, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, locked&^sockRcvbufLock))
}

func setReceiveBuffer(fd, bytes int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes))
}

// bytesBehind tells whether recv(2) has more where RECV_ZC answered 0.
func bytesBehind(fd int) bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(fd, b[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	return err == nil && n > 0
}

// bytesWaiting tells whether the socket holds something to receive.
func bytesWaiting(fd int) bool {
	n, err := unix.IoctlGetInt(fd, unix.SIOCINQ)
	return err == nil && n > 0
}

// receiveBufferIsSet tells whether a program has set the size of the socket's receive
// buffer (Linux 5.14; before, nobody knows).
func receiveBufferIsSet(fd int) bool {
	locked, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	return err == nil && locked&sockRcvbufLock != 0
}

const sockRcvbufLock = 2 // SOCK_RCVBUF_LOCK (uapi linux/socket.h)

// tcpWindowLimit is the largest receive buffer that the kernel gives a socket by itself,
// in bytes: the last number of net.ipv4.tcp_rmem.
func tcpWindowLimit() int64 {
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

// checkPlainTCP refuses sockets with a protocol above TCP. The kernel would refuse to
// receive from them, with EPROTONOSUPPORT, only once there is a receive.
func checkPlainTCP(fd int) error {
	// Where this fails the kernel has the last word.
	above, _ := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_ULP)
	if above == "" {
		return nil
	}
	remedy := "use mode provided or socket"
	switch above {
	case "tls":
		above, remedy = "kernel TLS", remedy+", or do TLS in the program, as crypto/tls does"
	case "mptcp":
		above, remedy = "Multipath TCP", remedy+", or turn it off (net.ListenConfig and net.Dialer: SetMultipathTCP)"
	}
	return &UnsupportedError{Feature: "zero-copy receive from a socket of " + above, Layer: LayerKernel, Remedy: remedy}
}

// incomingNAPI is the number of the NAPI instance that the connection's packets
// come through, 0 if it has none or that is not known.
func incomingNAPI(conn *net.TCPConn) uint32 {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	id := uint32(0)
	if raw.Control(func(fd uintptr) { id = sys.IncomingNAPI(int(fd)) }) != nil {
		return 0
	}
	return id
}

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
