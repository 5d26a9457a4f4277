// Package uapi has the constants and structs of the kernel's io_uring interface, as the headers
// of the pinned liburing declare them. Constants have their C names. Structs have the C names
// without io_uring_, in Go's spelling: Params is struct io_uring_params. Start with package
// uring, which uses them; this package is for calls that it does not make.
//
// Of a union, the Go struct has the largest member, and the first of several; a comment names
// the others, whose values go to the same place. What is reserved is blank and zero.
//
// The files are written by tools/uringgen ("make generate"). The C compiler asserts every value
// and layout in each build of package uring (csrc/uapi_check.h).
package uapi

// Timespec mirrors struct __kernel_timespec (linux/time_types.h).
type Timespec struct {
	Sec  int64
	Nsec int64
}
