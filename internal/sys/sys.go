package sys

import (
	"encoding/binary"
	"errors"
	"os"
)

// ErrNotLinux is the error of the functions that need Linux, on other systems.
var ErrNotLinux = errors.New("zcrx: io_uring needs Linux")

// PageSize returns the size of a page in bytes.
func PageSize() uintptr { return uintptr(os.Getpagesize()) }

// PollMask returns POLL* events as they stand in an SQE. On big-endian machines the
// kernel expects the two 16-bit halves swapped.
func PollMask(events uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return events<<16 | events>>16
	}
	return events
}

// BorrowedMemory is what a ConnReader reads into.
type BorrowedMemory interface {
	// Get returns the memory, nil if there is none at present.
	Get() []byte
	// Put gives back what Get returned: nothing was read.
	Put()
}
