package zcrx

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System calls and constants of Linux that the portable files need. Their
// counterparts for other systems are in sys_other.go.

const (
	errTimer  = unix.ETIME   // what a wait answers when its time-out has passed
	errNoData = unix.ENODATA // what a registration answers when the driver ignored it
)

func errnoName(e syscall.Errno) string { return unix.ErrnoName(e) }

// threadID identifies the calling thread.
func threadID() int { return unix.Gettid() }

// newEventFD makes a blocking eventfd: a read of it on a ring completes when
// somebody writes.
func newEventFD() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	return fd, os.NewSyscallError("eventfd", err)
}

// signalEventFD adds one to the eventfd's counter.
func signalEventFD(fd int) error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := unix.Write(fd, one[:])
	return os.NewSyscallError("write", err)
}

func closeFD(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

// mapAnonymous maps size bytes of zeroed private memory, at an address that is
// a multiple of align (a power of two, at least a page).
func mapAnonymous(size, align uintptr) ([]byte, error) {
	mem, err := unix.MmapPtr(-1, 0, nil, size+align, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	// Cut off what lies before and behind the aligned part.
	skip := (align - uintptr(mem)&(align-1)) & (align - 1)
	if skip > 0 {
		if err := unix.MunmapPtr(mem, skip); err != nil {
			return nil, os.NewSyscallError("munmap", err)
		}
	}
	start := unsafe.Add(mem, skip)
	if rest := align - skip; rest > 0 {
		if err := unix.MunmapPtr(unsafe.Add(start, size), rest); err != nil {
			return nil, os.NewSyscallError("munmap", err)
		}
	}
	return unsafe.Slice((*byte)(start), size), nil
}

func unmap(mem []byte) error {
	return os.NewSyscallError("munmap", unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem))))
}

// adviseReceive keeps received bytes out of core dumps and of child processes
// (whose copy-on-write would take the pages away from the kernel), and asks for
// huge pages. All three are advice: a kernel without them still works.
func adviseReceive(mem []byte) {
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK, unix.MADV_HUGEPAGE} {
		_ = unix.Madvise(mem, advice)
	}
}

func pageSize() uintptr { return uintptr(os.Getpagesize()) }

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
		errno, failed := err.(syscall.Errno)
		switch {
		case !failed:
			return n, 0
		case errno != syscall.EINTR:
			return 0, errno
		}
	}
}

// boundReceiveBuffer bounds what the socket may queue to so many bytes: the kernel counts
// what the packets' memory takes. 0 has the kernel tune the size again, by itself.
func boundReceiveBuffer(fd, bytes int) error {
	if bytes == 0 {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK, 0))
	}
	// Doubled by the kernel. SO_RCVBUF is bounded by net.core.rmem_max as well.
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, bytes/2) == nil {
		return nil
	}
	return setReceiveBuffer(fd, bytes/2)
}

func setReceiveBuffer(fd, bytes int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes))
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
	if raw.Control(func(fd uintptr) { id = incomingNAPIOf(int(fd)) }) != nil {
		return 0
	}
	return id
}

// incomingNAPIOf is 0 on an error.
func incomingNAPIOf(fd int) uint32 {
	id, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
	return uint32(id)
}

// receiveQueues is the number of receive queues of an interface, 0 if unknown.
func receiveQueues(iface string) int {
	found, _ := filepath.Glob(filepath.Join("/sys/class/net", iface, "queues", "rx-*"))
	return len(found)
}

// interfaceDriver is the name of the driver of an interface's device, empty for
// an interface without one.
func interfaceDriver(iface string) string {
	link, err := os.Readlink(filepath.Join("/sys/class/net", iface, "device", "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

// kernelRelease is the running kernel's version, as uname -r prints it.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// ioUringDisabled is the sysctl kernel.io_uring_disabled: 0, 1 or 2; 0 where the
// kernel does not have it (before Linux 6.6).
func ioUringDisabled() int {
	b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	if err != nil || len(b) == 0 || b[0] < '0' || b[0] > '2' {
		return 0
	}
	return int(b[0] - '0')
}

// seccompFiltered tells whether a seccomp filter is in force: then a system call
// that is missing may just be hidden.
func seccompFiltered() bool {
	b, err := os.ReadFile("/proc/thread-self/status")
	return err == nil && strings.Contains(string(b), "\nSeccomp:\t2\n")
}

// memlockLimit is RLIMIT_MEMLOCK in bytes. limited is false where the process may
// pin as much as it likes.
func memlockLimit() (limit uint64, limited bool) {
	var r unix.Rlimit
	if haveCapability(unix.CAP_IPC_LOCK) || unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) != nil {
		return 0, false
	}
	return r.Cur, r.Cur != unix.RLIM_INFINITY
}

// haveCapability tells whether the calling thread has the capability.
func haveCapability(capability uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<capability) != 0
}

// inInitialNamespace tells whether the process is in the initial user namespace,
// which maps every id to itself.
func inInitialNamespace() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(b))
	return err != nil || (len(f) == 3 && f[0] == "0" && f[1] == "0" && f[2] == "4294967295")
}
