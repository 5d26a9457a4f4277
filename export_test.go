//go:build linux && cgo

package zcrx

import (
	"reflect"
	"syscall"
	"unsafe"
)

// setFlushError writes the error that the kernel's side answers into a flush
// request. Tests cannot use cgo, hence the reflection.
func setFlushError(f *flushRequest, errno syscall.Errno) {
	field := reflect.ValueOf(f).Elem().FieldByName("err")
	*(*int32)(unsafe.Pointer(field.UnsafeAddr())) = -int32(errno)
}

// setFlushCalls writes how many system calls the flush took.
func setFlushCalls(f *flushRequest, n uint32) {
	*(*uint32)(unsafe.Pointer(reflect.ValueOf(f).Elem().FieldByName("calls").UnsafeAddr())) = n
}
