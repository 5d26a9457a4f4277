package zcrx

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// refillEntry mirrors struct io_uring_zcrx_rqe. The kernel reads only the offset.
type refillEntry struct {
	offset uint64
	length uint32
	_      uint32
}

// refillQueue is the ring through which buffers are returned to the kernel: shared memory
// with a head that the kernel moves, a tail that this package moves, and the entries.
// Producers hold the pool's lock; the kernel serialises its own side.
type refillQueue struct {
	khead   *uint32
	ktail   *uint32
	entries unsafe.Pointer // of refillEntry
	mask    uint32
	tail    uint32 // entries written; published by publish
}

// newRefillQueue lays the queue of n entries (a power of two) over region, at the offsets
// that the kernel returned.
func newRefillQueue(region []byte, off refillOffsets, n uint32) (refillQueue, error) {
	size := uint64(len(region))
	end := uint64(off.entries) + uint64(n)*uint64(unsafe.Sizeof(refillEntry{}))
	if n == 0 || n&(n-1) != 0 || end > size || uint64(off.head)+4 > size || uint64(off.tail)+4 > size {
		return refillQueue{}, fmt.Errorf("zcrx: refill queue of %d entries at offsets %+v does not fit a region of %d bytes", n, off, size)
	}
	base := unsafe.Pointer(unsafe.SliceData(region))
	q := refillQueue{
		khead:   (*uint32)(unsafe.Add(base, off.head)),
		ktail:   (*uint32)(unsafe.Add(base, off.tail)),
		entries: unsafe.Add(base, off.entries),
		mask:    n - 1,
	}
	q.tail = atomic.LoadUint32(q.ktail)
	return q, nil
}

// refillRegionSize returns the bytes for a queue of n entries and the copy statistics after
// them, in whole pages.
func refillRegionSize(n uint32, pageSize uintptr) uintptr {
	size := refillHeaderRoom + uintptr(n)*unsafe.Sizeof(refillEntry{}) + copyStatsSize
	return (size + pageSize - 1) &^ (pageSize - 1)
}

// room returns the number of entries that can be written.
func (q *refillQueue) room() int {
	// The acquire load pairs with the kernel's release of the head: the kernel has finished
	// with the entries before it. A head beyond the tail is invalid and counts as no room.
	return max(0, int(q.mask)+1-int(q.tail-atomic.LoadUint32(q.khead)))
}

// write puts an offset into the next entry. There must be room. The kernel sees it after
// publish.
func (q *refillQueue) write(offset uint64) {
	e := (*refillEntry)(unsafe.Add(q.entries, uintptr(q.tail&q.mask)*unsafe.Sizeof(refillEntry{})))
	*e = refillEntry{offset: offset}
	q.tail++
}

// publish makes the entries written so far visible to the kernel.
func (q *refillQueue) publish() { atomic.StoreUint32(q.ktail, q.tail) }

// published returns the tail that the kernel sees. It is safe from any goroutine.
func (q *refillQueue) published() uint32 { return atomic.LoadUint32(q.ktail) }

// pending returns the number of published entries that the kernel has not taken. It is safe
// from any goroutine.
func (q *refillQueue) pending() uint32 {
	return q.published() - atomic.LoadUint32(q.khead)
}
