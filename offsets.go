package zcrx

// offsetQueue holds the offsets of buffers that wait for room in the refill
// queue, first in first out. It grows as needed and never shrinks.
type offsetQueue struct {
	ring []uint64 // its length is a power of two
	head uint64   // index of the oldest
	tail uint64   // index behind the newest
}

func (q *offsetQueue) len() int { return int(q.tail - q.head) }

func (q *offsetQueue) push(offset uint64) {
	if q.len() == len(q.ring) {
		q.grow()
	}
	q.ring[q.tail&uint64(len(q.ring)-1)] = offset
	q.tail++
}

// first is the oldest offset; the queue must not be empty.
func (q *offsetQueue) first() uint64 { return q.ring[q.head&uint64(len(q.ring)-1)] }

func (q *offsetQueue) drop() { q.head++ }

func (q *offsetQueue) grow() {
	bigger := make([]uint64, max(64, 2*len(q.ring)))
	n := q.len()
	for i := range n {
		bigger[i] = q.ring[(q.head+uint64(i))&uint64(len(q.ring)-1)]
	}
	q.ring, q.head, q.tail = bigger, 0, uint64(n)
}
