package uring

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// Registered buffers are named by their place in SQE.BufferGroup, which PrepReadFixed,
// PrepWriteFixed and the like set. The kernel pins their pages once, instead of for each
// request: they count against RLIMIT_MEMLOCK, and the memory must stay what it is until they
// are taken out and the requests that use them have completed. The ring keeps them reachable
// until UnregisterBuffers or Close.

// Iovec has the layout of struct iovec: Base is the address of Len bytes.
type Iovec struct {
	Base *byte
	Len  uintptr
}

// Iovecs returns the list of slices as the kernel takes it. It must stay as it is until the
// request that uses it is submitted, and the slices reachable until its last completion.
func Iovecs(slices ...[]byte) []Iovec {
	list := make([]Iovec, len(slices))
	for i, s := range slices {
		list[i] = Iovec{Base: (*byte)(pointerTo(s)), Len: uintptr(len(s))}
	}
	return list
}

// pointerTo returns the address of the slice's memory, which does not move.
func pointerTo(s []byte) unsafe.Pointer {
	p := unsafe.Pointer(unsafe.SliceData(s))
	escape(p)
	return p
}

// RegisterBuffers registers memory at the places from 0 on: 1 to 16384 slices of at most 1 GiB.
// A nil slice leaves a place empty (Linux 5.1). It returns EBUSY if the ring has registered
// buffers.
//
// Implements: int io_uring_register_buffers(struct io_uring *ring, const struct iovec *iovecs, unsigned nr_iovecs)
func (r *Ring) RegisterBuffers(buffers ...[]byte) error {
	list := Iovecs(buffers...)
	_, err := r.call(fnRegisterBuffers, sliceAddress(list), uint64(len(list)))
	runtime.KeepAlive(list)
	return r.keepBuffers(err, 0, list)
}

// RegisterBuffersTags is RegisterBuffers with a tag for each buffer, of which there must be as
// many. A completion with a tag other than 0 as its user data comes when the buffer has left
// the table and no request uses it any more (Linux 5.13).
//
// Implements: int io_uring_register_buffers_tags(struct io_uring *ring, const struct iovec *iovecs, const __u64 *tags, unsigned nr)
func (r *Ring) RegisterBuffersTags(buffers [][]byte, tags []uint64) error {
	if err := sameLength("tags", len(tags), len(buffers)); err != nil {
		return err
	}
	list := Iovecs(buffers...)
	_, err := r.call(fnRegisterBuffersTags, sliceAddress(list), sliceAddress(tags), uint64(len(list)))
	runtime.KeepAlive(tags)
	return r.keepBuffers(err, 0, list)
}

// RegisterBuffersSparse makes a table of n empty places, 1 to 16384 (Linux 5.19).
//
// Implements: int io_uring_register_buffers_sparse(struct io_uring *ring, unsigned nr)
func (r *Ring) RegisterBuffersSparse(n int) error {
	if err := inRange("number of buffers", n, 1, maxBuffers); err != nil {
		return err
	}
	_, err := r.call(fnRegisterBuffersSparse, uint64(n))
	return err
}

// maxBuffers is how many buffers a ring can have registered (IORING_MAX_REG_BUFFERS).
const maxBuffers = 1 << 14

// RegisterBuffersUpdateTag puts buffers at the places from offset on, and returns how many. A
// nil slice empties a place. tags are as for RegisterBuffersTags, or nil (Linux 5.13).
//
// Implements: int io_uring_register_buffers_update_tag(struct io_uring *ring, unsigned off, const struct iovec *iovecs, const __u64 *tags, unsigned nr)
func (r *Ring) RegisterBuffersUpdateTag(offset int, buffers [][]byte, tags []uint64) (int, error) {
	if err := inRange("offset", offset, 0, maxBuffers); err != nil {
		return 0, err
	}
	if tags == nil {
		tags = make([]uint64, len(buffers))
	}
	if err := sameLength("tags", len(tags), len(buffers)); err != nil {
		return 0, err
	}
	list := Iovecs(buffers...)
	n, err := r.call(fnRegisterBuffersUpdateTag, uint64(offset), sliceAddress(list), sliceAddress(tags), uint64(len(list)))
	runtime.KeepAlive(tags)
	return n, r.keepBuffers(err, offset, list[:n])
}

// UnregisterBuffers takes all buffers out of the table and the table away.
//
// Implements: int io_uring_unregister_buffers(struct io_uring *ring)
func (r *Ring) UnregisterBuffers() error {
	_, err := r.call(fnUnregisterBuffers)
	if err == nil {
		r.buffers = nil
	}
	return err
}

// keepBuffers keeps what was registered, if there was no error, which it returns.
func (r *Ring) keepBuffers(err error, offset int, list []Iovec) error {
	if err != nil {
		return err
	}
	if r.buffers == nil {
		r.buffers = map[int]*byte{}
	}
	for i, v := range list {
		r.buffers[offset+i] = v.Base
	}
	return nil
}

// CloneBuffers registers the buffers of another ring here, which must have none. The other
// ring goes on with them. If it belongs to another thread, that must not call its methods
// meanwhile (Linux 6.12).
//
// Implements: int io_uring_clone_buffers(struct io_uring *dst, struct io_uring *src)
// Implements: int __io_uring_clone_buffers(struct io_uring *dst, struct io_uring *src, unsigned int flags)
func (r *Ring) CloneBuffers(from *Ring) error { return r.CloneBuffersOffset(from, 0, 0, 0, 0) }

// clone makes the call. liburing names the other ring by the number that it is registered with
// on its thread, if it is; on another thread that may be another ring. So the fds name both.
func (r *Ring) clone(from *Ring, to, offset, n int, flags uint32) error {
	if err := r.Check("io_uring_clone_buffers_offset"); err != nil {
		return err
	}
	if r.FD() < 0 || from.FD() < 0 {
		if err := from.Check("io_uring_clone_buffers_offset"); err != nil {
			return err
		}
		_, err := r.call(fnCloneBuffersOffset, uint64(uintptr(pointerOf(from.h))), uint64(to), uint64(offset), uint64(n), uint64(flags))
		return err
	}
	arg := &uapi.CloneBuffers{SrcFD: uint32(from.FD()), Flags: flags, SrcOff: uint32(offset), DstOff: uint32(to), Nr: uint32(n)}
	_, err := Register(r.FD(), uapi.IORING_REGISTER_CLONE_BUFFERS, unsafe.Pointer(arg), 1)
	return err
}

// CloneBuffersOffset is CloneBuffers for n places of the other ring from offset on, which get
// the places from to on here; n 0 means all. flags may have uapi.IORING_REGISTER_DST_REPLACE:
// then the ring may have buffers, and those at the places are replaced (Linux 6.13).
//
// Implements: int io_uring_clone_buffers_offset(struct io_uring *dst, struct io_uring *src, unsigned int dst_off, unsigned int src_off, unsigned int nr, unsigned int flags)
// Implements: int __io_uring_clone_buffers_offset(struct io_uring *dst, struct io_uring *src, unsigned int dst_off, unsigned int src_off, unsigned int nr, unsigned int flags)
func (r *Ring) CloneBuffersOffset(from *Ring, to, offset, n int, flags uint32) error {
	if from == nil || from.h == nil {
		return fmt.Errorf("uring: clone buffers: the other %w", errClosed)
	}
	err := errors.Join(inRange("place", to, 0, maxBuffers), inRange("offset", offset, 0, maxBuffers), inRange("number of buffers", n, 0, maxBuffers))
	if err != nil {
		return err
	}
	if err := r.clone(from, to, offset, n, flags); err != nil {
		return err
	}
	if r.buffers == nil {
		r.buffers = map[int]*byte{}
	}
	for i, base := range from.buffers {
		if i >= offset && (n == 0 || i < offset+n) {
			r.buffers[to+i-offset] = base
		}
	}
	return nil
}
