//go:build !linux || !cgo

package zcrx

import (
	"syscall"
	"unsafe"
)

// Stubs for builds without cgo or off Linux. uring.New returns an error there, so none of
// these is called; the package needs them to build.

const haveLiburing = false

type flushRequest struct{}

func newFlushRequest(ZCRXID, *uint32, uint32) flushRequest { return flushRequest{} }
func flushResult(*flushRequest) (int, syscall.Errno)       { return 0, syscall.ENOSYS }

func cRingTurn(unsafe.Pointer, uint32, int64, []flushRequest) (int, syscall.Errno) {
	return 0, syscall.ENOSYS
}
func cRingRegisterIfq(unsafe.Pointer, ifqRequest) (ifqAnswer, syscall.Errno) {
	return ifqAnswer{}, syscall.ENOSYS
}
func cRingImportIfq(unsafe.Pointer, int) (ifqAnswer, syscall.Errno) {
	return ifqAnswer{}, syscall.ENOSYS
}
func cRingExport(unsafe.Pointer, ZCRXID) (int, syscall.Errno)       { return -1, syscall.ENOSYS }
func cRingArmEvent(unsafe.Pointer, ZCRXID, eventType) syscall.Errno { return syscall.ENOSYS }
func cQuery(uint32, unsafe.Pointer, uintptr) syscall.Errno          { return syscall.ENOSYS }
func cRingAddArea(unsafe.Pointer, ZCRXID, uintptr, uint64, uint32, uint32) (uint64, syscall.Errno) {
	return 0, syscall.ENOSYS
}
