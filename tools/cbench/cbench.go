//go:build linux && cgo

// Package cbench is the C side of the benchmarks that compare the library with C: C code
// over liburing that does the same. Start with NewPool for the return of buffers, and with
// OpenStream for receiving. Each measured loop runs in one call, so that calling C costs
// nothing. It is a package because test files cannot use cgo; programs do not import it.
package cbench

/*
#cgo CFLAGS: -I${SRCDIR}/../../csrc -I${SRCDIR}/../../third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/../../third_party/liburing/dist/lib -l:liburing.a -pthread
#include <stdlib.h>
#include "lease.h"
#include "stream.h"
*/
import "C"

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"

	_ "github.com/zcrx-go/zcrx/csrc" // so that a changed header recompiles this
)

// The sizes that both sides of a comparison share.
const (
	// Batch is the number of returns under one lock. The benchmark, in the place of the
	// kernel, empties the refill queue after as many completions.
	Batch = C.CBENCH_BATCH
	// Workers is the number of threads that return buffers at the same time, and Round
	// the number of leases that the owner makes for all of them together.
	Workers = C.CBENCH_WORKERS
	Round   = C.CBENCH_ROUND
)

// Pool is a buffer pool without a ring: the benchmark does the kernel's part. Only one
// goroutine may use it at a time.
type Pool struct{ c *C.struct_cbench_pool }

// NewPool makes a pool of buffers of bufferSize bytes, with a refill queue of as many
// entries as there are buffers. Both numbers must be powers of two. The caller must Close
// the pool.
func NewPool(buffers, bufferSize int) (*Pool, error) {
	p := &Pool{c: (*C.struct_cbench_pool)(C.calloc(1, C.sizeof_struct_cbench_pool))}
	if ret := C.cbench_pool_open(p.c, C.uint(buffers), C.uint(bufferSize)); ret < 0 {
		C.free(unsafe.Pointer(p.c))
		return nil, failure("make pool", int64(ret))
	}
	return p, nil
}

// Close frees the pool.
func (p *Pool) Close() {
	C.cbench_pool_close(p.c)
	C.free(unsafe.Pointer(p.c))
	p.c = nil
}

// Plain handles n completions as liburing's zcrx example does: on one thread, without
// checking who returns a buffer, and with a store of the tail for each entry. It returns
// how long that took.
func (p *Pool) Plain(n int) (time.Duration, error) {
	return elapsed(C.cbench_return_plain(p.c, C.longlong(n)))
}

// Locked handles n completions as the library does. Under a lock it compares and increments
// the record's generation, checks the queue for room, writes an entry and stores the tail.
// It returns how long that took.
func (p *Pool) Locked(n int) (time.Duration, error) {
	return elapsed(C.cbench_return_locked(p.c, C.longlong(n)))
}

// Batched does what Locked does, with Batch returns under one lock.
func (p *Pool) Batched(n int) (time.Duration, error) {
	return elapsed(C.cbench_return_batch(p.c, C.longlong(n)))
}

// Parallel leases about n buffers, which Workers threads return. It returns how long the
// returns took, from the start of all threads to the end of the last.
func (p *Pool) Parallel(n int) (time.Duration, error) {
	return elapsed(C.cbench_return_parallel(p.c, C.longlong(n)))
}

func elapsed(ns C.longlong) (time.Duration, error) {
	if ns < 0 {
		return 0, failure("measure", int64(ns))
	}
	return time.Duration(ns), nil
}

// Pair returns both ends of a TCP connection over loopback. The caller must close them.
func Pair() (sender, receiver int, err error) {
	var fds [2]C.int
	if ret := C.cbench_pair(&fds[0]); ret < 0 {
		return -1, -1, failure("connect", int64(ret))
	}
	return int(fds[0]), int(fds[1]), nil
}

// Sender is a thread that writes to a connection until it is stopped.
type Sender struct{ c *C.struct_cbench_sender }

// StartSender starts a Sender that writes chunks of 256 KiB to fd, which it takes over. The
// caller must Stop it.
func StartSender(fd int) (*Sender, error) {
	s := &Sender{c: (*C.struct_cbench_sender)(C.calloc(1, C.sizeof_struct_cbench_sender))}
	if ret := C.cbench_sender_start(s.c, C.int(fd)); ret < 0 {
		C.free(unsafe.Pointer(s.c))
		return nil, failure("start sender", int64(ret))
	}
	return s, nil
}

// Stop ends the connection and closes the fd.
func (s *Sender) Stop() {
	C.cbench_sender_stop(s.c)
	C.free(unsafe.Pointer(s.c))
	s.c = nil
}

// The ways to receive.
const (
	Provided   = C.CBENCH_PROVIDED    // a provided-buffer ring
	DeviceLess = C.CBENCH_DEVICE_LESS // zcrx without a device (Linux 7.1)
)

// Stream receives on a ring of its own, with 16384 buffers of 4096 bytes. The
// goroutine that opens it must be locked to its thread until it has closed it.
type Stream struct{ c *C.struct_cbench_stream }

// OpenStream returns a Stream that receives from fd. The caller must Close it, and then fd.
func OpenStream(fd int, mode uint32) (*Stream, error) { return openStream(fd, mode, 0, 0) }

// OpenZeroCopyStream is OpenStream for zcrx on a receive queue of an interface.
func OpenZeroCopyStream(fd, interfaceIndex, queue int) (*Stream, error) {
	return openStream(fd, C.CBENCH_ZERO_COPY, C.uint(interfaceIndex), C.uint(queue))
}

func openStream(fd int, mode uint32, interfaceIndex, queue C.uint) (*Stream, error) {
	s := &Stream{c: (*C.struct_cbench_stream)(C.calloc(1, C.sizeof_struct_cbench_stream))}
	if ret := C.cbench_stream_open(s.c, C.int(fd), mode, interfaceIndex, queue); ret < 0 {
		C.free(unsafe.Pointer(s.c))
		return nil, failure("open stream", int64(ret))
	}
	return s, nil
}

// Run receives until it has that many bytes or more. It reads the first byte of each buffer
// and returns the buffer.
func (s *Stream) Run(bytes int64) error {
	if ret := C.cbench_stream_run(s.c, C.longlong(bytes)); ret < 0 {
		return failure("receive", int64(ret))
	}
	return nil
}

// Close ends the receive and frees ring and memory.
func (s *Stream) Close() {
	C.cbench_stream_close(s.c)
	C.free(unsafe.Pointer(s.c))
	s.c = nil
}

func failure(what string, ret int64) error {
	return fmt.Errorf("cbench: %s: %w", what, syscall.Errno(-ret))
}
