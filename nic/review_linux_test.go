package nic

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestReviewReadWithoutNetlink: Read "returns an error only if there is no such interface;
// other errors are in the Facts": also where a sandbox forbids netlink.
func TestReviewReadWithoutNetlink(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the filter's arguments are those of amd64")
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with its filter
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16}, // its first argument
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_NETLINK, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: 0x00050000 | uint32(unix.EACCES)}, // SECCOMP_RET_ERRNO
			{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000},                       // SECCOMP_RET_ALLOW
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		assert.NoError(t, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		assert.NoError(t, unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0))
		_, err := os.Stat("/sys/class/net/lo")
		assert.NoError(t, err)
		f, err := Read("lo", 0)
		if assert.NoError(t, err) {
			assert.ErrorIs(t, f.LinkErr, unix.EACCES)
			assert.Equal(t, "lo", f.Interface)
		}
	}()
	<-ended
}

func TestReviewNumReceiveQueuesOfAPattern(t *testing.T) {
	assert.Zero(t, NumReceiveQueues("*"), "no interface has that name")
	assert.Zero(t, NumReceiveQueues("l?"))
}

func reviewSteering() *Steering {
	return newSteering("lo", &RSS{Key: make([]byte, minRSSKey), Table: []int{0}}, 0)
}

// TestReviewControlWithLocalAddr: Control is a function for net.Dialer.ControlContext.
func TestReviewControlWithLocalAddr(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	d := net.Dialer{
		ControlContext: reviewSteering().Control,
		LocalAddr:      net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")),
	}
	c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if assert.NoError(t, err) {
		c.Close()
	}
}

// TestReviewReservedPorts: the kernel does not choose ports of ip_local_reserved_ports for
// outgoing connections, and Control must not take them either.
func TestReviewReservedPorts(t *testing.T) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // never unlocked: the thread ends with its network namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Log("no network namespace: ", err)
			return
		}
		out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
		assert.NoError(t, err, "%s", out)
		assert.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40003"), 0))
		assert.NoError(t, os.WriteFile("/proc/sys/net/ipv4/ip_local_reserved_ports", []byte("40000-40002"), 0))
		ln, err := net.Listen("tcp", "127.0.0.1:9999")
		if !assert.NoError(t, err) {
			return
		}
		defer ln.Close()
		for range 8 {
			d := net.Dialer{ControlContext: reviewSteering().Control}
			c, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:9999")
			if err != nil {
				return // the one free port waits for its time
			}
			assert.Equal(t, 40003, c.LocalAddr().(*net.TCPAddr).Port, "the others are reserved")
			c.Close()
		}
	}()
	<-ended
}
