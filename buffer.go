package zcrx

import "unsafe"

// Buffer is a lease on the bytes of one completion. It is a small value: copy
// it as you like, but of all copies together Release is called once. The zero
// Buffer is empty and may be released any number of times.
//
// Bytes and Release are safe from any goroutine, also after the pool, its loop
// and its ring are closed: the memory stays until the last lease is back.
type Buffer struct {
	lease      *lease // nil for bytes that a Conn copied together: they need no release
	generation uint64
	data       unsafe.Pointer // into the area; valid while the lease is out
	length     uint32
}

// Bytes are the received bytes: length and capacity are what the kernel
// reported, so append copies. They are read-only: the kernel shares them. After
// Release the answer is nil, and the pool counts a use after release; slices
// taken before must not be used any more.
func (b Buffer) Bytes() []byte {
	if b.lease != nil && b.lease.generation.load() != b.generation {
		b.lease.home.usesAfterRelease.Add(1)
		return nil
	}
	return unsafe.Slice((*byte)(b.data), b.length)[:b.length:b.length]
}

// after is the same lease on the bytes behind the first n.
func (b Buffer) after(n int) Buffer {
	if n == int(b.length) {
		n = 0 // nothing is left: do not point behind the memory
		b.length = 0
	}
	b.data, b.length = unsafe.Add(b.data, n), b.length-uint32(n)
	return b
}

// Len is the number of bytes, also after Release.
func (b Buffer) Len() int { return int(b.length) }

// Release gives the lease back. It answers ErrReleased, and does nothing else,
// when that was done before: for this Buffer or a copy of it, by any goroutine.
func (b Buffer) Release() error {
	if b.lease == nil {
		return nil
	}
	if home := b.lease.home; !home.takeBack(b.lease, b.generation) {
		home.doubleReleases.Add(1)
		return ErrReleased
	}
	return nil
}

// ReleaseAll releases every buffer, taking each pool's lock once per run of its
// buffers. It answers ErrReleased if any of them was released before; the
// others are released all the same.
func ReleaseAll(buffers []Buffer) error {
	var err error
	for i := 0; i < len(buffers); {
		if buffers[i].lease == nil {
			i++
			continue
		}
		home := buffers[i].lease.home
		n, doubles := home.takeBackRun(buffers[i:])
		if doubles > 0 {
			home.doubleReleases.Add(uint64(doubles))
			err = ErrReleased
		}
		i += n
	}
	return err
}
