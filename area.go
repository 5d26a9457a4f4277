package zcrx

import (
	"errors"
	"fmt"
	"unsafe"
)

// errBadCompletion marks a completion whose offset or length lies outside the
// pool's memory. Its bytes are never touched.
var errBadCompletion = errors.New("zcrx: completion outside the buffer area")

// hugePageSize is the alignment that lets the kernel back an area with huge
// pages, on the machines that zcrx drivers exist for.
const hugePageSize = 2 << 20

// area is memory that the kernel puts received bytes into, cut into buffers of
// one size. It is immutable once made; whoever owns it unmaps it.
type area struct {
	mem        []byte
	bufferSize uint64
}

// newArea maps an area of n buffers, page-aligned, kept out of core dumps and
// child processes. Huge pages are asked for where at least one fits.
func newArea(n int, bufferSize uintptr) (area, error) {
	size := uintptr(n) * bufferSize
	align := pageSize()
	if size >= hugePageSize {
		align = hugePageSize
	}
	mem, err := mapAnonymous(size, align)
	if err != nil {
		return area{}, fmt.Errorf("zcrx: map %d buffers of %d bytes: %w", n, bufferSize, err)
	}
	adviseReceive(mem)
	return area{mem: mem, bufferSize: uint64(bufferSize)}, nil
}

// locate finds the n bytes at offset, which must lie within one buffer. This is
// the only place where a completion becomes an address.
func (a *area) locate(offset, n uint64) (unsafe.Pointer, error) {
	size := uint64(len(a.mem))
	if n == 0 || n > a.bufferSize || offset > size || n > size-offset ||
		offset%a.bufferSize > a.bufferSize-n {
		return nil, fmt.Errorf("%w: %d bytes at offset %d of %d, buffers of %d", errBadCompletion, n, offset, size, a.bufferSize)
	}
	return unsafe.Add(unsafe.Pointer(unsafe.SliceData(a.mem)), offset), nil
}

func (a *area) unmap() {
	if a.mem == nil {
		return
	}
	// The range was mapped by us as a whole, so this cannot fail.
	_ = unmap(a.mem)
	a.mem = nil
}
