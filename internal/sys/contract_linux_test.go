package sys

import (
	"bytes"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func reviewSocket(t *testing.T) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// TestLingersNegative: the kernel takes a negative time for the longest one, so
// close(2) waits.
func TestLingersNegative(t *testing.T) {
	fd := reviewSocket(t)
	require.NoError(t, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: -1}))
	l, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	require.NoError(t, err)
	assert.True(t, Lingers(fd), "the kernel says %+v", *l)
}

// TestDropUrgentKeepsExtendedFilter: "If the socket has a filter already, DropUrgent
// does nothing." An extended (eBPF) filter is one.
func TestDropUrgentKeepsExtendedFilter(t *testing.T) {
	instructions := []uint64{0xffffffff_0000_00b7, 0x95} // r0 = -1; exit
	license := []byte("GPL\x00")
	attr := struct {
		kind, count   uint32
		code, license uint64
		_             [12]uint64
	}{kind: unix.BPF_PROG_TYPE_SOCKET_FILTER, count: 2, code: uint64(uintptr(unsafe.Pointer(&instructions[0]))), license: uint64(uintptr(unsafe.Pointer(&license[0])))}
	prog, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		t.Skipf("no eBPF here: %v", errno)
	}
	defer unix.Close(int(prog))
	fd := reviewSocket(t)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ATTACH_BPF, int(prog)))
	require.False(t, HasFilter(fd), "no classic one yet")
	require.NoError(t, DropUrgent(fd))
	assert.False(t, HasFilter(fd), "the program's filter was replaced by a classic one")
}

// TestSendNowOfManySlices: "SendNow sends some of v": more slices than the kernel takes
// in one call are no error.
func TestSendNowOfManySlices(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	v := make([][]byte, 1025)
	for i := range v {
		v[i] = []byte{byte(i)}
	}
	n, err := SendNow(fds[0], v)
	assert.NoError(t, err)
	assert.Positive(t, n)
}

// TestMapAnonymousOfOddSize: MapAnonymous maps any size, or leaves nothing behind.
func TestMapAnonymousOfOddSize(t *testing.T) {
	mapped := func() int {
		b, err := os.ReadFile("/proc/self/statm")
		require.NoError(t, err)
		n := 0
		for _, c := range b[:bytes.IndexByte(b, ' ')] {
			n = 10*n + int(c-'0')
		}
		return n
	}
	const size = 64<<20 + 100
	before := mapped()
	mem, err := MapAnonymous(size, PageSize())
	if err == nil {
		require.NoError(t, Unmap(mem))
	}
	assert.NoError(t, err)
	assert.Less(t, mapped()-before, (32<<20)/int(PageSize()), "pages left mapped")
}

// TestUserNamespace runs itself as root of a user namespace: CAP_IPC_LOCK there does
// not lift RLIMIT_MEMLOCK for io_uring, which asks for it in the initial one.
func TestUserNamespace(t *testing.T) {
	if os.Getenv("ZCRX_REVIEW_USERNS") != "" {
		limit, limited := MemlockLimit()
		assert.True(t, limited, "limit %d", limit)
		assert.False(t, InInitialUserNamespace())
		return
	}
	for name, size := range map[string]int{"root only": 1, "identity": 1<<32 - 1} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestUserNamespace$", "-test.v")
		cmd.Env = append(os.Environ(), "ZCRX_REVIEW_USERNS=1")
		ids := []syscall.SysProcIDMap{{Size: size}}
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
		out, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s: %s", name, out)
	}
}
