package zcrx

import (
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"syscall"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Memory is the kind of memory of a pool's buffers.
type Memory uint8

// The kinds of memory.
const (
	// MemoryAnonymous is ordinary private memory. Areas of 2 MiB and more ask for huge
	// pages and work without them.
	MemoryAnonymous Memory = iota
	// MemoryHugeTLB is memory of reserved huge pages of 2 MiB (sysctl vm.nr_hugepages).
	// Buffers larger than a page need physically contiguous memory, which huge pages
	// guarantee.
	MemoryHugeTLB
	// MemoryDMABuf is a dma-buf (Linux 6.16; not device-less): the one in
	// PoolConfig.DMABuf, or one made with udmabuf.
	MemoryDMABuf
)

var memoryNames = [...]string{MemoryAnonymous: "anonymous", MemoryHugeTLB: "hugetlb", MemoryDMABuf: "dmabuf"}

// String returns the kind's name in lower case.
func (m Memory) String() string {
	if int(m) < len(memoryNames) {
		return memoryNames[m]
	}
	return fmt.Sprintf("memory(%d)", uint8(m))
}

// errBadCompletion is returned for a completion whose offset or length lies outside the
// pool's memory. Its bytes are never touched.
var errBadCompletion = errors.New("zcrx: completion outside the buffer area")

const (
	// hugePageSize is the alignment that lets the kernel back an area with huge pages, on
	// all architectures that zcrx drivers support.
	hugePageSize = 2 << 20

	// maxAreas is the number of areas that an instance can have (Linux 7.3).
	maxAreas = 1024
)

// area is memory that the kernel writes received bytes into, cut into buffers of one size.
// It is immutable once made; its owner unmaps it.
type area struct {
	mem        []byte // whole buffers
	bufferSize uint64 // a power of two
	dmabuf     int    // the dma-buf's fd, -1 for none
	owned      bool
}

// newArea maps n buffers of bufferSize bytes (a power of two), which are left out of core
// dumps and child processes. For MemoryDMABuf, dmabuf is the caller's fd, which remains the
// caller's, or -1 to make one.
func newArea(kind Memory, n int, bufferSize uintptr, dmabuf int) (area, error) {
	size := uintptr(n) * bufferSize
	a := area{bufferSize: uint64(bufferSize), dmabuf: -1}
	var err error
	switch kind {
	case MemoryAnonymous:
		align := sys.PageSize()
		if size >= hugePageSize {
			align = hugePageSize
		}
		a.mem, err = sys.MapAnonymous(size, align)
	case MemoryHugeTLB:
		a.mem, err = mapHugePages((size + hugePageSize - 1) &^ (hugePageSize - 1))
	case MemoryDMABuf:
		if a.owned = dmabuf < 0; a.owned {
			dmabuf, err = newDMABuf(size)
		}
		if err == nil {
			a.dmabuf = dmabuf
			a.mem, err = sys.MapShared(dmabuf, size)
		}
	default:
		return area{}, rangeError("PoolConfig.Memory", int64(kind), int64(MemoryAnonymous), int64(MemoryDMABuf))
	}
	if err != nil {
		a.unmap()
		return area{}, fmt.Errorf("zcrx: map %d buffers of %d bytes in %v memory: %w", n, bufferSize, kind, err)
	}
	sys.AdviseReceive(a.mem)
	return a, nil
}

// populate has the memory there before the kernel pins it, which it does on a loop's
// thread: 64 MiB take 325 ms there (Linux 7.3 in QEMU TCG), and 9 ms if they are populated.
func (a *area) populate() {
	if a.dmabuf < 0 {
		sys.Populate(a.mem)
	}
}

func mapHugePages(size uintptr) ([]byte, error) {
	mem, err := sys.MapHugeTLB(size)
	if errors.Is(err, syscall.ENOMEM) {
		err = &UnsupportedError{
			Feature: "memory of huge pages", Layer: LayerPrivilege, Err: err,
			Remedy: "reserve huge pages: sysctl vm.nr_hugepages",
		}
	}
	return mem, err
}

func newDMABuf(size uintptr) (fd int, err error) {
	fd, err = sys.NewUDMABuf(size)
	if _, noDevice := errors.AsType[*fs.PathError](err); noDevice {
		err = &UnsupportedError{
			Feature: "udmabuf", Layer: LayerKernel, MinKernel: "4.20", Err: err,
			Remedy: "use a kernel with CONFIG_UDMABUF and a process that may open /dev/udmabuf, or give a dma-buf of your own",
		}
	}
	return fd, err
}

// buffers returns the number of buffers.
func (a *area) buffers() int { return len(a.mem) / int(a.bufferSize) }

// describe fills in the area's part of a registration. A dma-buf is identified by its fd,
// other memory by its address.
func (a *area) describe(req *ifqRequest) {
	req.areaLen = uint64(len(a.mem))
	if a.dmabuf >= 0 {
		req.areaFlags, req.dmabufFD = areaDMABuf, uint32(a.dmabuf)
		return
	}
	req.areaAddr = sliceAddr(a.mem)
}

// at returns the address of the n bytes at offset, or nil if they do not lie within one
// buffer. Only here a completion becomes an address. The memory is whole buffers, so what
// begins in one and fits in it lies inside. The function is small enough to be inlined.
func (a *area) at(offset, n uint64) unsafe.Pointer {
	if n-1 >= a.bufferSize || offset >= uint64(len(a.mem)) || offset&(a.bufferSize-1) > a.bufferSize-n {
		return nil
	}
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(a.mem)), offset)
}

// locate does what at does, with an error instead of nil.
func (a *area) locate(offset, n uint64) (unsafe.Pointer, error) {
	if data := a.at(offset, n); data != nil {
		return data, nil
	}
	return nil, a.outside(offset, n)
}

// outside returns the error for bytes for which at returned nil.
func (a *area) outside(offset, n uint64) error {
	return fmt.Errorf("%w: %d bytes at offset %d of %d, buffers of %d", errBadCompletion, n, offset, len(a.mem), a.bufferSize)
}

// unmap unmaps the memory and closes the dma-buf made for it. Pages that the kernel still
// uses stay pinned. Neither call can fail: mapping and fd belong to the area as a whole.
func (a *area) unmap() {
	if a.mem != nil {
		_ = sys.Unmap(a.mem)
		a.mem = nil
	}
	if a.owned && a.dmabuf >= 0 {
		_ = sys.Close(a.dmabuf)
		a.dmabuf = -1
	}
}

// bufferSizeFor returns the buffer size to ask for, given the size hint in bytes: a page,
// unless the hint is a larger power of two.
func bufferSizeFor(hint int) int {
	page := int(sys.PageSize())
	if hint <= page || hint&(hint-1) != 0 {
		return page
	}
	return hint
}

// wholePages rounds n bytes up to whole pages.
func wholePages(n uint64) uint64 {
	page := uint64(sys.PageSize())
	return (n + page - 1) &^ (page - 1)
}

// roundUpPow2 returns the smallest power of two that is at least n, for n from 1 to 1<<31.
func roundUpPow2(n uint32) uint32 { return 1 << bits.Len32(n-1) }
