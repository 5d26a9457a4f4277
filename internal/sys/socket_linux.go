package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropUrgent attaches a filter to a TCP socket that drops every packet with the URG flag.
// Sockets that it accepts inherit the filter. If the socket has a filter already,
// DropUrgent does nothing.
func DropUrgent(fd int) error {
	if hasAnyFilter(fd) {
		return nil
	}
	const flags, urg, all = 13, 0x20, 1<<32 - 1 // the packet begins with the TCP header
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: flags},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: urg, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: all},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return os.NewSyscallError("setsockopt", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program))
}

// hasAnyFilter reports whether the socket has a filter, classic or eBPF. Of the latter the
// kernel returns nothing but EACCES.
func hasAnyFilter(fd int) bool {
	n := uint32(0)
	errno := filterLength(fd, &n)
	return errno == unix.EACCES || errno == 0 && n > 0
}

// HasFilter reports whether the socket has a classic BPF filter.
func HasFilter(fd int) bool {
	// The length of this option counts instructions, not bytes. If it is 0, the kernel
	// sets it to their number and copies none.
	n := uint32(0)
	return filterLength(fd, &n) == 0 && n > 0
}

func filterLength(fd int, n *uint32) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, uintptr(unsafe.Pointer(n)), 0)
	return errno
}

// IncomingNAPI returns the number of the NAPI instance that received the socket's last
// packets (SO_INCOMING_NAPI_ID), 0 if it is not known.
func IncomingNAPI(fd int) uint32 {
	id, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
	return uint32(id)
}
