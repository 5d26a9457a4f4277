//go:build linux && cgo

package uring

// This is the only file of the package that uses cgo. No C type leaves it except
// handle, which other files do not look into.

/*
#cgo CFLAGS: -I${SRCDIR}/../csrc -I${SRCDIR}/../third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/../third_party/liburing/dist/lib -l:liburing.a
#include "uring_shim.h"
*/
import "C"

import (
	"syscall"
	"unsafe"

	_ "github.com/zcrx-go/zcrx/csrc" // so that vendored trees have the headers, and a changed header recompiles this
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

func cNew(entries, cqEntries uint32, flags SetupFlags) (handle, memory, syscall.Errno) {
	var err C.int
	h := C.zcx_ring_new(C.uint(entries), C.uint(cqEntries), C.uint(flags), &err)
	if h == nil {
		return nil, memory{}, errnoOf(err)
	}
	r := &h.ring
	return h, memory{
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
		cqHead:     (*uint32)(unsafe.Pointer(r.cq.khead)),
		cqTail:     (*uint32)(unsafe.Pointer(r.cq.ktail)),
		cqOverflow: (*uint32)(unsafe.Pointer(r.cq.koverflow)),
		cqes:       unsafe.Pointer(r.cq.cqes),
		cqMask:     uint32(r.cq.ring_mask),
		cqEntries:  uint32(r.cq.ring_entries),
	}, 0
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

func cEnable(h handle) syscall.Errno         { return errnoOf(C.zcx_enable(h)) }
func cRegisterRingFD(h handle) syscall.Errno { return errnoOf(C.zcx_register_ring_fd(h)) }

func cSetIOWait(h handle, enabled bool) syscall.Errno {
	return errnoOf(C.zcx_set_iowait(h, intOf(enabled)))
}

func cRegisterNAPI(h handle, busyPollMicros uint32, prefer bool) syscall.Errno {
	return errnoOf(C.zcx_register_napi(h, C.uint(busyPollMicros), intOf(prefer)))
}

func intOf(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func cUnregisterNAPI(h handle) syscall.Errno { return errnoOf(C.zcx_unregister_napi(h)) }

func cRegisterBufRing(h handle, addr unsafe.Pointer, entries uint32, group, flags uint16) syscall.Errno {
	return errnoOf(C.zcx_register_buf_ring(h, C.__u64(uintptr(addr)), C.uint(entries), C.ushort(group), C.ushort(flags)))
}

func cUnregisterBufRing(h handle, group uint16) syscall.Errno {
	return errnoOf(C.zcx_unregister_buf_ring(h, C.int(group)))
}

func cProbe(h handle, supported []byte) syscall.Errno {
	return errnoOf(C.zcx_probe_ops(h, (*C.uchar)(unsafe.SliceData(supported)), C.uint(len(supported))))
}
