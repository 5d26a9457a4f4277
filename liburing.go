//go:build linux && cgo

package zcrx

// This file is the only one of the package that speaks C: liburing's zcrx helpers and
// the one call of a turn. Package uring speaks the rest of liburing. A ring comes here
// as the struct io_uring that uring.Ring.Pointer returns, because cgo types do not
// cross packages, and plain Go values leave.

/*
#cgo CFLAGS: -I${SRCDIR}/csrc -I${SRCDIR}/third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/third_party/liburing/dist/lib -l:liburing.a
#include "zcrx_shim.h"

#cgo noescape zcx_turn
#cgo nocallback zcx_turn
#cgo noescape zcx_query
#cgo nocallback zcx_query
*/
import "C"

import (
	"syscall"
	"unsafe"

	_ "github.com/zcrx-go/zcrx/csrc" // keeps the headers in vendored trees; a change of them recompiles this package
)

// haveLiburing reports whether this build can use io_uring at all.
const haveLiburing = true

// structRing returns what uring.Ring.Pointer points to: a struct io_uring.
func structRing(p unsafe.Pointer) *C.struct_io_uring { return (*C.struct_io_uring)(p) }

// flushRequest mirrors struct zcx_flush: a refill queue that the kernel empties at the
// start of a turn, and the result.
type flushRequest = C.struct_zcx_flush

// newFlushRequest asks the kernel to empty the queue whose head lies at khead, up to the
// tail target.
func newFlushRequest(id ZCRXID, khead *uint32, target uint32) flushRequest {
	return flushRequest{
		khead:   C.__u64(uintptr(unsafe.Pointer(khead))),
		target:  C.__u32(target),
		zcrx_id: C.__u32(id),
	}
}

// flushResult returns the number of system calls that a flush took, and its error.
func flushResult(f *flushRequest) (calls int, errno syscall.Errno) {
	return int(f.calls), errnoOf(f.err)
}

// errnoOf turns a negative errno of liburing into Go's. 0 means success.
func errnoOf(ret C.int) syscall.Errno {
	if ret < 0 {
		return syscall.Errno(-ret)
	}
	return 0
}

func cRingTurn(ring unsafe.Pointer, waitFor uint32, timeoutNS int64, flushes []flushRequest) (int, syscall.Errno) {
	ret := C.zcx_turn(structRing(ring), C.uint(waitFor), C.longlong(timeoutNS), unsafe.SliceData(flushes), C.uint(len(flushes)))
	return int(ret), errnoOf(ret)
}

func cRingRegisterIfq(ring unsafe.Pointer, in ifqRequest) (ifqAnswer, syscall.Errno) {
	a := C.struct_zcx_register{
		if_idx: C.__u32(in.ifindex), if_rxq: C.__u32(in.queue),
		rq_entries: C.__u32(in.refillEntries), flags: C.__u32(in.flags),
		rx_buf_len: C.__u32(in.bufferSize),
		area_flags: C.__u32(in.areaFlags), dmabuf_fd: C.__u32(in.dmabufFD),
		area_addr: C.__u64(in.areaAddr), area_len: C.__u64(in.areaLen),
		region_addr: C.__u64(in.regionAddr), region_size: C.__u64(in.regionSize),
		event_mask: C.__u32(in.eventMask), event_user_data: C.__u64(in.eventUserData),
		stats_offset: C.__u64(in.statsOffset),
	}
	ret := C.zcx_register_ifq(structRing(ring), &a)
	return ifqAnswerOf(&a), errnoOf(ret)
}

func cRingImportIfq(ring unsafe.Pointer, fd int) (ifqAnswer, syscall.Errno) {
	a := C.struct_zcx_register{import_fd: C.__u32(fd)}
	ret := C.zcx_import_ifq(structRing(ring), &a)
	return ifqAnswerOf(&a), errnoOf(ret)
}

func ifqAnswerOf(a *C.struct_zcx_register) ifqAnswer {
	return ifqAnswer{
		id:            ZCRXID(a.zcrx_id),
		refillEntries: uint32(a.out_rq_entries),
		bufferSize:    uint32(a.out_rx_buf_len),
		areaToken:     uint64(a.area_token),
		offsets:       refillOffsets{head: uint32(a.head), tail: uint32(a.tail), entries: uint32(a.rqes)},
	}
}

func cRingExport(ring unsafe.Pointer, id ZCRXID) (int, syscall.Errno) {
	var fd C.int
	ret := C.zcx_export(structRing(ring), C.__u32(id), &fd)
	return int(fd), errnoOf(ret)
}

func cRingArmEvent(ring unsafe.Pointer, id ZCRXID, event eventType) syscall.Errno {
	return errnoOf(C.zcx_arm_event(structRing(ring), C.__u32(id), C.__u32(event)))
}

func cRingAddArea(ring unsafe.Pointer, id ZCRXID, addr uintptr, length uint64, flags, dmabufFD uint32) (uint64, syscall.Errno) {
	var token C.__u64
	ret := C.zcx_add_area(structRing(ring), C.__u32(id), C.__u64(addr), C.__u64(length), C.__u32(flags), C.__u32(dmabufFD), &token)
	return uint64(token), errnoOf(ret)
}

// cQuery calls IORING_REGISTER_QUERY, which needs no ring and no privilege. data must hold
// no Go pointers.
func cQuery(op uint32, data unsafe.Pointer, size uintptr) syscall.Errno {
	return errnoOf(C.zcx_query(C.__u32(op), data, C.__u32(size)))
}
