package zcrx

import "unsafe"

// What crosses into C and into memory that is shared with the kernel, as plain values.

// ZCRXID names a zcrx instance on one ring: what RECV_ZC requests refer to.
type ZCRXID uint32

// eventType is a kind of event that a zcrx instance tells of (Linux 7.2).
type eventType uint32

// The events.
const (
	eventAllocFailed eventType = 0 // the kernel found no free buffer
	eventCopy        eventType = 1 // the kernel copied a fragment
)

const (
	regImport     = 1 << 0 // ZCRX_REG_IMPORT
	regDeviceLess = 1 << 1 // ZCRX_REG_NODEV

	areaDMABuf = 1 << 0 // IORING_ZCRX_AREA_DMABUF

	areaShift = 48 // IORING_ZCRX_AREA_SHIFT
	areaMask  = 1<<areaShift - 1

	// maxRefillEntries is the kernel's IO_RQ_MAX_ENTRIES.
	maxRefillEntries = 32768

	// maxAreaSize keeps an area where CQE offsets of every kernel reach: they
	// were cut to 32 bits before Linux 7.3.3.
	maxAreaSize = 4 << 30

	// refillHeaderRoom is kept free before the entries of a refill queue. The
	// kernel says where they begin: at 8 up to Linux 6.17, at 64 up to 7.2, at
	// 128 from 7.3.
	refillHeaderRoom = 256
)

// ifqRequest is a registration of an interface queue, or of none.
type ifqRequest struct {
	ifindex, queue uint32
	refillEntries  uint32 // 1..32768, the kernel rounds up to a power of two
	flags          uint32 // reg*
	bufferSize     uint32 // 0: a page
	areaFlags      uint32
	dmabufFD       uint32
	areaAddr       uintptr
	areaLen        uint64
	regionAddr     uintptr // user memory for the refill queue, zeroed
	regionSize     uint64
	eventMask      uint32 // 1 << eventType
	eventUserData  uint64
	statsOffset    uint64 // in the region, behind the entries, multiple of 8
}

// ifqAnswer is what the kernel filled in.
type ifqAnswer struct {
	id            ZCRXID
	refillEntries uint32
	bufferSize    uint32
	areaToken     uint64
	offsets       refillOffsets
}

// refillOffsets say where in the region the refill queue lies. They differ by
// kernel and are never assumed.
type refillOffsets struct{ head, tail, entries uint32 }

// copyStats mirrors struct zcrx_stats (Linux 7.2), written by the kernel.
type copyStats struct {
	fragments uint64 // copied page fragments; not completions
	bytes     uint64
}

const copyStatsSize = unsafe.Sizeof(copyStats{})

// pinned is how many bytes the registration has the kernel pin. A dma-buf's are its
// exporter's.
func (req *ifqRequest) pinned() uint64 {
	if req.areaFlags&areaDMABuf != 0 {
		return req.regionSize
	}
	return req.areaLen + req.regionSize
}

// providedEntry mirrors struct io_uring_buf. Its last two bytes are the ring's
// tail in entry 0, else reserved.
type providedEntry struct {
	addr   uint64
	length uint32
	id     uint16
	_      uint16
}

const (
	providedEntrySize = unsafe.Sizeof(providedEntry{})
	providedEntryTail = unsafe.Offsetof(providedEntry{}.id) // of the word with entry 0's id and the tail
)
