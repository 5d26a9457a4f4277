package uring

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// The system calls themselves, for what Ring has no method for.

// Setup is io_uring_setup(2). It returns the fd of a ring whose queues are not mapped, and fills
// in p; Map makes a Ring of it.
//
// Implements: int io_uring_setup(unsigned int entries, struct io_uring_params *p)
func Setup(entries int, p *uapi.Params) (fd int, err error) {
	if err := inRange("number of entries", entries, 1, MaxEntries); err != nil {
		return -1, err
	}
	fd, err = callC(fnSetup, uint64(entries), address(p))
	runtime.KeepAlive(p)
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// Map makes a ring of an fd and the parameters that Setup filled in. The ring belongs to the
// calling thread, and closes the fd; if Map returns an error, the fd stays the caller's.
//
// Implements: int io_uring_queue_mmap(int fd, struct io_uring_params *p, struct io_uring *ring)
func Map(fd int, p *uapi.Params) (*Ring, error) {
	if !haveLiburing {
		return nil, errUnsupported
	}
	if unknown := SetupFlags(p.Flags) &^ knownFlags; unknown != 0 {
		return nil, fmt.Errorf("uring: Params.Flags %#x: %#x is unknown to this package", p.Flags, uint32(unknown))
	}
	// liburing would map whatever it is, and read what is not there.
	if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || name != "anon_inode:[io_uring]" {
		return nil, os.NewSyscallError("io_uring_queue_mmap", syscall.ENODEV)
	}
	h, errno := cMap(fd, p)
	if errno != 0 {
		return nil, os.NewSyscallError("io_uring_queue_mmap", errno)
	}
	return &Ring{h: h, mem: cMemory(h)}, nil
}

// Enter is io_uring_enter(2) with flags uapi.IORING_ENTER_*, and without a signal mask.
//
// Implements: int io_uring_enter(unsigned int fd, unsigned int to_submit, unsigned int min_complete, unsigned int flags, sigset_t *sig)
func Enter(fd, submit, minComplete int, flags uint32) (int, error) {
	return callC(fnEnter, signed(fd), uint64(submit), uint64(minComplete), uint64(flags), 0)
}

// EnterArg is Enter with the argument of a wait; flags must have uapi.IORING_ENTER_EXT_ARG.
//
// Implements: int io_uring_enter2(unsigned int fd, unsigned int to_submit, unsigned int min_complete, unsigned int flags, void *arg, size_t sz)
func EnterArg(fd, submit, minComplete int, flags uint32, arg *uapi.GeteventsArg) (int, error) {
	n, err := callC(fnEnter2, signed(fd), uint64(submit), uint64(minComplete), uint64(flags), address(arg), uint64(unsafe.Sizeof(*arg)))
	runtime.KeepAlive(arg)
	return n, err
}

// Register is io_uring_register(2): opcode is one of uapi.IORING_REGISTER_* and
// IORING_UNREGISTER_*, arg the address of what that wants.
//
// Implements: int io_uring_register(unsigned int fd, unsigned int opcode, const void *arg, unsigned int nr_args)
func Register(fd int, opcode uint32, arg unsafe.Pointer, n int) (int, error) {
	result, err := callC(fnRegister, signed(fd), uint64(opcode), uint64(escape(arg)), uint64(n))
	runtime.KeepAlive(arg)
	return result, err
}
