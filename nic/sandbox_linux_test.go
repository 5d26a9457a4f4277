//go:build amd64 || arm64

package nic

import (
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// withoutSockets calls fn on a thread for which socket(2) fails with errno for those
// families, as under a seccomp filter of a container.
func withoutSockets(t *testing.T, errno syscall.Errno, fn func(), families ...uint32) {
	t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its first argument
	}
	for _, family := range families {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: family, Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(errno)})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}

	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine, and its filter with it
		if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return
		}
		if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); e != 0 {
			err = e
			return
		}
		fn()
	}()
	<-done
	skip.Unless(t, "seccomp filters", "3.17", err)
}

// TestReadWithoutNetlink reads facts where netlink is refused: nothing that could not be
// read counts as a fault, whatever the errno, and everything of it is a doubt.
func TestReadWithoutNetlink(t *testing.T) {
	for _, errno := range []syscall.Errno{unix.EPERM, unix.EACCES, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EINVAL, unix.ENODEV} {
		var lo, unnamed *Facts
		var err, missing error
		withoutSockets(t, errno, func() {
			lo, err = Read("lo", 0)
			_, missing = Read("missing", 0)
			unnamed = ReadIndex(1, 0)
		}, unix.AF_NETLINK)
		require.NoError(t, err, errno)
		assert.ErrorIs(t, missing, syscall.ENODEV)
		assert.Equal(t, "lo", lo.Interface)
		assert.True(t, lo.Virtual, "/sys tells that")
		assert.False(t, unnamed.Virtual, "nothing tells that")
		for _, f := range []*Facts{lo, unnamed} {
			for _, err := range []error{f.LinkErr, f.RingsErr, f.QueueErr} {
				assert.ErrorIs(t, err, errno)
			}
			assert.Empty(t, f.Faults(), errno)
			_, explained := f.Cause(errno)
			assert.False(t, explained, errno)
			assert.GreaterOrEqual(t, len(f.Doubts()), 3)
		}
		assert.Contains(t, lo.Doubts()[0], "virtual")
	}
}

// TestReadWithoutSockets reads facts where no socket can be made: whether there is such
// an interface is not known, so that Read returns no error.
func TestReadWithoutSockets(t *testing.T) {
	var missing *Facts
	var err error
	withoutSockets(t, unix.EACCES, func() { missing, err = Read("missing", 0) }, unix.AF_NETLINK, unix.AF_UNIX)
	require.NoError(t, err)
	assert.Equal(t, "missing", missing.Interface)
	assert.False(t, missing.Virtual)
	assert.ErrorIs(t, missing.LinkErr, syscall.EACCES)
	assert.Empty(t, missing.Faults())
}
