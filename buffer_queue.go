package zcrx

import "slices"

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
