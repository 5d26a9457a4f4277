package zcnet

import "github.com/zcrx-go/zcrx"

// inbox is what a connection received and nobody consumed yet: a chain of leases,
// the first of which may be used up in part. It is for one goroutine at a time.
type inbox struct {
	buffers []zcrx.Buffer // those from first on are left
	first   int
	bytes   int // in them
	// merged is the memory of the first buffer, if that was copied together.
	merged []byte
}

func (in *inbox) empty() bool { return in.first == len(in.buffers) }

func (in *inbox) add(buffers []zcrx.Buffer) {
	left := copy(in.buffers, in.buffers[in.first:])
	clear(in.buffers[left:])
	in.buffers, in.first = append(in.buffers[:left], buffers...), 0
	for _, b := range buffers {
		in.bytes += b.Len()
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

// discard drops up to n bytes and releases what is used up.
func (in *inbox) discard(n int) int {
	dropped := 0
	for dropped < n && !in.empty() {
		b := &in.buffers[in.first]
		k := min(n-dropped, b.Len())
		*b = b.Skip(k)
		dropped += k
		if b.Len() == 0 {
			_ = b.Release() // nobody else has it: no double release can be
			*b = zcrx.Buffer{}
			in.first++
			in.merged = nil
		}
	}
	in.bytes -= dropped
	return dropped
}

// read copies.
func (in *inbox) read(p []byte) int {
	n := 0
	for n < len(p) && !in.empty() {
		k := copy(p[n:], in.front())
		in.discard(k)
		n += k
	}
	return n
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
