package zcnet

// window passes a list of slices to a writer, at most 64 at a time. It does not change the
// list.
type window struct {
	rest    [][]byte
	offset  int        // bytes of rest[0] that are written
	written int        // bytes written in all
	slices  [][]byte   // to be written next
	room    [64][]byte // memory of slices
}

func newWindow(v [][]byte) *window { return &window{rest: v} }

// next puts what to write next into slices. It returns false if nothing is left.
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

// wrote records that n more bytes are written.
func (w *window) wrote(n int) {
	w.written += n
	w.offset += n
	for len(w.rest) > 0 && w.offset >= len(w.rest[0]) {
		w.offset -= len(w.rest[0])
		w.rest = w.rest[1:]
	}
}
