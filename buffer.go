package zcrx

import (
	"slices"
	"unsafe"
)

// Buffer is a lease on the bytes of one completion. It is a small value that may be copied,
// but Release must be called once for all copies together. The zero Buffer is empty and may
// be released any number of times.
//
// Bytes and Release are safe from any goroutine, also after the pool, its loop and its ring
// are closed: the memory stays until the last lease is released.
type Buffer struct {
	lease      *lease // nil for a Buffer made by NewBuffer
	generation uint64
	data       unsafe.Pointer // into the area; valid while the lease is out
	length     uint32
}

// Bytes returns the received bytes. Length and capacity are what the kernel reported, so
// append copies. The bytes must not be written to, because the kernel shares them. After
// Release, Bytes returns nil and the pool counts a use after release; a slice that Bytes
// returned before must not be used any more.
func (b Buffer) Bytes() []byte {
	if b.lease != nil && b.lease.generation.load() != b.generation {
		b.lease.home.usesAfterRelease.Add(1)
		return nil
	}
	return unsafe.Slice((*byte)(b.data), b.length)[:b.length:b.length]
}

// NewBuffer returns a Buffer of the bytes p, at most 4 GiB - 1 of them, that are not leased
// from a pool. It is for copied bytes that are passed where leases are passed. p must not
// be changed any more. Release does nothing, any number of times.
func NewBuffer(p []byte) Buffer {
	return Buffer{data: unsafe.Pointer(unsafe.SliceData(p)), length: uint32(len(p))}
}

// Skip returns a copy of b without its first n bytes. It is the same lease: Release must be
// called once for b and the copy together. n is 0 to Len; otherwise Skip panics.
func (b Buffer) Skip(n int) Buffer {
	if uint(n) > uint(b.length) {
		panic("zcrx: Skip beyond the Buffer's end")
	}
	if b.length -= uint32(n); b.length > 0 { // else data would point past the memory
		b.data = unsafe.Add(b.data, n)
	}
	return b
}

// Len returns the number of bytes, also after Release.
func (b Buffer) Len() int { return int(b.length) }

// Release returns the lease to its pool. If this Buffer or a copy of it was released
// before, by any goroutine, it returns ErrReleased and does nothing else. Bytes that were
// copied out of the pool because nobody read them (PoolStats.UnreadBytes) are not leased:
// Release does nothing, as for NewBuffer.
func (b Buffer) Release() error {
	if b.lease == nil {
		return nil
	}
	home := b.lease.home
	if _, doubles := home.takeBack([]Buffer{b}); doubles > 0 {
		home.doubleReleases.Add(1)
		return ErrReleased
	}
	return nil
}

// ReleaseAll releases every buffer, and takes a pool's lock once for each run of buffers of
// the same pool. It returns ErrReleased if any of them was released before; the others are
// released all the same.
func ReleaseAll(buffers []Buffer) error {
	var err error
	for i := 0; i < len(buffers); {
		if buffers[i].lease == nil {
			i++
			continue
		}
		home := buffers[i].lease.home
		n, doubles := home.takeBack(buffers[i:])
		if doubles > 0 {
			home.doubleReleases.Add(uint64(doubles))
			err = ErrReleased
		}
		i += n
	}
	return err
}

// keptBuffers is for how many Buffers a connection keeps room while it has none: peers could
// make each have room for its whole share.
const keptBuffers = 64

// bufferQueue is a queue of Buffers, first in first out.
type bufferQueue struct {
	buffers []Buffer // buffers[first:] are in the queue, the others are zero
	first   int
}

func (q *bufferQueue) len() int { return len(q.buffers) - q.first }

// add appends buffers and returns the length of the queue.
func (q *bufferQueue) add(buffers []Buffer) (length int) {
	if q.first > 0 && len(q.buffers)+len(buffers) > cap(q.buffers) {
		left := copy(q.buffers, q.buffers[q.first:])
		clear(q.buffers[left:])
		q.buffers, q.first = q.buffers[:left], 0
	}
	q.buffers = append(q.buffers, buffers...)
	return q.len()
}

// take moves as many Buffers as fit into dst, and returns their number.
func (q *bufferQueue) take(dst []Buffer) int {
	n := copy(dst, q.buffers[q.first:])
	clear(q.buffers[q.first : q.first+n])
	if q.first += n; q.len() == 0 {
		q.buffers, q.first = q.buffers[:0], 0
		if cap(q.buffers) > keptBuffers {
			q.buffers = nil
		}
	}
	return n
}

// copyOut replaces the leases in the queue by Buffers in memory of their own. It returns the
// leases, which the caller releases, and how many bytes were copied.
func (q *bufferQueue) copyOut() (leases []Buffer, bytes int) {
	for _, b := range q.buffers[q.first:] {
		if b.lease != nil {
			leases = append(leases, b)
			bytes += b.Len()
		}
	}
	memory := make([]byte, 0, bytes)
	for i := q.first; i < len(q.buffers); i++ {
		if b := q.buffers[i]; b.lease != nil {
			at := len(memory)
			memory = append(memory, b.Bytes()...)
			q.buffers[i] = NewBuffer(memory[at:len(memory):len(memory)])
		}
	}
	return leases, bytes
}

// takeAll empties the queue and returns what was in it.
func (q *bufferQueue) takeAll() []Buffer {
	all := slices.Clone(q.buffers[q.first:])
	*q = bufferQueue{}
	return all
}
