package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Message is a struct msghdr with its list of slices, for a send that the kernel carries out
// later. It must not be copied.
type Message struct {
	header unix.Msghdr
	slices []unix.Iovec
}

// Set makes the message consist of v, whose slices must not be empty. It keeps them until
// Clear.
func (m *Message) Set(v [][]byte) {
	m.slices = m.slices[:0]
	for _, p := range v {
		iov := unix.Iovec{Base: unsafe.SliceData(p)}
		iov.SetLen(len(p))
		m.slices = append(m.slices, iov)
	}
	m.header.Iov = unsafe.SliceData(m.slices)
	m.header.SetIovlen(len(m.slices))
}

// Clear forgets the slices.
func (m *Message) Clear() { clear(m.slices) }

// Pointer returns the address of the struct msghdr.
func (m *Message) Pointer() unsafe.Pointer { return unsafe.Pointer(&m.header) }
