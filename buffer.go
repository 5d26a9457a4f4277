package zcrx

import (
	"sync"
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
// before, by any goroutine, it returns ErrReleased and does nothing else.
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

// liesIn reports whether b is a lease of g whose bytes lie in its pool.
func (b Buffer) liesIn(g *ledger) bool {
	return b.lease != nil && b.lease.home == g && b.lease.token < outsidePool
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

// bufferQueue is a queue of Buffers, first in first out. It lies in chunks, which other queues
// use when they are empty: an idle connection keeps no memory for what it once had to queue.
type bufferQueue struct {
	first, last *bufferChunk // nil if the queue is empty
	begin       int          // of the first chunk's Buffers in the queue
	end         int          // of the last chunk's
	length      int
	moved       int // so many at its beginning lie outside the pool
}

// bufferChunk has room for a part of a queue. What is not in the queue is zero.
type bufferChunk struct {
	buffers [bufferChunkSize]Buffer
	next    *bufferChunk
}

const bufferChunkSize = 32 // in Buffers

// bufferChunks are the chunks that no queue uses. A sync.Pool would not do: a loop takes chunks
// on one thread, and consumers give them back on others, whose last one a sync.Pool keeps to
// itself.
var bufferChunks chunkStock

// mostFreeChunks is how many chunks are kept, of about a KiB each.
const mostFreeChunks = 1024

// chunkStock is a stack of free chunks. It is safe from any goroutine.
type chunkStock struct {
	mu    sync.Mutex
	first *bufferChunk // guarded by mu
	n     int          // guarded by mu
}

func (s *chunkStock) get() *bufferChunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.first
	if c == nil {
		return new(bufferChunk)
	}
	s.first, c.next = c.next, nil
	s.n--
	return c
}

// put takes a chunk whose Buffers are all zero.
func (s *chunkStock) put(c *bufferChunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n < mostFreeChunks {
		c.next = s.first
		s.first = c
		s.n++
	}
}

func (q *bufferQueue) len() int { return q.length }

// add appends buffers and returns the length of the queue.
func (q *bufferQueue) add(buffers []Buffer) (length int) {
	q.length += len(buffers)
	for len(buffers) > 0 {
		if q.last == nil || q.end == bufferChunkSize {
			q.extend()
		}
		n := copy(q.last.buffers[q.end:], buffers)
		q.end += n
		buffers = buffers[n:]
	}
	return q.length
}

// extend adds a chunk.
func (q *bufferQueue) extend() {
	c := bufferChunks.get()
	if q.last == nil {
		q.first, q.begin = c, 0
	} else {
		q.last.next = c
	}
	q.last, q.end = c, 0
}

// take moves as many Buffers as fit into dst, and returns their number.
func (q *bufferQueue) take(dst []Buffer) (taken int) {
	for q.length > 0 && taken < len(dst) {
		part := q.first.buffers[q.begin:q.endOf(q.first)]
		n := copy(dst[taken:], part)
		clear(part[:n])
		taken += n
		q.begin += n
		q.length -= n
		q.moved = max(0, q.moved-n)
		if n == len(part) {
			q.dropFirst()
		}
	}
	return taken
}

// endOf returns how far a chunk is filled.
func (q *bufferQueue) endOf(c *bufferChunk) int {
	if c == q.last {
		return q.end
	}
	return bufferChunkSize
}

// dropFirst removes the first chunk, of which everything was taken.
func (q *bufferQueue) dropFirst() {
	c := q.first
	q.first, q.begin = c.next, 0
	if q.first == nil {
		q.last = nil
	}
	c.next = nil
	bufferChunks.put(c)
}

// takeAll empties the queue and returns what was in it.
func (q *bufferQueue) takeAll() []Buffer {
	all := make([]Buffer, q.length)
	q.take(all)
	return all
}

// inPool returns about how many Buffers in the queue lie in the pool: those that are behind
// the ones that were there when moveOut was called last.
func (q *bufferQueue) inPool() int { return q.length - q.moved }

// moveOut gives the Buffers in the queue whose bytes lie in g's pool memory of their own, and
// returns them as they were, and how many bytes they have. They remain the same leases: see
// ledger.movedOut. It runs on the thread of g's loop.
func (q *bufferQueue) moveOut(g *ledger) (leases []Buffer, bytes int) {
	for c := q.first; c != nil; c = c.next {
		begin := 0
		if c == q.first {
			begin = q.begin
		}
		part := c.buffers[begin:q.endOf(c)]
		had, size := len(leases), 0
		for _, b := range part {
			if b.liesIn(g) {
				leases = append(leases, b)
				size += b.Len()
			}
		}
		if len(leases) > had {
			moveTo(make([]byte, 0, size), part, g)
			bytes += size
		}
	}
	q.moved = q.length
	return leases, bytes
}

// moveTo appends the bytes of the Buffers that lie in g's pool to memory, which has room for
// them, and makes it theirs.
func moveTo(memory []byte, buffers []Buffer, g *ledger) {
	for i, b := range buffers {
		if b.liesIn(g) {
			at := len(memory)
			memory = append(memory, b.Bytes()...)
			buffers[i].data = unsafe.Pointer(unsafe.SliceData(memory[at:]))
		}
	}
}
