//go:build linux && cgo

// Package cprep prepares submission queue entries with liburing's own functions, so
// that tests can compare the entries of package uring with them. It is a package
// because test files cannot use cgo; programs do not import it. Start with Functions.
package cprep

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc -I${SRCDIR}/../../third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/../../third_party/liburing/dist/lib -l:liburing.a
#include "prep.h"

// liburing 2.15 has no function for this; its zcrx example does the same.
static void recv_zc(struct io_uring_sqe *s, int fd, unsigned int ifq, unsigned int len)
{
	io_uring_prep_rw(IORING_OP_RECV_ZC, s, fd, NULL, len, 0);
	s->ioprio |= IORING_RECV_MULTISHOT;
	s->zcrx_ifq_idx = ifq;
}
*/
import "C"

import (
	"unsafe"

	_ "github.com/zcrx-go/zcrx/csrc" // so that a changed header recompiles this
)

// Entry is a submission queue entry of 128 bytes, of which most use the first half.
type Entry [128]byte

func (e *Entry) sqe() *C.struct_io_uring_sqe {
	return (*C.struct_io_uring_sqe)(unsafe.Pointer(e))
}

// Prep returns the entry that Functions[function] makes of args, one for each of its
// parameters, from an entry of zeros.
func Prep(function int, args []uint64) Entry {
	var e Entry
	var a [8]C.uint64_t
	for i, arg := range args {
		a[i] = C.uint64_t(arg)
	}
	C.prep(C.int(function), e.sqe(), &a[0])
	return e
}

// Named is Prep for the function of that name. It panics if there is none.
func Named(name string, args ...uint64) Entry {
	for i := range Functions {
		if Functions[i].Name == name {
			return Prep(i, args)
		}
	}
	panic("cprep: liburing has no " + name)
}

// RecvZC returns the entry of a zero-copy receive.
func RecvZC(fd int, ifq, limit uint32) Entry {
	var e Entry
	C.recv_zc(e.sqe(), C.int(fd), C.uint(ifq), C.uint(limit))
	return e
}
