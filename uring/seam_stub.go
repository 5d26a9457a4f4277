//go:build !linux || !cgo

package uring

import (
	"syscall"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// Without cgo, or off Linux, New returns an error before it calls cNew. So every Ring
// is closed, and none of these functions is called; they let the package build.

const haveLiburing = false

func liburingVersion() (major, minor int) { return 0, 0 }

type handle *struct{}

func pointerOf(h handle) unsafe.Pointer { return unsafe.Pointer(h) }

func cNew(uint32, *uapi.Params, []byte) (handle, syscall.Errno) { return nil, syscall.ENOSYS }
func cMap(int, *uapi.Params) (handle, syscall.Errno)            { return nil, syscall.ENOSYS }
func cMemory(handle) memory                                     { return memory{} }
func cFree(handle)                                              {}
func cFreeOrphan(handle)                                        {}
func cOwnerEnded(handle) bool                                   { return false }
func cOnOwner(handle) bool                                      { return false }
func cSubmit(handle, uint32, int64) (int, syscall.Errno)        { return 0, syscall.ENOSYS }
func cCall(function, *[8]uint64) int64                          { return -int64(syscall.ENOSYS) }
