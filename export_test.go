//go:build linux && cgo

package zcrx

import (
	"reflect"
	"syscall"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring"
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

// takeNoRequests has the ring's submission queue look full until restore is called. It
// reaches into another package, which has no use for such a method.
func takeNoRequests(r *uring.Ring) (restore func()) {
	entries := (*uint32)(unsafe.Pointer(reflect.ValueOf(r).Elem().FieldByName("mem").FieldByName("sqEntries").UnsafeAddr()))
	granted := *entries
	*entries = 0
	return func() { *entries = granted }
}
