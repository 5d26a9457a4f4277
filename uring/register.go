package uring

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A registration ends when the ring is closed.

// register checks that it runs on the ring's thread, calls fn, and turns its errno
// into an error that names call.
func (r *Ring) register(call string, fn func() syscall.Errno) error {
	if err := r.Check(call); err != nil {
		return err
	}
	if errno := fn(); errno != 0 {
		return os.NewSyscallError(call, errno)
	}
	return nil
}

// RegisterRingFD has the kernel remember the ring for this thread, which saves a
// look-up of the fd in each call (Linux 5.18).
//
// Implements: int io_uring_register_ring_fd(struct io_uring *ring)
func (r *Ring) RegisterRingFD() error {
	return r.register("io_uring_register_ring_fd", func() syscall.Errno { return cRegisterRingFD(r.h) })
}

// SetIOWait says whether the kernel counts a thread that waits on the ring with requests in
// flight as waiting for I/O, which it does by default: the CPU then shows as 100 % iowait.
// Turning it off needs Linux 6.15; before, SetIOWait returns EOPNOTSUPP.
//
// Implements: int io_uring_set_iowait(struct io_uring *ring, bool enable_iowait)
func (r *Ring) SetIOWait(enabled bool) error {
	return r.register("io_uring_set_iowait", func() syscall.Errno { return cSetIOWait(r.h, enabled) })
}

// RegisterNAPI has a wait on the ring poll the network queues of the ring's sockets
// for up to busyPoll (0 to 71 minutes, rounded down to microseconds). prefer sets
// prefer_busy_poll: the device's interrupts stay off while the program polls often
// enough (Linux 6.9).
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

// BufRingIncremental lets several completions use parts of one buffer: see CQEBufMore
// (IOU_PBUF_RING_INC, Linux 6.12).
const BufRingIncremental BufRingFlags = 1 << 1

// RegisterBufRing registers an array of struct io_uring_buf at addr as the ring of
// provided buffers of the group (Linux 5.19). entries is a power of two, at most
// 32768. addr is the beginning of a page of mapped memory, not of Go's heap, that must
// stay mapped until UnregisterBufRing or Close. EEXIST means that the group has a ring
// already.
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

// Probe is the set of operations that a kernel supports.
type Probe struct{ ops [256]byte }

// Supports reports whether the kernel supports the operation.
func (p *Probe) Supports(op Opcode) bool { return p.ops[op] != 0 }

// Probe asks the kernel which operations it supports.
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
