package zcnet

// window walks over slices, a number of them at a time, without changing them.
type window struct {
	rest    [][]byte
	offset  int // in rest[0]
	written int
	slices  [][]byte
	room    [64][]byte
}

func newWindow(v [][]byte) *window { return &window{rest: v} }

// next puts what is to be written next into slices. It returns false if there is
// nothing left.
func (w *window) next() bool {
	w.slices = w.room[:0]
	offset := w.offset
	for _, p := range w.rest {
		if len(w.slices) == cap(w.room[:]) {
			break
		}
		if p = p[offset:]; len(p) > 0 {
			w.slices = append(w.slices, p)
		}
		offset = 0
	}
	return len(w.slices) > 0
}

// wrote notes progress.
func (w *window) wrote(n int) {
	w.written += n
	w.offset += n
	for len(w.rest) > 0 && w.offset >= len(w.rest[0]) {
		w.offset -= len(w.rest[0])
		w.rest = w.rest[1:]
	}
}
