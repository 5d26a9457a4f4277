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

// Memory is the kind of memory that a pool's buffers lie in.
type Memory uint8

// The kinds of memory.
const (
	// MemoryAnonymous is ordinary private memory. Huge pages are asked for where
	// at least one fits, and not insisted on.
	MemoryAnonymous Memory = iota
	// MemoryHugeTLB is memory of reserved huge pages of 2 MiB (sysctl
	// vm.nr_hugepages): buffers over a page need physically contiguous memory,
	// which this is for certain.
	MemoryHugeTLB
	// MemoryDMABuf is a dma-buf (Linux 6.16; not device-less): the one given in
	// PoolConfig.DMABuf, or one made with udmabuf.
	MemoryDMABuf
)

var memoryNames = [...]string{MemoryAnonymous: "anonymous", MemoryHugeTLB: "hugetlb", MemoryDMABuf: "dmabuf"}

// String is the kind's name in lower case.
func (m Memory) String() string {
	if int(m) < len(memoryNames) {
		return memoryNames[m]
	}
	return fmt.Sprintf("memory(%d)", uint8(m))
}

// errBadCompletion marks a completion whose offset or length lies outside the
// pool's memory. Its bytes are never touched.
var errBadCompletion = errors.New("zcrx: completion outside the buffer area")

const (
	// hugePageSize is the alignment that lets the kernel back an area with huge
	// pages, on the machines that zcrx drivers exist for.
	hugePageSize = 2 << 20

	// maxAreas is the number of areas that an instance can have (Linux 7.3).
	maxAreas = 1024
)

// area is memory that the kernel puts received bytes into, cut into buffers of
// one size. It is immutable once made; whoever owns it unmaps it.
type area struct {
	mem        []byte // whole buffers
	bufferSize uint64 // a power of two
	dmabuf     int    // the dma-buf's fd, -1 for none
	owned      bool
}

// newArea maps n buffers of a power of two of bytes, kept out of core dumps and child processes. dmabuf is
// the caller's for MemoryDMABuf, or -1; it stays the caller's.
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

// buffers is the number of buffers.
func (a *area) buffers() int { return len(a.mem) / int(a.bufferSize) }

// describe fills in the area's part of a registration. A dma-buf is named by its
// fd and an offset into it, user memory by its address.
func (a *area) describe(req *ifqRequest) {
	req.areaLen = uint64(len(a.mem))
	if a.dmabuf >= 0 {
		req.areaFlags, req.dmabufFD = areaDMABuf, uint32(a.dmabuf)
		return
	}
	req.areaAddr = sliceAddr(a.mem)
}

// at is where the n bytes at offset lie, which must be within one buffer; nil else.
// This is the only place where a completion becomes an address. Memory is whole
// buffers: what begins in one and fits in it lies inside. Small enough to be inlined.
func (a *area) at(offset, n uint64) unsafe.Pointer {
	if n-1 >= a.bufferSize || offset >= uint64(len(a.mem)) || offset&(a.bufferSize-1) > a.bufferSize-n {
		return nil
	}
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(a.mem)), offset)
}

// locate is at, with an error instead of nil.
func (a *area) locate(offset, n uint64) (unsafe.Pointer, error) {
	if data := a.at(offset, n); data != nil {
		return data, nil
	}
	return nil, a.outside(offset, n)
}

// outside says that at found nothing.
func (a *area) outside(offset, n uint64) error {
	return fmt.Errorf("%w: %d bytes at offset %d of %d, buffers of %d", errBadCompletion, n, offset, len(a.mem), a.bufferSize)
}

// unmap gives the memory back; the kernel, should it still hold pages, has pinned
// them. Neither call can fail: mapping and fd are ours as a whole.
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

// bufferSizeFor turns a size hint into the size to ask for: a page, unless the
// hint is a larger power of two.
func bufferSizeFor(hint int) int {
	page := int(sys.PageSize())
	if hint <= page || hint&(hint-1) != 0 {
		return page
	}
	return hint
}

// wholePages rounds bytes up to whole pages.
func wholePages(n uint64) uint64 {
	page := uint64(sys.PageSize())
	return (n + page - 1) &^ (page - 1)
}

// roundUpPow2 is the smallest power of two that is at least n, for n from 1 to
// 1<<31.
func roundUpPow2(n uint32) uint32 { return 1 << bits.Len32(n-1) }
