//go:build linux && cgo

package uring

// This is the only file of the package that uses cgo. No C type leaves it except
// handle, which other files do not look into.

/*
#cgo CFLAGS: -I${SRCDIR}/../csrc -I${SRCDIR}/../third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/../third_party/liburing/dist/lib -l:liburing.a
#cgo nocallback zcx_submit_on_owner
#cgo noescape zcx_submit_on_owner
#cgo nocallback zcx_on_owner
#cgo noescape zcx_on_owner
#include "uapi_check.h"
#include "uring_calls.h"
#include "uring_shim.h"
*/
import "C"

import (
	"syscall"
	"unsafe"

	_ "github.com/zcrx-go/zcrx/csrc" // so that vendored trees have the headers, and a changed header recompiles this
	"github.com/zcrx-go/zcrx/uring/uapi"
)

// haveLiburing reports whether this build is linked with liburing.
const haveLiburing = true

func liburingVersion() (major, minor int) {
	return int(C.IO_URING_VERSION_MAJOR), int(C.IO_URING_VERSION_MINOR)
}

// handle is liburing's ring in C memory, with the thread that owns it.
type handle = *C.struct_zcx_ring

// errnoOf returns the errno in a return value of liburing, 0 for success.
func errnoOf(ret C.int) syscall.Errno {
	if ret < 0 {
		return syscall.Errno(-ret)
	}
	return 0
}

// cNew makes a ring with the parameters at p, in buffer if that is not nil.
func cNew(entries uint32, p *uapi.Params, buffer []byte) (handle, syscall.Errno) {
	var err C.int
	h := C.zcx_ring_new(C.uint(entries), (*C.struct_io_uring_params)(unsafe.Pointer(p)),
		unsafe.Pointer(unsafe.SliceData(buffer)), C.size_t(len(buffer)), &err)
	if h == nil {
		return nil, errnoOf(err)
	}
	return h, 0
}

// cMap makes a ring of an fd that io_uring_setup returned with the parameters at p.
func cMap(fd int, p *uapi.Params) (handle, syscall.Errno) {
	var err C.int
	h := C.zcx_ring_map(C.int(fd), (*C.struct_io_uring_params)(unsafe.Pointer(p)), &err)
	if h == nil {
		return nil, errnoOf(err)
	}
	return h, 0
}

// cMemory returns where the ring's queues are.
func cMemory(h handle) memory {
	r := &h.ring
	return memory{
		fd:         int(r.ring_fd),
		flags:      SetupFlags(r.flags),
		features:   Features(r.features),
		sqHead:     (*uint32)(unsafe.Pointer(r.sq.khead)),
		sqTail:     (*uint32)(unsafe.Pointer(&r.sq.sqe_tail)),
		sqFlags:    (*uint32)(unsafe.Pointer(r.sq.kflags)),
		sqes:       unsafe.Pointer(r.sq.sqes),
		sqeSize:    uintptr(C.zcx_sqe_size(h)),
		sqMask:     uint32(r.sq.ring_mask),
		sqEntries:  uint32(r.sq.ring_entries),
		sqDropped:  (*uint32)(unsafe.Pointer(r.sq.kdropped)),
		cqHead:     (*uint32)(unsafe.Pointer(r.cq.khead)),
		cqTail:     (*uint32)(unsafe.Pointer(r.cq.ktail)),
		cqOverflow: (*uint32)(unsafe.Pointer(r.cq.koverflow)),
		cqFlags:    (*uint32)(unsafe.Pointer(r.cq.kflags)),
		cqes:       unsafe.Pointer(r.cq.cqes),
		cqMask:     uint32(r.cq.ring_mask),
		cqEntries:  uint32(r.cq.ring_entries),
	}
}

// pointerOf returns the struct io_uring, which is the handle's first field.
func pointerOf(h handle) unsafe.Pointer { return unsafe.Pointer(h) }

func cFree(h handle)            { C.zcx_ring_free(h) }
func cFreeOrphan(h handle)      { C.zcx_ring_free_orphan(h) }
func cOnOwner(h handle) bool    { return C.zcx_on_owner(h) != 0 }
func cOwnerEnded(h handle) bool { return C.zcx_owner_ended(h) != 0 }

func cSubmit(h handle, waitFor uint32, timeoutNS int64) (int, syscall.Errno) {
	ret := C.zcx_submit_on_owner(h, C.uint(waitFor), C.longlong(timeoutNS))
	return int(ret), errnoOf(ret)
}

// cCall calls a function of liburing with integers, some of which are addresses of memory that
// the caller keeps.
func cCall(f function, args *[8]uint64) int64 {
	return int64(C.zcx_call(C.int(f), (*C.__u64)(unsafe.Pointer(args))))
}
