//go:build linux && cgo

package zcrx

// This file is the only one that speaks C. It knows liburing and csrc, and
// hands plain Go values up: no C type leaves it but for the opaque ring handle.
// Every function that enters C and belongs to a ring adds one to Ring.calls.

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

	_ "github.com/zcrx-go/zcrx/csrc" // keeps the headers in vendored trees, and this compiled anew with them
)

// haveLiburing tells whether this build can talk to io_uring at all.
const haveLiburing = true

// liburingVersion is the version of the liburing that this build is linked to.
func liburingVersion() (major, minor int) {
	return int(C.IO_URING_VERSION_MAJOR), int(C.IO_URING_VERSION_MINOR)
}

// ringHandle is liburing's ring in C memory, with the thread that owns it.
type ringHandle = *C.struct_zcx_ring

// flushRequest mirrors struct zcx_flush: a refill queue that the kernel shall
// empty at the start of a turn, and what came of it.
type flushRequest = C.struct_zcx_flush

// newFlushRequest asks for the queue whose head lies at khead to be emptied up
// to the tail target.
func newFlushRequest(id ZCRXID, khead *uint32, target uint32) flushRequest {
	return flushRequest{
		khead:   C.__u64(uintptr(unsafe.Pointer(khead))),
		target:  C.__u32(target),
		zcrx_id: C.__u32(id),
	}
}

// flushResult reads what came of a flush: the system calls made and the error.
func flushResult(f *flushRequest) (calls int, errno syscall.Errno) {
	return int(f.calls), errnoOf(f.err)
}

// errnoOf turns liburing's negative errno into Go's. 0 stands for success.
func errnoOf(ret C.int) syscall.Errno {
	if ret < 0 {
		return syscall.Errno(-ret)
	}
	return 0
}

// ringMemory is where liburing mapped the rings: what Go needs to take SQEs
// and to walk completions without entering C.
type ringMemory struct {
	fd       int
	flags    SetupFlags // as granted
	features uint32     // IORING_FEAT_*

	sqHead    *uint32 // moved by the kernel
	sqTail    *uint32 // liburing's private tail, published by the next submit
	sqFlags   *uint32 // written by the kernel: SQ_CQ_OVERFLOW and others
	sqes      unsafe.Pointer
	sqMask    uint32
	sqEntries uint32

	cqHead     *uint32 // moved by Go
	cqTail     *uint32 // moved by the kernel
	cqOverflow *uint32
	cqes       unsafe.Pointer
	cqMask     uint32
	cqEntries  uint32
}

func cRingNew(entries, cqEntries uint32, flags SetupFlags) (ringHandle, ringMemory, syscall.Errno) {
	var err C.int
	h := C.zcx_ring_new(C.uint(entries), C.uint(cqEntries), C.uint(flags), &err)
	if h == nil {
		return nil, ringMemory{}, errnoOf(err)
	}
	r := &h.ring
	return h, ringMemory{
		fd:         int(r.ring_fd),
		flags:      SetupFlags(r.flags),
		features:   uint32(r.features),
		sqHead:     (*uint32)(unsafe.Pointer(r.sq.khead)),
		sqTail:     (*uint32)(unsafe.Pointer(&r.sq.sqe_tail)),
		sqFlags:    (*uint32)(unsafe.Pointer(r.sq.kflags)),
		sqes:       unsafe.Pointer(r.sq.sqes),
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

func cRingFree(h ringHandle)         { C.zcx_ring_free(h) }
func cRingOnOwner(h ringHandle) bool { return C.zcx_on_owner(h) != 0 }

func cRingTurn(h ringHandle, waitFor uint32, timeoutNS int64, flushes []flushRequest) (int, syscall.Errno) {
	ret := C.zcx_turn(h, C.uint(waitFor), C.longlong(timeoutNS), unsafe.SliceData(flushes), C.uint(len(flushes)))
	return int(ret), errnoOf(ret)
}

func cRingEnable(h ringHandle) syscall.Errno         { return errnoOf(C.zcx_enable(h)) }
func cRingRegisterRingFD(h ringHandle) syscall.Errno { return errnoOf(C.zcx_register_ring_fd(h)) }

func cRingRegisterNAPI(h ringHandle, busyPollMicros uint32, prefer bool) syscall.Errno {
	p := C.int(0)
	if prefer {
		p = 1
	}
	return errnoOf(C.zcx_register_napi(h, C.uint(busyPollMicros), p))
}

func cRingUnregisterNAPI(h ringHandle) syscall.Errno { return errnoOf(C.zcx_unregister_napi(h)) }

func cRingRegisterBufRing(h ringHandle, addr uintptr, entries uint32, bgid, flags uint16) syscall.Errno {
	return errnoOf(C.zcx_register_buf_ring(h, C.__u64(addr), C.uint(entries), C.ushort(bgid), C.ushort(flags)))
}

func cRingUnregisterBufRing(h ringHandle, bgid uint16) syscall.Errno {
	return errnoOf(C.zcx_unregister_buf_ring(h, C.int(bgid)))
}

func cRingRegisterIfq(h ringHandle, in ifqRequest) (ifqAnswer, syscall.Errno) {
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
	ret := C.zcx_register_ifq(h, &a)
	return ifqAnswerOf(&a), errnoOf(ret)
}

func cRingImportIfq(h ringHandle, fd int) (ifqAnswer, syscall.Errno) {
	a := C.struct_zcx_register{import_fd: C.__u32(fd)}
	ret := C.zcx_import_ifq(h, &a)
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

func cRingExport(h ringHandle, id ZCRXID) (int, syscall.Errno) {
	var fd C.int
	ret := C.zcx_export(h, C.__u32(id), &fd)
	return int(fd), errnoOf(ret)
}

func cRingArmEvent(h ringHandle, id ZCRXID, event EventType) syscall.Errno {
	return errnoOf(C.zcx_arm_event(h, C.__u32(id), C.__u32(event)))
}

func cRingAddArea(h ringHandle, id ZCRXID, addr uintptr, length uint64, flags, dmabufFD uint32) (uint64, syscall.Errno) {
	var token C.__u64
	ret := C.zcx_add_area(h, C.__u32(id), C.__u64(addr), C.__u64(length), C.__u32(flags), C.__u32(dmabufFD), &token)
	return uint64(token), errnoOf(ret)
}

func cRingProbeOps(h ringHandle, supported []byte) syscall.Errno {
	return errnoOf(C.zcx_probe_ops(h, (*C.uchar)(unsafe.SliceData(supported)), C.uint(len(supported))))
}

// cQuery asks IORING_REGISTER_QUERY, which needs no ring and no privilege.
// data must hold no Go pointers.
func cQuery(op uint32, data unsafe.Pointer, size uintptr) syscall.Errno {
	return errnoOf(C.zcx_query(C.__u32(op), data, C.__u32(size)))
}
