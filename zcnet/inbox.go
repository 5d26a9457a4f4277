package zcnet

import (
	"slices"

	"github.com/zcrx-go/zcrx"
)

// A connection takes as many buffers from its socket at a time as came lately: an idle
// one does not keep room for many.
const (
	leastBatch = 4
	mostBatch  = 32
)

// inbox is what a connection received and nobody consumed yet: a chain of leases,
// the first of which may be used up in part. It is for one goroutine at a time.
type inbox struct {
	buffers []zcrx.Buffer // those from first on are left
	first   int
	bytes   int // in them
	batch   int // how many are taken from the socket at a time
	// merged is the memory of the first buffer, if that was copied together.
	merged []byte
}

func (in *inbox) empty() bool { return in.first == len(in.buffers) }

// room returns room for what the socket delivers: see added.
func (in *inbox) room() []zcrx.Buffer {
	if in.first > 0 {
		left := copy(in.buffers, in.buffers[in.first:])
		clear(in.buffers[left:])
		in.buffers, in.first = in.buffers[:left], 0
	}
	n := len(in.buffers)
	in.batch = max(in.batch, leastBatch)
	in.buffers = slices.Grow(in.buffers, in.batch)
	return in.buffers[n : n+in.batch]
}

// added takes the first n Buffers of room in. There will be more room if all was used.
func (in *inbox) added(n int) {
	if n == in.batch {
		in.batch = min(2*in.batch, mostBatch)
	}
	had := len(in.buffers)
	in.buffers = in.buffers[:had+n]
	for i := had; i < len(in.buffers); i++ {
		in.bytes += in.buffers[i].Len()
	}
}

// take moves as many buffers as fit into dst.
func (in *inbox) take(dst []zcrx.Buffer) int {
	n := copy(dst, in.buffers[in.first:])
	for i, b := range dst[:n] {
		in.bytes -= b.Len()
		in.buffers[in.first+i] = zcrx.Buffer{}
	}
	in.first += n
	in.merged = nil
	return n
}

// front is the bytes that lie together.
func (in *inbox) front() []byte {
	if in.empty() {
		return nil
	}
	return in.buffers[in.first].Bytes()
}

// takeFirst returns the oldest buffer, and takes it. There must be one.
func (in *inbox) takeFirst() zcrx.Buffer {
	b := in.buffers[in.first]
	in.bytes -= b.Len()
	in.buffers[in.first] = zcrx.Buffer{}
	in.first++
	in.merged = nil
	return b
}

// discard drops up to n bytes and releases what is used up.
func (in *inbox) discard(n int) int {
	dropped, end := 0, in.first
	for ; end < len(in.buffers) && dropped+in.buffers[end].Len() <= n; end++ {
		dropped += in.buffers[end].Len()
	}
	if end > in.first {
		_ = zcrx.ReleaseAll(in.buffers[in.first:end]) // nobody else has them: no double release can be
		clear(in.buffers[in.first:end])
		in.first, in.merged = end, nil
	}
	if end < len(in.buffers) {
		in.buffers[end] = in.buffers[end].Skip(n - dropped)
		dropped = n
	}
	in.bytes -= dropped
	return dropped
}

// read copies.
func (in *inbox) read(p []byte) int {
	n := 0
	for i := in.first; i < len(in.buffers) && n < len(p); i++ {
		n += copy(p[n:], in.buffers[i].Bytes())
	}
	return in.discard(n)
}

// merge has at least n bytes lie together, of the bytes that there are. Leases
// whose bytes were copied are released.
func (in *inbox) merge(n int) {
	if len(in.front()) < n {
		in.gather(n)
	}
}

// copyOut copies everything to the heap and releases the leases.
func (in *inbox) copyOut() {
	if in.leases() > 0 {
		in.gather(in.bytes)
	}
}

// gather copies. There are at least n bytes, and at least one.
func (in *inbox) gather(n int) {
	front := in.front()
	in.first++
	if in.merged == nil {
		in.merged = make([]byte, 0, n)
		in.merged = append(in.merged, front...)
		_ = in.buffers[in.first-1].Release()
	} else {
		in.merged = in.merged[len(in.merged)-len(front):]
	}
	for len(in.merged) < n && !in.empty() {
		b := &in.buffers[in.first]
		k := min(n-len(in.merged), b.Len())
		in.merged = append(in.merged, b.Bytes()[:k]...)
		if *b = b.Skip(k); b.Len() > 0 {
			break
		}
		_ = b.Release()
		*b = zcrx.Buffer{}
		in.first++
	}
	in.first--
	in.buffers[in.first] = zcrx.NewBuffer(in.merged)
}

// leases is the number of buffers that lie in the pool.
func (in *inbox) leases() int {
	n := len(in.buffers) - in.first
	if in.merged != nil {
		n--
	}
	return n
}

func (in *inbox) release() {
	_ = zcrx.ReleaseAll(in.buffers[in.first:])
	*in = inbox{}
}
