//go:build !linux || !cgo

package uring

import (
	"syscall"
	"unsafe"
)

// Without cgo, or off Linux, New returns an error before it calls cNew. So every Ring
// is closed, and none of these functions is called; they let the package build.

const haveLiburing = false

func liburingVersion() (major, minor int) { return 0, 0 }

type handle *struct{}

func pointerOf(h handle) unsafe.Pointer { return unsafe.Pointer(h) }

func cNew(uint32, uint32, SetupFlags) (handle, memory, syscall.Errno) {
	return nil, memory{}, syscall.ENOSYS
}
func cFree(handle)                                       {}
func cFreeOrphan(handle)                                 {}
func cOwnerEnded(handle) bool                            { return false }
func cOnOwner(handle) bool                               { return false }
func cSubmit(handle, uint32, int64) (int, syscall.Errno) { return 0, syscall.ENOSYS }
func cEnable(handle) syscall.Errno                       { return syscall.ENOSYS }
func cRegisterRingFD(handle) syscall.Errno               { return syscall.ENOSYS }
func cSetIOWait(handle, bool) syscall.Errno              { return syscall.ENOSYS }
func cRegisterNAPI(handle, uint32, bool) syscall.Errno   { return syscall.ENOSYS }
func cUnregisterNAPI(handle) syscall.Errno               { return syscall.ENOSYS }
func cRegisterBufRing(handle, unsafe.Pointer, uint32, uint16, uint16) syscall.Errno {
	return syscall.ENOSYS
}
func cUnregisterBufRing(handle, uint16) syscall.Errno { return syscall.ENOSYS }
func cProbe(handle, []byte) syscall.Errno             { return syscall.ENOSYS }
