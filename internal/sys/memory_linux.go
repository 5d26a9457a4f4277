package sys

import (
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MapHugeTLB maps size bytes of reserved huge pages of 2 MiB, of which size is a
// multiple. It returns an error that matches ENOMEM if there are not enough.
func MapHugeTLB(size uintptr) ([]byte, error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | unix.MAP_POPULATE | unix.MAP_HUGE_2MB
	return mapMemory(-1, size, unix.PROT_READ|unix.PROT_WRITE, flags)
}

// MapShared maps the first size bytes of fd, a dma-buf, for reading.
func MapShared(fd int, size uintptr) ([]byte, error) {
	return mapMemory(fd, size, unix.PROT_READ, unix.MAP_SHARED)
}

func mapMemory(fd int, size uintptr, prot, flags int) ([]byte, error) {
	mem, err := unix.MmapPtr(fd, 0, nil, size, prot, flags)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return unsafe.Slice((*byte)(mem), size), nil
}

// udmabufCreate mirrors struct udmabuf_create (uapi linux/udmabuf.h).
type udmabufCreate struct {
	memfd, flags uint32
	offset, size uint64
}

const (
	udmabufDevice  = "/dev/udmabuf"
	udmabufCloexec = 1 << 0
)

// udmabufIoctl returns UDMABUF_CREATE: _IOW('u', 0x42, struct udmabuf_create). Some
// architectures have three bits for the direction and 13 for the size, where others have two
// and 14.
func udmabufIoctl(arch string) uintptr {
	const number = unsafe.Sizeof(udmabufCreate{})<<16 | 'u'<<8 | 0x42
	switch arch {
	case "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "sparc64":
		return 4<<29 | number
	}
	return 1<<30 | number
}

// NewUDMABuf makes a dma-buf over size bytes of memory of this process (Linux 4.20).
// The caller closes the fd. The error is an *os.PathError if the process cannot open
// /dev/udmabuf.
func NewUDMABuf(size uintptr) (fd int, err error) {
	memfd, err := unix.MemfdCreate("zcrx", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	defer func() { err = errors.Join(err, Close(memfd)) }() // the dma-buf holds the memory
	if err := unix.Ftruncate(memfd, int64(size)); err != nil {
		return -1, os.NewSyscallError("ftruncate", err)
	}
	// udmabuf insists that the memory cannot shrink under it.
	if _, err := unix.FcntlInt(uintptr(memfd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK); err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	device, err := os.OpenFile(udmabufDevice, os.O_RDWR, 0)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	create := udmabufCreate{memfd: uint32(memfd), flags: udmabufCloexec, size: uint64(size)}
	got, _, errno := unix.Syscall(unix.SYS_IOCTL, device.Fd(), udmabufIoctl(runtime.GOARCH), uintptr(unsafe.Pointer(&create)))
	if errno != 0 {
		return -1, os.NewSyscallError("UDMABUF_CREATE", errno)
	}
	return int(got), nil
}
