package zcnet

// mostAtOnce is how many slices a writer gets at a time.
const mostAtOnce = 64

// window passes a list of slices to a writer, at most mostAtOnce at a time. It does not change
// the list.
type window struct {
	rest    [][]byte // the first is not empty
	offset  int      // bytes of rest[0] that are written
	written int      // bytes written in all
	slices  [][]byte // to be written next
	room    [][]byte // memory of slices, if it is not rest's
}

func newWindow(v [][]byte) window {
	w := window{rest: v}
	w.wrote(0)
	return w
}

// next puts what to write next into slices. It returns false if nothing is left.
func (w *window) next() bool {
	w.slices = w.rest[:min(len(w.rest), mostAtOnce)]
	if w.offset > 0 {
		w.room = append(w.room[:0], w.slices...)
		w.slices = w.room
		w.slices[0] = w.slices[0][w.offset:]
	}
	return len(w.slices) > 0
}

// wrote records that n more bytes are written.
func (w *window) wrote(n int) {
	w.written += n
	w.offset += n
	for len(w.rest) > 0 && w.offset >= len(w.rest[0]) {
		w.offset -= len(w.rest[0])
		w.rest = w.rest[1:]
	}
}
