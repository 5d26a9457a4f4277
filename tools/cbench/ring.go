//go:build linux && cgo

package cbench

// #include <stdlib.h>
// #include "ring.h"
import "C"

import (
	"time"
	"unsafe"
)

// Ring is a ring in C. It belongs to the thread that made it.
type Ring struct{ c *C.struct_io_uring }

// NewRing makes a ring with flags SINGLE_ISSUER and DEFER_TASKRUN.
func NewRing(entries int) (*Ring, error) {
	r := &Ring{c: (*C.struct_io_uring)(C.calloc(1, C.sizeof_struct_io_uring))}
	if ret := C.cbench_ring_open(r.c, C.uint(entries)); ret < 0 {
		C.free(unsafe.Pointer(r.c))
		return nil, failure("make ring", int64(ret))
	}
	return r, nil
}

// Close frees the ring.
func (r *Ring) Close() {
	C.io_uring_queue_exit(r.c)
	C.free(unsafe.Pointer(r.c))
	r.c = nil
}

// Nops carries out n requests that do nothing, one at a time, and returns how long that took.
func (r *Ring) Nops(n int) (time.Duration, error) { return elapsed(C.cbench_nops(r.c, C.longlong(n))) }

// Reads carries out n reads of a block at random places of the first blocks of fd, depth at a
// time, into memory of depth blocks. It returns how long that took.
func (r *Ring) Reads(fd int, memory []byte, block, blocks, depth, n int) (time.Duration, error) {
	return elapsed(C.cbench_reads(r.c, C.int(fd), (*C.char)(unsafe.Pointer(unsafe.SliceData(memory))), C.uint(block),
		C.ulonglong(blocks), C.uint(depth), C.longlong(n)))
}
