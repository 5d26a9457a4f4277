package uring

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

// NotifZCCopied is the Res of a completion with CQENotif if the kernel copied the
// bytes after all (IORING_NOTIF_USAGE_ZC_COPIED). Only a request with
// SendZCReportUsage gets it.
const NotifZCCopied int32 = -1 << 31

// CQEFlags are the IORING_CQE_F_* flags of a completion.
type CQEFlags uint32

// The flags of a completion.
const (
	CQEBuffer       CQEFlags = 1 << 0  // a provided buffer was used: see BufferID
	CQEMore         CQEFlags = 1 << 1  // the request goes on: more completions will come
	CQESockNonempty CQEFlags = 1 << 2  // the socket had more data
	CQENotif        CQEFlags = 1 << 3  // the buffer of a SEND_ZC may be used again
	CQEBufMore      CQEFlags = 1 << 4  // the provided buffer is not used up (Linux 6.12)
	CQESkip         CQEFlags = 1 << 5  // a filler, which Completions leaves out (Linux 6.18)
	CQE32           CQEFlags = 1 << 15 // a 32-byte completion in a mixed ring (Linux 6.18)
)

// CQEBufferShift is where the number of the provided buffer begins in a completion's
// flags (IORING_CQE_BUFFER_SHIFT).
const CQEBufferShift = 16

const cqeSize = 16

// CQE is a completion, copied out of the ring.
type CQE struct {
	UserData uint64   // of the SQE that it belongs to
	Res      int32    // result, or a negative errno
	Flags    CQEFlags // see the constants
	// Big is the second half of a 32-byte completion, else 0. RECV_ZC puts the
	// offset of the data into Big[0].
	Big [2]uint64
}

// Errno returns the error that the completion carries, 0 for none. The notification of a send
// without a copy carries none: see NotifZCCopied. A request that was cancelled while a worker
// waited for it may have EINTR instead of ECANCELED.
func (c *CQE) Errno() syscall.Errno {
	const restart = 512 // ERESTARTSYS, which splices and opens let through (Linux 6.18)
	switch {
	case c.Res >= 0 || c.Flags&CQENotif != 0:
		return 0
	case c.Res == -restart:
		return syscall.EINTR
	}
	return syscall.Errno(-c.Res)
}

// More reports whether the request goes on.
func (c *CQE) More() bool { return c.Flags&CQEMore != 0 }

// BufferID returns the number of the provided buffer that was used. It means nothing
// without CQEBuffer.
func (c *CQE) BufferID() uint16 { return uint16(c.Flags >> CQEBufferShift) }

// rawCQE mirrors the first half of struct io_uring_cqe.
type rawCQE struct {
	userData uint64
	res      int32
	flags    CQEFlags
}

// Completions copies up to len(dst) completions to dst, frees their entries for the
// kernel and returns their number. It makes no system call: those that had no room in the queue
// come with the next Submit or GetEvents.
//
// Implements: unsigned io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes, unsigned count)
func (r *Ring) Completions(dst []CQE) int {
	if r.h == nil {
		return 0
	}
	m := &r.mem
	head := *m.cqHead
	// This load acquires what the kernel's store of the tail releases: the entries
	// before it.
	tail := atomic.LoadUint32(m.cqTail)
	n := 0
	for n < len(dst) && head != tail {
		slots, filled := r.copyCQE(&dst[n], head)
		head += slots
		if filled {
			n++
		}
	}
	// This store releases the entries before head to the kernel.
	atomic.StoreUint32(m.cqHead, head)
	return n
}

// Pending returns the number of completion queue entries in use.
//
// Implements: unsigned io_uring_cq_ready(const struct io_uring *ring)
func (r *Ring) Pending() int {
	if r.h == nil {
		return 0
	}
	return int(atomic.LoadUint32(r.mem.cqTail) - *r.mem.cqHead)
}

// CQNearlyFull reports whether the kernel may have had no room for another
// completion. In a mixed ring one of 32 bytes takes two entries, and three with a
// filler.
func (r *Ring) CQNearlyFull() bool { return r.h != nil && r.Pending()+2 >= int(r.mem.cqEntries) }

// copyCQE copies the completion at index head to dst. It returns the number of
// entries that the completion takes, and false for a filler. The mask keeps the
// address inside the array that liburing mapped. A 32-byte completion never wraps
// around the end of the array: the kernel puts a filler there instead.
func (r *Ring) copyCQE(dst *CQE, head uint32) (slots uint32, filled bool) {
	m := &r.mem
	at := uintptr(head&m.cqMask) * cqeSize
	big := m.flags&SetupCQE32 != 0
	if big {
		at *= 2
	}
	raw := (*rawCQE)(unsafe.Add(m.cqes, at))
	if raw.flags&CQESkip != 0 {
		return 1, false
	}
	*dst = CQE{UserData: raw.userData, Res: raw.res, Flags: raw.flags}
	slots = 1
	if m.flags&SetupCQEMixed != 0 && raw.flags&CQE32 != 0 {
		big, slots = true, 2
	}
	if big {
		dst.Big = *(*[2]uint64)(unsafe.Add(m.cqes, at+cqeSize))
	}
	return slots, true
}
