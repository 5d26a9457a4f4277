package zcnet

import (
	"slices"

	"github.com/zcrx-go/zcrx"
)

// mostBatch is how many buffers a connection takes from its socket at a time, at most.
const mostBatch = 32

// inbox holds the buffers that a connection has taken from its socket and that are not
// consumed. The first of them may be consumed in part. Only the reader may use it.
type inbox struct {
	buffers []zcrx.Buffer // buffers[first:] are in the inbox
	first   int
	bytes   int // total length of buffers[first:]
	length  int // of the buffer that was added last
	// merged is the memory of buffers[first] if gather made that buffer, else nil.
	merged []byte
}

func (in *inbox) empty() bool { return in.first == len(in.buffers) }

// room returns a slice for the socket to put buffers into: for as many as probably have the
// want bytes that are wanted, because what nobody reads yet is better off in the socket's
// queue. added must be called next.
func (in *inbox) room(want int) []zcrx.Buffer {
	if in.empty() && cap(in.buffers) > 2*mostBatch {
		*in = inbox{length: in.length} // more than an idle connection should keep
	}
	if in.first > 0 {
		left := copy(in.buffers, in.buffers[in.first:])
		clear(in.buffers[left:])
		in.buffers, in.first = in.buffers[:left], 0
	}
	n := len(in.buffers)
	batch := 1
	if in.length > 0 {
		batch = min((want-1)/in.length+1, mostBatch)
	}
	in.buffers = slices.Grow(in.buffers, batch)
	return in.buffers[n : n+batch]
}

// added adds the first n buffers of the slice that room returned.
func (in *inbox) added(n int) {
	had := len(in.buffers)
	in.buffers = in.buffers[:had+n]
	for i := had; i < len(in.buffers); i++ {
		in.length = in.buffers[i].Len()
		in.bytes += in.length
	}
}

// put adds buffers that were not received into the slice that room returned.
func (in *inbox) put(buffers []zcrx.Buffer) {
	had := len(in.buffers)
	in.buffers = append(in.buffers, buffers...)[:had]
	in.added(len(buffers))
}

// take moves as many buffers as fit into dst and returns their number.
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

// front returns the bytes of the first buffer, nil if the inbox is empty.
func (in *inbox) front() []byte {
	if in.empty() {
		return nil
	}
	return in.buffers[in.first].Bytes()
}

// takeFirst removes the first buffer and returns it. The inbox must not be empty.
func (in *inbox) takeFirst() zcrx.Buffer {
	b := in.buffers[in.first]
	in.bytes -= b.Len()
	in.buffers[in.first] = zcrx.Buffer{}
	in.first++
	in.merged = nil
	return b
}

// discard drops up to n bytes and returns how many it dropped. It releases the buffers that
// are consumed to their end.
func (in *inbox) discard(n int) int {
	dropped, end := 0, in.first
	for ; end < len(in.buffers) && dropped+in.buffers[end].Len() <= n; end++ {
		dropped += in.buffers[end].Len()
	}
	if end > in.first {
		_ = zcrx.ReleaseAll(in.buffers[in.first:end]) // cannot fail: these leases were never given out
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

// read copies up to len(p) bytes into p, discards them, and returns their number.
func (in *inbox) read(p []byte) int {
	n := 0
	for i := in.first; i < len(in.buffers) && n < len(p); i++ {
		n += copy(p[n:], in.buffers[i].Bytes())
	}
	return in.discard(n)
}

// merge makes front return at least n bytes, copying if the first buffer has fewer. The
// inbox must hold n bytes.
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

// gather copies the first n bytes into memory of their own, which becomes the first buffer,
// and releases the leases that it copied to their end. The inbox must hold n bytes, and at
// least one.
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

// leases returns the number of buffers that are leases of the pool.
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
