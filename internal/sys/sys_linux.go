package sys

import (
	"encoding/binary"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Errnos that not every system has.
const (
	ETIME   = unix.ETIME   // the timeout of a wait has passed
	ENODATA = unix.ENODATA // the driver ignored a registration
)

// ErrnoName returns the errno's name, empty if it has none.
func ErrnoName(e syscall.Errno) string { return unix.ErrnoName(e) }

// ThreadID returns the kernel's id of the calling thread.
func ThreadID() int { return unix.Gettid() }

// NewEventFD returns a blocking eventfd, on which a ring's read completes only after
// SignalEventFD.
func NewEventFD() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	return fd, os.NewSyscallError("eventfd", err)
}

// SignalEventFD adds one to the eventfd's counter.
func SignalEventFD(fd int) error {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, err := unix.Write(fd, one[:])
	return os.NewSyscallError("write", err)
}

// Close closes a file descriptor.
func Close(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

// Duplicate returns another fd of the same file. Programs that are executed do not get it.
func Duplicate(fd int) (int, error) {
	other, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return other, os.NewSyscallError("fcntl", err)
}

// MapAnonymous maps size bytes of zeroed private memory, at an address that is
// a multiple of align (a power of two, at least a page).
func MapAnonymous(size, align uintptr) ([]byte, error) {
	size = (size + PageSize() - 1) &^ (PageSize() - 1)
	mem, err := unix.MmapPtr(-1, 0, nil, size+align, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	// Unmap what lies before and after the aligned part.
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

// Unmap unmaps mem, which MapAnonymous returned.
func Unmap(mem []byte) error {
	return os.NewSyscallError("munmap", unix.MunmapPtr(unsafe.Pointer(unsafe.SliceData(mem)), uintptr(len(mem))))
}

// AdviseReceive advises the kernel to leave mem out of core dumps and child processes,
// and to use huge pages for it. After a fork, copy-on-write could give this process other
// pages than those that the kernel writes received bytes to. Errors are ignored.
func AdviseReceive(mem []byte) {
	for _, advice := range []int{unix.MADV_DONTDUMP, unix.MADV_DONTFORK, unix.MADV_HUGEPAGE} {
		_ = unix.Madvise(mem, advice)
	}
}

// Populate has the pages of mem there, written or not (Linux 5.14; before, and where there
// is not enough memory, nothing happens).
func Populate(mem []byte) { _ = unix.Madvise(mem, unix.MADV_POPULATE_WRITE) }

// KernelRelease returns the running kernel's version, as uname -r prints it.
func KernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// IOUringDisabled returns the sysctl kernel.io_uring_disabled: 0, 1 or 2; 0 where the
// kernel does not have it (before Linux 6.6).
func IOUringDisabled() int {
	b, err := os.ReadFile("/proc/sys/kernel/io_uring_disabled")
	if err != nil || len(b) == 0 || b[0] < '0' || b[0] > '2' {
		return 0
	}
	return int(b[0] - '0')
}

// SeccompFiltered reports whether the thread has a seccomp filter. Then ENOSYS may come
// from the filter, and the kernel have the call.
func SeccompFiltered() bool {
	b, err := os.ReadFile("/proc/thread-self/status")
	return err == nil && strings.Contains(string(b), "\nSeccomp:\t2\n")
}

// MemlockLimit returns RLIMIT_MEMLOCK in bytes. limited is false if the limit is infinite
// or does not apply to the process (CAP_IPC_LOCK).
func MemlockLimit() (limit uint64, limited bool) {
	var r unix.Rlimit
	if haveCapability(unix.CAP_IPC_LOCK) && InInitialUserNamespace() || unix.Getrlimit(unix.RLIMIT_MEMLOCK, &r) != nil {
		return 0, false
	}
	return r.Cur, r.Cur != unix.RLIM_INFINITY
}

// haveCapability reports whether the calling thread has the capability.
func haveCapability(capability uint) bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&hdr, &data[0]) == nil && data[0].Effective&(1<<capability) != 0
}

// InInitialUserNamespace reports whether the process is in the initial user namespace. The
// file of that one always has the same number (PROC_USER_INIT_INO); a namespace of its own
// may map every id to itself as well.
func InInitialUserNamespace() bool {
	name, err := os.Readlink("/proc/self/ns/user")
	return err != nil || name == "user:[4026531837]"
}
