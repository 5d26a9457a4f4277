package zcrx

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// mapHugeTLB maps size bytes of reserved huge pages of 2 MiB.
func mapHugeTLB(size uintptr) ([]byte, error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_HUGETLB | unix.MAP_POPULATE | unix.MAP_HUGE_2MB
	mem, err := unix.MmapPtr(-1, 0, nil, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if errors.Is(err, unix.ENOMEM) {
		return nil, &UnsupportedError{
			Feature: "memory of huge pages", Layer: LayerPrivilege, Err: os.NewSyscallError("mmap", err),
			Remedy: "reserve huge pages: sysctl vm.nr_hugepages",
		}
	}
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return unsafe.Slice((*byte)(mem), size), nil
}

// mapShared maps size bytes of a dma-buf for reading.
func mapShared(fd int, size uintptr) ([]byte, error) {
	mem, err := unix.MmapPtr(fd, 0, nil, size, unix.PROT_READ, unix.MAP_SHARED)
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
	udmabufCloexec = 1 << 0
	udmabufIoctl   = 0x40187542 // UDMABUF_CREATE: _IOW('u', 0x42, struct udmabuf_create)
)

// newUDMABuf makes a dma-buf over size bytes of this process's memory. The caller
// closes it.
func newUDMABuf(size uintptr) (fd int, err error) {
	memfd, err := unix.MemfdCreate("zcrx", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	defer func() { err = errors.Join(err, sys.Close(memfd)) }() // the dma-buf holds the memory
	if err := unix.Ftruncate(memfd, int64(size)); err != nil {
		return -1, os.NewSyscallError("ftruncate", err)
	}
	// udmabuf insists that the memory cannot shrink under it.
	if _, err := unix.FcntlInt(uintptr(memfd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK); err != nil {
		return -1, os.NewSyscallError("fcntl", err)
	}
	device, err := os.OpenFile("/dev/udmabuf", os.O_RDWR, 0)
	if err != nil {
		return -1, &UnsupportedError{
			Feature: "udmabuf", Layer: LayerKernel, MinKernel: "4.20", Err: err,
			Remedy: "use a kernel with CONFIG_UDMABUF and a process that may open /dev/udmabuf, or give a dma-buf of your own",
		}
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	create := udmabufCreate{memfd: uint32(memfd), flags: udmabufCloexec, size: uint64(size)}
	got, _, errno := unix.Syscall(unix.SYS_IOCTL, device.Fd(), udmabufIoctl, uintptr(unsafe.Pointer(&create)))
	if errno != 0 {
		return -1, os.NewSyscallError("UDMABUF_CREATE", errno)
	}
	return int(got), nil
}
