//go:build linux && cgo

package zcrx

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// memlockLayer returns the layer of ENOMEM for a process with a memlock limit, and 0
// without one.
func memlockLayer() Layer {
	if _, limited := sys.MemlockLimit(); limited {
		return LayerPrivilege
	}
	return 0
}

// TestErrnosBecomeLayersAndRemedies goes through the errnos of each operation, and checks
// the layer and the text that each becomes.
func TestErrnosBecomeLayersAndRemedies(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		flags uint32
		layer Layer // 0: no UnsupportedError
		text  string
	}{
		{syscall.EPERM, 0, LayerPrivilege, "CAP_NET_ADMIN"},
		{syscall.ENODEV, 0, LayerDevice, "no interface with index 1073741824"},
		{syscall.EOPNOTSUPP, 0, LayerDevice, "no queue management"},
		{syscall.EOPNOTSUPP, regDeviceLess, LayerKernel, "needs Linux 7.1"},
		{syscall.EINVAL, regDeviceLess, LayerKernel, "needs Linux 7.1"},
		{syscall.EINVAL, 0, 0, "tcp-data-split on"},
		{syscall.ERANGE, 0, LayerDevice, "queue 4 of interface index 1073741824 is out of range"},
		{syscall.EEXIST, 0, 0, "already has a memory provider"},
		{syscall.EBUSY, 0, 0, "AF_XDP"},
		{sys.ENODATA, 0, LayerDevice, "ignored the buffer area"},
		{syscall.ENOMEM, 0, memlockLayer(), "bytes could not be pinned"},
		{syscall.EFAULT, 0, 0, "not mapped, not writable or empty"},
		{syscall.E2BIG, 0, 0, "is too large"},
		{syscall.EOVERFLOW, 0, 0, "ask for fewer buffers"},
	} {
		err := registerIfqError("register interface queue", ifqRequest{ifindex: 1 << 30, queue: 4, flags: c.flags}, c.errno)
		assert.ErrorIs(t, err, c.errno)
		assert.ErrorContains(t, err, c.text)
		if c.layer != 0 {
			assertLayer(t, err, c.layer)
		} else {
			assert.NotErrorIs(t, err, ErrNotSupported)
		}
	}
	for errno, text := range map[syscall.Errno]string{
		syscall.EPERM: "CAP_NET_ADMIN", syscall.EBADF: "not an exported", syscall.EOPNOTSUPP: "needs Linux 6.19", syscall.EINVAL: "cannot be used on this ring", syscall.ENOMEM: "ENOMEM",
	} {
		assert.ErrorContains(t, importError("import", 5, errno), text)
	}
	for errno, text := range map[syscall.Errno]string{
		syscall.ENXIO: "no zcrx instance 2", syscall.EOPNOTSUPP: "needs Linux 7.3", syscall.EINVAL: "an argument is not allowed", syscall.EFAULT: "bad pointer", syscall.ENOMEM: "memory is used up",
	} {
		assert.ErrorContains(t, ctrlError("add zcrx area", FeatureAddArea, 2, errno), text)
	}
	for errno, text := range map[syscall.Errno]string{syscall.ENXIO: "no zcrx instance 2", syscall.ENOMEM: "4096 bytes could not be pinned"} {
		assert.ErrorContains(t, addAreaError("add zcrx area", 2, ifqRequest{areaLen: 4096}, errno), text)
	}
	for errno, text := range map[syscall.Errno]string{
		syscall.ENOTSOCK: "not a socket", syscall.EPROTONOSUPPORT: "not plain TCP", syscall.ENOTCONN: "not connected",
		syscall.EFAULT: "another zcrx instance", syscall.ECONNRESET: "reset", syscall.EINVAL: "does not know",
	} {
		err := receiveError(errno)
		assert.ErrorContains(t, err, text)
		assert.ErrorIs(t, err, errno)
	}
}

// TestSetupRefusals checks the errors of a kernel that refuses to set up a ring.
func TestSetupRefusals(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		layer Layer
	}{
		{syscall.ENOSYS, LayerKernel}, {syscall.EPERM, LayerSandbox}, {syscall.EINVAL, LayerKernel},
	} {
		err := setupError(c.errno, 1)
		unsupported, ok := errors.AsType[*UnsupportedError](err)
		require.True(t, ok)
		assert.Equal(t, c.layer, unsupported.Layer)
		assert.NotEmpty(t, unsupported.Remedy)
		assert.ErrorIs(t, err, c.errno)
		assert.ErrorIs(t, err, ErrNotSupported)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
	assert.ErrorContains(t, setupError(syscall.EMFILE, 1), "RLIMIT_NOFILE")
	assert.Equal(t, memlockLayer() != 0, errors.Is(setupError(syscall.ENOMEM, 1), ErrNotSupported))
}

// TestMemlockMessages distinguishes a limit that is too small from one that is used up.
func TestMemlockMessages(t *testing.T) {
	tooSmall := memlockError("io_uring", 544768, 65536, "entries", &KernelError{Op: "set up ring", Errno: syscall.ENOMEM})
	assertLayer(t, tooSmall, LayerPrivilege)
	assert.EqualError(t, tooSmall, "zcrx: io_uring not supported (privilege): set up ring: ENOMEM (cannot allocate memory): "+
		"544768 bytes could not be pinned; raise RLIMIT_MEMLOCK (ulimit -l) from 65536 to at least 544768 bytes, "+
		"and what other rings and pools of this user need, run with CAP_IPC_LOCK, or ask for fewer entries")
	usedUp := memlockError("io_uring", 8192, 65536, "entries", &KernelError{Op: "set up ring", Errno: syscall.ENOMEM})
	assertLayer(t, usedUp, LayerPrivilege)
	assert.EqualError(t, usedUp, "zcrx: io_uring not supported (privilege): set up ring: ENOMEM (cannot allocate memory): "+
		"8192 bytes could not be pinned: other rings and pools of this user hold too much of the 65536 that it may pin; "+
		"raise RLIMIT_MEMLOCK (ulimit -l) from 65536 to 73728 bytes, close other rings and pools, run with CAP_IPC_LOCK, or ask for fewer entries")
}
