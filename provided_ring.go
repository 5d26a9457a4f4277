package zcrx

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// providedRing is the memory in which the kernel finds provided buffers: entries that the
// pool writes, and the tail, which lies in the first entry. The kernel uses entries up in
// the order in which they were written. It may shorten and move on the entry at its head,
// but does not change the id.
//
// Writers hold the pool's lock. Only the loop's thread reads, without the lock: between the
// kernel's head and the published tail nothing is written.
type providedRing struct {
	mem     []byte
	entries uint32 // a power of two
	tail    uint16
	firstID uint16 // the id in entry 0, which shares a word with the tail
}

func mapProvidedRing(entries uint32) (providedRing, error) {
	page := sys.PageSize()
	size := (uintptr(entries)*providedEntrySize + page - 1) &^ (page - 1)
	mem, err := sys.MapAnonymous(size, page)
	if err != nil {
		return providedRing{}, fmt.Errorf("zcrx: map provided-buffer ring of %d entries: %w", entries, err)
	}
	sys.AdviseReceive(mem)
	return providedRing{mem: mem, entries: entries}, nil
}

func (r *providedRing) entry(position uint16) *providedEntry {
	i := uint32(position) & (r.entries - 1)
	return (*providedEntry)(unsafe.Pointer(&r.mem[uintptr(i)*providedEntrySize]))
}

// put writes the next entry. There is always room: the ring has at least as many entries as
// the pool has buffers.
func (r *providedRing) put(id uint16, addr uintptr, length uint32) {
	e := r.entry(r.tail)
	e.addr, e.length = uint64(addr), length
	if uint32(r.tail)&(r.entries-1) == 0 {
		r.firstID = id // publish writes it together with the tail
	} else {
		e.id = id
	}
	r.tail++
}

// publish makes the new tail visible to the kernel. Go has no atomic store of 16 bits, so
// it stores the aligned word that consists of entry 0's id and the tail. The kernel writes
// neither of them.
func (r *providedRing) publish() {
	var word [4]byte
	binary.NativeEndian.PutUint16(word[0:], r.firstID)
	binary.NativeEndian.PutUint16(word[2:], r.tail)
	atomic.StoreUint32(r.tailWord(), binary.NativeEndian.Uint32(word[:]))
}

func (r *providedRing) tailWord() *uint32 {
	return (*uint32)(unsafe.Pointer(&r.mem[providedEntryTail]))
}

// published returns the tail that the kernel sees.
func (r *providedRing) published() uint16 {
	_, tail := r.loadTailWord()
	return tail
}

// id returns the id of the buffer at a published position.
func (r *providedRing) id(position uint16) uint16 {
	if uint32(position)&(r.entries-1) == 0 {
		id, _ := r.loadTailWord()
		return id
	}
	return r.entry(position).id
}

func (r *providedRing) loadTailWord() (firstID, tail uint16) {
	var word [4]byte
	binary.NativeEndian.PutUint32(word[:], atomic.LoadUint32(r.tailWord()))
	return binary.NativeEndian.Uint16(word[0:]), binary.NativeEndian.Uint16(word[2:])
}

func (r *providedRing) unmap() {
	if r.mem != nil {
		_ = sys.Unmap(r.mem)
		r.mem = nil
	}
}
