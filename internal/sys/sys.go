// Package sys has the system calls and the facts about kernel and process that
// the packages of this module need below their own subject: memory, eventfds,
// limits, namespaces, versions, sockets. Nothing here is about io_uring's rings. Off Linux everything builds, and what cannot work there
// returns ErrNotLinux.
package sys

import (
	"encoding/binary"
	"errors"
	"os"
)

// ErrNotLinux is what Linux's system calls return on other systems.
var ErrNotLinux = errors.New("zcrx: io_uring needs Linux")

// PageSize returns the size of a page in bytes.
func PageSize() uintptr { return uintptr(os.Getpagesize()) }

// PollMask returns POLL* events as the kernel reads them from an SQE: their two
// halves are swapped on big-endian machines.
func PollMask(events uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
		return events<<16 | events>>16
	}
	return events
}

// BorrowedMemory is what ReadConn reads into.
type BorrowedMemory interface {
	// Get returns the memory, nil if there is none at present.
	Get() []byte
	// Put gives back what Get returned: nothing was read.
	Put()
}
