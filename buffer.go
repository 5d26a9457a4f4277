package zcrx

import "unsafe"

// Buffer is a lease on the bytes of one completion. It is a small value: copy
// it as you like, but of all copies together Release is called once. The zero
// Buffer is empty and may be released any number of times.
//
// Bytes and Release are safe from any goroutine, also after the pool, its loop
// and its ring are closed: the memory stays until the last lease is back.
type Buffer struct {
	lease      *lease // nil for bytes in memory of their own: see NewBuffer
	generation uint64
	data       unsafe.Pointer // into the area; valid while the lease is out
	length     uint32
}

// Bytes are the received bytes: length and capacity are what the kernel
// reported, so append copies. They are read-only: the kernel shares them. After
// Release it returns nil, and the pool counts a use after release; slices
// taken before must not be used any more.
func (b Buffer) Bytes() []byte {
	if b.lease != nil && b.lease.generation.load() != b.generation {
		b.lease.home.usesAfterRelease.Add(1)
		return nil
	}
	return unsafe.Slice((*byte)(b.data), b.length)[:b.length:b.length]
}

// NewBuffer returns a Buffer of bytes in memory of their own, at most 4 GiB - 1: for
// what was copied together and goes where leases go. p must not be changed any
// more. Release does nothing, any number of times.
func NewBuffer(p []byte) Buffer {
	return Buffer{data: unsafe.Pointer(unsafe.SliceData(p)), length: uint32(len(p))}
}

// Skip returns the same lease on the bytes behind the first n: a copy, of which and
// of b together Release is called once. n is 0 to Len; Skip panics otherwise.
func (b Buffer) Skip(n int) Buffer {
	if uint(n) > uint(b.length) {
		panic("zcrx: Skip beyond the Buffer's end")
	}
	if b.length -= uint32(n); b.length > 0 { // else data would point behind the memory
		b.data = unsafe.Add(b.data, n)
	}
	return b
}

// Len is the number of bytes, also after Release.
func (b Buffer) Len() int { return int(b.length) }

// Release gives the lease back. It returns ErrReleased, and does nothing else,
// when that was done before: for this Buffer or a copy of it, by any goroutine.
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

// ReleaseAll releases every buffer, taking each pool's lock once per run of its
// buffers. It returns ErrReleased if any of them was released before; the
// others are released all the same.
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
