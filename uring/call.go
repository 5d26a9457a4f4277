package uring

import (
	"os"
	"syscall"
	"unsafe"
)

// call checks that it runs on the ring's thread and calls a function of liburing whose first
// argument is the ring. It returns what the function returns, or an error that names it.
// Addresses among args must be from address, and the caller keeps what they point to.
func (r *Ring) call(f function, args ...uint64) (int, error) {
	if err := r.Check(functionNames[f]); err != nil {
		return 0, err
	}
	return callC(f, append([]uint64{uint64(uintptr(pointerOf(r.h)))}, args...)...)
}

// callC is call for a function without a ring.
func callC(f function, args ...uint64) (int, error) {
	if !haveLiburing {
		return 0, errUnsupported
	}
	var all [8]uint64
	copy(all[:], args)
	result := cCall(f, &all)
	if result < 0 && result >= -maxErrno {
		return 0, os.NewSyscallError(functionNames[f], syscall.Errno(-result))
	}
	return int(result), nil
}

// maxErrno is the largest errno of the kernel (MAX_ERRNO).
const maxErrno = 4095

// address returns the address of memory for call. The memory does not move.
func address[T any](p *T) uint64 { return uint64(escape(unsafe.Pointer(p))) }

// sliceAddress returns the address of the first element, 0 for none.
func sliceAddress[T any](s []T) uint64 { return address(unsafe.SliceData(s)) }

// signed returns a number that may be negative for call.
func signed(n int) uint64 { return uint64(int64(n)) }

// boolean returns 0 or 1.
func boolean(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
