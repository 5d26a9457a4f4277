package zcrx

import (
	"fmt"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// What the kernel's errnos mean, by operation. The meanings were read in the source of
// kernels 6.15 to 7.3.

// setupError explains a failed io_uring_setup. need is the size of the ring in bytes.
func setupError(errno syscall.Errno, need uint64) error {
	const op = "set up ring"
	seen := &KernelError{Op: op, Errno: errno}
	unsupported := func(layer Layer, minKernel, remedy string) error {
		return &UnsupportedError{Feature: "io_uring", Layer: layer, MinKernel: minKernel, Remedy: remedy, Err: seen}
	}
	switch errno {
	case syscall.ENOSYS:
		if sys.SeccompFiltered() {
			return unsupported(LayerSandbox, "", "allow io_uring_setup in the seccomp profile")
		}
		return unsupported(LayerKernel, "6.1", "use a kernel with CONFIG_IO_URING")
	case syscall.EPERM, syscall.EACCES:
		switch sys.IOUringDisabled() {
		case 2:
			return unsupported(LayerSandbox, "", "set the sysctl kernel.io_uring_disabled to 0: it is 2, which disables io_uring for every process")
		case 1:
			return unsupported(LayerSandbox, "", "set the sysctl kernel.io_uring_disabled to 0, or run with CAP_SYS_ADMIN or in the group kernel.io_uring_group: it is 1")
		}
		return unsupported(LayerSandbox, "", "allow io_uring_setup in the seccomp profile (container runtimes forbid it by default) or the security module")
	case syscall.EINVAL:
		return unsupported(LayerKernel, "6.1", "use a newer kernel: this one refuses the ring's set-up flags")
	case syscall.ENOMEM:
		return pinError("io_uring", need, "entries", seen)
	case syscall.EMFILE, syscall.ENFILE:
		seen.Meaning = "no file descriptor is free"
		seen.Remedy = "raise RLIMIT_NOFILE"
	}
	return seen
}

func unsupportedBuild(feature string) error {
	return &UnsupportedError{
		Feature: feature, Layer: LayerBuild,
		Remedy: "build for Linux with CGO_ENABLED=1 and a C compiler",
	}
}

// privilegeError explains EPERM of a registration: the kernel requires CAP_NET_ADMIN in the
// initial user namespace.
func privilegeError(feature Feature, seen error) error {
	remedy := "run with CAP_NET_ADMIN"
	if !sys.InInitialUserNamespace() {
		remedy += " in the initial user namespace: the kernel does not accept it in any other"
	}
	return &UnsupportedError{Feature: feature.String(), Layer: LayerPrivilege, Remedy: remedy, Err: seen}
}

// pinError explains ENOMEM for need bytes of memory that the kernel was to pin. They are
// charged to RLIMIT_MEMLOCK unless the process has CAP_IPC_LOCK; a huge page counts whole.
func pinError(feature string, need uint64, fewer string, seen *KernelError) error {
	limit, limited := sys.MemlockLimit()
	if !limited {
		seen.Meaning = fmt.Sprintf("%d bytes could not be pinned", need)
		seen.Remedy = "free memory or ask for fewer " + fewer
		return seen
	}
	return memlockError(feature, need, limit, fewer, seen)
}

// memlockError distinguishes a limit that is too small from one that is used up. The kernel
// does not report how much is charged. It is at most limit, so limit+need bytes are enough.
func memlockError(feature string, need, limit uint64, fewer string, seen *KernelError) error {
	seen.Meaning = fmt.Sprintf("%d bytes could not be pinned", need)
	raise := fmt.Sprintf("to at least %d bytes, and what other rings and pools of this user need", need)
	if need <= limit {
		seen.Meaning += fmt.Sprintf(": other rings and pools of this user hold too much of the %d that it may pin", limit)
		raise = fmt.Sprintf("to %d bytes, close other rings and pools", limit+need)
	}
	return &UnsupportedError{
		Feature: feature, Layer: LayerPrivilege, Err: seen,
		Remedy: fmt.Sprintf("raise RLIMIT_MEMLOCK (ulimit -l) from %d %s, run with CAP_IPC_LOCK, or ask for fewer %s", limit, raise, fewer),
	}
}

func importError(op string, fd int, errno syscall.Errno) error {
	seen := &KernelError{Op: op, Errno: errno}
	switch errno {
	case syscall.EPERM:
		return privilegeError(FeatureImport, seen)
	case syscall.EBADF:
		seen.Meaning = fmt.Sprintf("fd %d is not an exported zcrx instance", fd)
	case syscall.EINVAL:
		seen.Meaning = "the instance cannot be used on this ring, or it is gone"
	case syscall.EOPNOTSUPP:
		return unsupportedControl(FeatureImport, seen)
	}
	return seen
}

// unsupportedControl is for a kernel that does not know the call, although the probe found
// the feature.
func unsupportedControl(feature Feature, seen *KernelError) error {
	return &UnsupportedError{
		Feature: feature.String(), Layer: LayerKernel, MinKernel: feature.MinKernel(),
		Remedy: "use a newer kernel", Err: seen,
	}
}

// ctrlError explains a zcrx control call for the feature that the kernel refused.
func ctrlError(op string, feature Feature, id ZCRXID, errno syscall.Errno) error {
	seen := &KernelError{Op: op, Errno: errno}
	switch errno {
	case syscall.ENXIO:
		seen.Meaning = fmt.Sprintf("the ring has no zcrx instance %d", id)
	case syscall.EINVAL:
		// The feature was probed before the call, so it is not the kernel's age.
		seen.Meaning = "an argument is not allowed for this instance"
	case syscall.EOPNOTSUPP:
		return unsupportedControl(feature, seen)
	case syscall.EFAULT:
		seen.Meaning = "a bad pointer, or the device has gone"
	case syscall.ENOMEM:
		seen.Meaning = "memory is used up"
	}
	return seen
}

// addAreaError explains an area that the kernel refused. This is the only control call that
// pins memory.
func addAreaError(op string, id ZCRXID, req ifqRequest, errno syscall.Errno) error {
	if errno == syscall.ENOMEM {
		return pinError(FeatureAddArea.String(), req.pinned(), "buffers", &KernelError{Op: op, Errno: errno})
	}
	return ctrlError(op, FeatureAddArea, id, errno)
}

// flushError explains a failed flush; nil for errno 0.
func flushError(id ZCRXID, errno syscall.Errno) error {
	switch errno {
	case 0:
		return nil
	case syscall.EIO:
		return &KernelError{
			Op: "flush refill queue", Errno: errno,
			Meaning: fmt.Sprintf("the kernel left entries of zcrx instance %d in the queue", id),
		}
	}
	return ctrlError("flush refill queue", FeatureFlush, id, errno)
}

// receiveError explains the errno in the last completion of a receive that
// cannot go on.
func receiveError(errno syscall.Errno) error {
	seen := &KernelError{Op: "receive", Errno: errno}
	switch errno {
	case syscall.EINVAL:
		seen.Meaning = "the kernel does not know this kind of receive, or the pool belongs to another ring"
	case syscall.ENOTSOCK:
		seen.Meaning = "the fd is not a socket"
	case syscall.EPROTONOSUPPORT:
		seen.Meaning = "the socket is not plain TCP (UDP, MPTCP, kTLS and sockmap cannot be received with zero copy)"
	case syscall.ENOTCONN:
		seen.Meaning = "the socket is not connected"
	case syscall.EFAULT:
		seen.Meaning = "the data lies in another zcrx instance's buffers"
		seen.Remedy = "receive the connection on the loop whose pool is bound to its hardware queue"
	case syscall.ECONNRESET:
		seen.Meaning = "the peer reset the connection"
	}
	return seen
}
