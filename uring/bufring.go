package uring

import (
	"math/bits"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// BufRingFlags are the IOU_PBUF_RING_* flags of a provided-buffer ring.
type BufRingFlags uint16

// The flags of a ring of provided buffers.
const (
	// BufRingMmap has the kernel allocate the ring, which the program maps (Linux 6.4).
	BufRingMmap BufRingFlags = uapi.IOU_PBUF_RING_MMAP
	// BufRingIncremental lets several completions use parts of one buffer: see CQEBufMore
	// (Linux 6.12).
	BufRingIncremental BufRingFlags = uapi.IOU_PBUF_RING_INC
)

// maxBufRing is the largest ring of provided buffers.
const maxBufRing = 1 << 15

// RegisterBufRing registers an array of struct io_uring_buf at addr as the ring of
// provided buffers of the group (Linux 5.19). entries is a power of two, at most
// 32768. addr is the beginning of a page of mapped memory, not of Go's heap, that must
// stay mapped until UnregisterBufRing or Close. EEXIST means that the group has a ring
// already. See SetupBufRing for one that is easier to use.
//
// Implements: int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned int flags)
func (r *Ring) RegisterBufRing(addr unsafe.Pointer, entries uint32, group uint16, flags BufRingFlags) error {
	reg := &uapi.BufReg{RingAddr: uint64(escape(addr)), RingEntries: entries, Bgid: group, Flags: uint16(flags)}
	_, err := r.call(fnRegisterBufRing, address(reg), 0)
	runtime.KeepAlive(reg)
	return err
}

// UnregisterBufRing ends what RegisterBufRing began.
//
// Implements: int io_uring_unregister_buf_ring(struct io_uring *ring, int bgid)
func (r *Ring) UnregisterBufRing(group uint16) error {
	_, err := r.call(fnUnregisterBufRing, uint64(group))
	return err
}

// BufRingHead returns how many buffers of the group's ring the kernel has taken, modulo 65536
// (Linux 6.8).
//
// Implements: int io_uring_buf_ring_head(struct io_uring *ring, int buf_group, uint16_t *head)
func (r *Ring) BufRingHead(group uint16) (uint16, error) {
	head := new(uint16)
	_, err := r.call(fnBufRingHead, uint64(group), address(head))
	runtime.KeepAlive(head)
	return *head, err
}

// BufRing is a ring of provided buffers: the program adds buffers, and requests with
// SQEBufferSelect take them when they have data. It belongs to the ring's thread.
type BufRing struct {
	ring  *Ring
	slots []uapi.Buf // mapped by liburing; the tail is in the last field of the first
	group uint16
	tail  uint16 // of what was added
	given uint16 // of what Advance has published
}

// SetupBufRing makes a ring of provided buffers for the group, with room for a power of two of
// them, 1 to 32768. The caller must Free it before the ring is closed, or leave that to the
// end of the process (Linux 5.19).
//
// Implements: void io_uring_buf_ring_init(struct io_uring_buf_ring *br)
// Implements: struct io_uring_buf_ring *io_uring_setup_buf_ring(struct io_uring *ring, unsigned int nentries, int bgid, unsigned int flags, int *err)
func (r *Ring) SetupBufRing(entries int, group uint16, flags BufRingFlags) (*BufRing, error) {
	if entries < 1 || entries > maxBufRing || bits.OnesCount(uint(entries)) != 1 {
		return nil, rangeError("number of buffers, a power of two,", int64(entries), 1, maxBufRing)
	}
	errno := new(int32)
	at, err := r.call(fnSetupBufRing, uint64(entries), uint64(group), uint64(flags), address(errno))
	runtime.KeepAlive(errno)
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return nil, os.NewSyscallError(functionNames[fnSetupBufRing], errnoOf32(*errno))
	}
	memory := *(**uapi.Buf)(unsafe.Pointer(&at)) // mapped by liburing: no memory of Go's
	return &BufRing{ring: r, slots: unsafe.Slice(memory, entries), group: group}, nil
}

// Add puts a buffer behind those that are there. The kernel sees it after Advance. Completions
// name it by id. The memory must stay reachable until a completion has taken it, or Free. There
// must be room: the ring does not check.
//
// Implements: void io_uring_buf_ring_add(struct io_uring_buf_ring *br, void *addr, unsigned int len, unsigned short bid, int mask, int buf_offset)
// Implements: int io_uring_buf_ring_mask(__u32 ring_entries)
func (b *BufRing) Add(buffer []byte, id uint16) {
	slot := &b.slots[int(b.tail)&(len(b.slots)-1)]
	slot.Addr = uint64(uintptr(pointerTo(buffer)))
	slot.Len = uint32(min(uint64(len(buffer)), maxTransfer))
	slot.Bid = id
	b.tail++
}

// Advance gives the kernel what was added.
//
// Implements: void io_uring_buf_ring_advance(struct io_uring_buf_ring *br, int count)
func (b *BufRing) Advance() {
	// The tail is stored with release order, as a part of the 32-bit word that it is in: the
	// other half, slot 0's id, is the program's alone.
	word := (*uint32)(unsafe.Pointer(&b.slots[0].Bid)) // Bid, and the tail behind it
	halves := [2]uint16{b.slots[0].Bid, b.tail}
	atomic.StoreUint32(word, *(*uint32)(unsafe.Pointer(&halves)))
	b.given = b.tail
}

// Available returns how many buffers the kernel was given and has not taken (Linux 6.8).
//
// Implements: int io_uring_buf_ring_available(struct io_uring *ring, struct io_uring_buf_ring *br, unsigned short bgid)
func (b *BufRing) Available() (int, error) {
	head, err := b.ring.BufRingHead(b.group)
	if err != nil {
		return 0, err
	}
	return int(b.given - head), nil
}

// Free unregisters and unmaps the ring. Its buffers are the program's again, once requests that
// took one have completed.
//
// Implements: int io_uring_free_buf_ring(struct io_uring *ring, struct io_uring_buf_ring *br, unsigned int nentries, int bgid)
func (b *BufRing) Free() error {
	if b.slots == nil {
		return os.NewSyscallError(functionNames[fnFreeBufRing], syscall.EINVAL)
	}
	_, err := b.ring.call(fnFreeBufRing, uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b.slots)))), uint64(len(b.slots)), uint64(b.group))
	if err == nil {
		b.slots = nil
	}
	return err
}
