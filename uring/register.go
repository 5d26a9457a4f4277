package uring

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// Registrations on a ring. As all of a Ring's methods they belong on its thread. A
// registration ends with the ring.

// register calls fn on the ring's thread and names its errno after call.
func (r *Ring) register(call string, fn func() syscall.Errno) error {
	if err := r.Check(call); err != nil {
		return err
	}
	if errno := fn(); errno != 0 {
		return os.NewSyscallError(call, errno)
	}
	return nil
}

// RegisterRingFD makes the kernel remember the ring for this thread, which saves
// it a look-up with every call (Linux 5.18).
//
// Implements: int io_uring_register_ring_fd(struct io_uring *ring)
func (r *Ring) RegisterRingFD() error {
	return r.register("io_uring_register_ring_fd", func() syscall.Errno { return cRegisterRingFD(r.h) })
}

// RegisterNAPI makes waiting on the ring poll the network queues of its sockets
// for up to busyPoll, 0 to 71 minutes, in microseconds' steps (Linux 6.9).
//
// Implements: int io_uring_register_napi(struct io_uring *ring, struct io_uring_napi *napi)
func (r *Ring) RegisterNAPI(busyPoll time.Duration, prefer bool) error {
	const most = 1<<32 - 1
	us := busyPoll.Microseconds()
	if us < 0 || us > most {
		return rangeError("busy poll time in µs", us, 0, most)
	}
	return r.register("io_uring_register_napi", func() syscall.Errno { return cRegisterNAPI(r.h, uint32(us), prefer) })
}

// UnregisterNAPI ends what RegisterNAPI began.
//
// Implements: int io_uring_unregister_napi(struct io_uring *ring, struct io_uring_napi *napi)
func (r *Ring) UnregisterNAPI() error {
	return r.register("io_uring_unregister_napi", func() syscall.Errno { return cUnregisterNAPI(r.h) })
}

// BufRingFlags are the IOU_PBUF_RING_* flags of a provided-buffer ring.
type BufRingFlags uint16

// BufRingIncremental has buffers used up piece by piece: see CQEBufMore
// (IOU_PBUF_RING_INC, Linux 6.12).
const BufRingIncremental BufRingFlags = 1 << 1

// RegisterBufRing registers entries (a power of two, at most 32768) of struct
// io_uring_buf at addr as the provided-buffer ring of that group (Linux 5.19). addr
// is the beginning of a page of mapped memory, not of Go's, that stays until the ring
// or the registration ends. EEXIST says that the group has a ring.
//
// Implements: int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned int flags)
func (r *Ring) RegisterBufRing(addr unsafe.Pointer, entries uint32, group uint16, flags BufRingFlags) error {
	return r.register("io_uring_register_buf_ring", func() syscall.Errno {
		return cRegisterBufRing(r.h, addr, entries, group, uint16(flags))
	})
}

// UnregisterBufRing ends what RegisterBufRing began.
//
// Implements: int io_uring_unregister_buf_ring(struct io_uring *ring, int bgid)
func (r *Ring) UnregisterBufRing(group uint16) error {
	return r.register("io_uring_unregister_buf_ring", func() syscall.Errno { return cUnregisterBufRing(r.h, group) })
}

// Probe says which operations the ring's kernel knows.
type Probe struct{ ops [256]byte }

// Supports tells whether the kernel knows the operation.
func (p *Probe) Supports(op Opcode) bool { return p.ops[op] != 0 }

// Probe asks the kernel which operations it knows.
//
// Implements: struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring)
func (r *Ring) Probe() (*Probe, error) {
	p := &Probe{}
	err := r.register("io_uring_register_probe", func() syscall.Errno { return cProbe(r.h, p.ops[:]) })
	if err != nil {
		return nil, err
	}
	return p, nil
}
