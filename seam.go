package zcrx

import "unsafe"

// Plain values that are passed to C or lie in memory shared with the kernel.

// ZCRXID identifies a zcrx instance on one ring. RECV_ZC requests carry it.
type ZCRXID uint32

// eventType is a kind of event that the kernel reports for a zcrx instance (Linux 7.2).
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

// ifqRequest is the registration of an interface queue, or of a device-less instance.
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
	statsOffset    uint64 // in the region, after the entries, a multiple of 8
}

// ifqAnswer is what the kernel fills in for an ifqRequest.
type ifqAnswer struct {
	id            ZCRXID
	refillEntries uint32
	bufferSize    uint32
	areaToken     uint64
	offsets       refillOffsets
}

// refillOffsets are the places of the refill queue's parts in its region, in bytes. The
// kernel returns them, and they differ between kernels.
type refillOffsets struct{ head, tail, entries uint32 }

// copyStats mirrors struct zcrx_stats (Linux 7.2), written by the kernel.
type copyStats struct {
	fragments uint64 // copied page fragments; not completions
	bytes     uint64
}

const copyStatsSize = unsafe.Sizeof(copyStats{})

// pinned returns how many bytes the kernel pins for the registration. A dma-buf's pages are
// pinned by its exporter.
func (req *ifqRequest) pinned() uint64 {
	if req.areaFlags&areaDMABuf != 0 {
		return req.regionSize
	}
	return req.areaLen + req.regionSize
}

// providedEntry mirrors struct io_uring_buf. Its last two bytes hold the ring's tail in
// entry 0 and are reserved in the others.
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
