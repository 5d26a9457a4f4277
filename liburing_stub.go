//go:build !linux || !cgo

package zcrx

import (
	"syscall"
	"unsafe"
)

// Without cgo, or off Linux, there is no io_uring to talk to. No ring can be
// made here (cRingNew is never reached: NewRing refuses first), so the methods
// of a Ring have nothing to act on; they exist to let the package build.

const haveLiburing = false

func liburingVersion() (major, minor int) { return 0, 0 }

type ringHandle *struct{}

type flushRequest struct{}

type ringMemory struct {
	fd       int
	flags    SetupFlags
	features uint32

	sqHead, sqTail, sqFlags    *uint32
	sqes                       unsafe.Pointer
	sqMask, sqEntries          uint32
	cqHead, cqTail, cqOverflow *uint32
	cqes                       unsafe.Pointer
	cqMask, cqEntries          uint32
}

func newFlushRequest(ZCRXID, *uint32, uint32) flushRequest { return flushRequest{} }
func flushResult(*flushRequest) (int, syscall.Errno)       { return 0, syscall.ENOSYS }

func cRingNew(uint32, uint32, SetupFlags) (ringHandle, ringMemory, syscall.Errno) {
	return nil, ringMemory{}, syscall.ENOSYS
}
func cRingFree(ringHandle)         {}
func cRingOnOwner(ringHandle) bool { return false }
func cRingTurn(ringHandle, uint32, int64, []flushRequest) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}
func cRingEnable(ringHandle) syscall.Errno                     { return syscall.ENOSYS }
func cRingRegisterRingFD(ringHandle) syscall.Errno             { return syscall.ENOSYS }
func cRingRegisterNAPI(ringHandle, uint32, bool) syscall.Errno { return syscall.ENOSYS }
func cRingUnregisterNAPI(ringHandle) syscall.Errno             { return syscall.ENOSYS }
func cRingRegisterBufRing(ringHandle, uintptr, uint32, uint16, uint16) syscall.Errno {
	return syscall.ENOSYS
}
func cRingUnregisterBufRing(ringHandle, uint16) syscall.Errno { return syscall.ENOSYS }
func cRingRegisterIfq(ringHandle, ifqRequest) (ifqAnswer, syscall.Errno) {
	return ifqAnswer{}, syscall.ENOSYS
}
func cRingImportIfq(ringHandle, int) (ifqAnswer, syscall.Errno) {
	return ifqAnswer{}, syscall.ENOSYS
}
func cRingExport(ringHandle, ZCRXID) (int, syscall.Errno)       { return -1, syscall.ENOSYS }
func cRingArmEvent(ringHandle, ZCRXID, EventType) syscall.Errno { return syscall.ENOSYS }
func cRingProbeOps(ringHandle, []byte) syscall.Errno            { return syscall.ENOSYS }
func cQuery(uint32, unsafe.Pointer, uintptr) syscall.Errno      { return syscall.ENOSYS }
func cRingAddArea(ringHandle, ZCRXID, uintptr, uint64, uint32, uint32) (uint64, syscall.Errno) {
	return 0, syscall.ENOSYS
}
