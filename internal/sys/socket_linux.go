package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropUrgent has the kernel drop every packet of a TCP socket that has the URG flag, if
// the socket has no filter of its own. Accepted sockets inherit it.
func DropUrgent(fd int) error {
	if HasFilter(fd) {
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

// HasFilter tells whether the socket has a classic filter. The length of this option
// counts instructions, not bytes: with 0 the kernel tells how many there are, and copies
// none.
func HasFilter(fd int) bool {
	n := uint32(0)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_GET_FILTER, 0, uintptr(unsafe.Pointer(&n)), 0)
	return errno == 0 && n > 0
}

// IncomingNAPI returns the number of the NAPI instance that the packets of the socket fd
// come through (SO_INCOMING_NAPI_ID), 0 if it has none or that is not known.
func IncomingNAPI(fd int) uint32 {
	id, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
	return uint32(id)
}
