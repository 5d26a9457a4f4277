//go:build nic

package zerocopy

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
)

// refusal is the expected error for a queue that cannot be registered.
type refusal struct {
	errno       syscall.Errno // 0: the library refuses without asking the kernel
	unsupported bool          // the error matches ErrNotSupported
	seen        string        // the reason, in the error's text
	remedy      string        // what to do, in the error's text
}

// check checks what NewPool, ProbeQueue and "zcrx probe" return for a queue.
func (want refusal) check(t *testing.T, queue int) {
	t.Helper()
	// NewPool waits for a queue that the kernel is about to give up, until ctx ends.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := zcrx.NewPool(ctx, newLoop(t), zcrx.Queue{Interface: device, Number: queue}, zcrx.PoolConfig{NumBuffers: 64})
	want.checkError(t, err)
	want.checkError(t, zcrx.ProbeQueue(zcrx.Queue{Interface: device, Number: queue}))
	out := probeCommand(t, queue)
	assert.Contains(t, out, want.seen)
	assert.Contains(t, out, want.remedy)
	if want.errno != 0 {
		assert.Regexp(t, fmt.Sprintf(`zc0 queue %d +no +device: `, queue), out)
	}
}

func (want refusal) checkError(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	if want.errno != 0 {
		assert.ErrorIs(t, err, want.errno)
	}
	assert.Equal(t, want.unsupported, errors.Is(err, zcrx.ErrNotSupported), "%v", err)
	assert.ErrorContains(t, err, want.seen)
	assert.ErrorContains(t, err, want.remedy)
}

// probeCommand returns what "zcrx probe" prints for a queue.
func probeCommand(t *testing.T, queue int) string {
	t.Helper()
	out, err := exec.Command("./zcrx", "probe", "-i", device, "-q", strconv.Itoa(queue)).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return string(out)
}

// TestRefusals makes a good device unusable in many ways, checks the errors, and checks that
// it is good again afterwards.
func TestRefusals(t *testing.T) {
	newWire(t)
	good := func(t *testing.T) {
		t.Helper()
		require.NoError(t, zcrx.ProbeQueue(zcrx.Queue{Interface: device, Number: 1}))
		assert.Regexp(t, `zc0 queue 1 +yes`, probeCommand(t, 1))
	}
	good(t)
	t.Run("header split off", func(t *testing.T) {
		setSplit(t, splitOff, 0)
		refusal{syscall.EINVAL, true, "header split (tcp-data-split) is off", "ethtool -G zc0 tcp-data-split on hds-thresh 0"}.check(t, 1)
		setSplit(t, splitOn, 0)
		good(t)
	})
	t.Run("threshold", func(t *testing.T) {
		setSplit(t, splitOn, 128)
		refusal{syscall.EINVAL, true, "(hds-thresh) is 128: it must be 0", "ethtool -G zc0 hds-thresh 0"}.check(t, 1)
		setSplit(t, splitOn, 0)
		good(t)
	})
	t.Run("out of range", func(t *testing.T) {
		refusal{0, false, `receive queue of "zc0", 4 is out of range`, "allowed are 0 to 3"}.check(t, 4)
	})
	t.Run("generic XDP", func(t *testing.T) {
		detach := attachXDP(t, xdpPass, link.XDPGenericMode, true)
		refusal{syscall.EEXIST, true, "an XDP program is attached", "ip link set dev zc0 xdpgeneric off"}.check(t, 1)
		detach()
		good(t)
	})
	t.Run("XDP in the driver", func(t *testing.T) {
		detach := attachXDP(t, xdpPass, link.XDPDriverMode, true)
		refusal{syscall.EEXIST, true, "an XDP program is attached", "ip link set dev zc0 xdp off"}.check(t, 1)
		detach()
		good(t)
	})
	t.Run("AF_XDP", func(t *testing.T) {
		closeSocket := bindXDPSocket(t, 1)
		refusal{syscall.EBUSY, false, "used by AF_XDP", "close its AF_XDP sockets"}.check(t, 1)
		closeSocket()
		// The kernel gives the queue up a little later.
		require.Eventually(t, func() bool { return zcrx.ProbeQueue(zcrx.Queue{Interface: device, Number: 1}) == nil }, time.Minute, 10*time.Millisecond)
		good(t)
	})
	t.Run("down", func(t *testing.T) {
		iface, err := netlink.LinkByName(device)
		require.NoError(t, err)
		require.NoError(t, netlink.LinkSetDown(iface))
		err = zcrx.ProbeQueue(zcrx.Queue{Interface: device, Number: 1})
		require.ErrorIs(t, err, zcrx.ErrInconclusive)
		assert.ErrorContains(t, err, "ip link set dev zc0 up")
		assert.Contains(t, probeCommand(t, 1), "ip link set dev zc0 up")
		require.NoError(t, netlink.LinkSetUp(iface))
		good(t)
	})
	t.Run("taken", func(t *testing.T) {
		newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 64})
		refusal{syscall.EEXIST, false, "taken by another io_uring zero-copy pool", "choose another queue"}.check(t, 1)
	})
	t.Run("XDP on a taken queue", func(t *testing.T) {
		newPool(t, newLoop(t), 2, zcrx.PoolConfig{NumBuffers: 64})
		_, err := tryXDP(t, xdpPass, link.XDPDriverMode, true)
		assert.ErrorIs(t, err, syscall.EBUSY)
	})
	t.Run("header split off on a taken queue", func(t *testing.T) {
		newPool(t, newLoop(t), 3, zcrx.PoolConfig{NumBuffers: 64})
		assert.ErrorIs(t, trySplit(splitOff, 0), syscall.EINVAL)
		assert.ErrorIs(t, trySplit(splitOn, 64), syscall.EINVAL)
	})
}

func TestNoQueueManagement(t *testing.T) {
	w := newWire(t, "queue_mgmt=0")
	_, err := zcrx.NewPool(t.Context(), newLoop(t), zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{NumBuffers: 64})
	refusal{syscall.EOPNOTSUPP, true, "no queue management", "use an interface whose driver supports zcrx"}.checkError(t, err)
	// Other modes work on the device.
	setRing(t, 128)
	pool, err := zcrx.OpenPool(t.Context(), newLoop(t), zcrx.Auto, zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	assert.Equal(t, zcrx.Provided, pool.Mode())
	assert.ErrorIs(t, pool.Reason(), syscall.EOPNOTSUPP)
	require.NoError(t, transfer(t, w.connect(1), pool, 1<<20))
}

// TestRegisterAgainAtOnce registers a queue as soon as the ring of its last owner is closed.
// The kernel has not given the queue up yet, and NewPool must wait.
func TestRegisterAgainAtOnce(t *testing.T) {
	w := newWire(t)
	for range 10 {
		loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
		require.NoError(t, err)
		pool, err := zcrx.NewPool(t.Context(), loop, zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{NumBuffers: 64})
		require.NoError(t, err)
		require.NoError(t, transfer(t, w.connect(1), pool, 64<<10))
		require.NoError(t, loop.Close())
	}
	// NewPool also waits while the owner is still open, and succeeds after it is closed.
	owner, err := zcrx.NewLoop(zcrx.LoopConfig{})
	require.NoError(t, err)
	_, err = zcrx.NewPool(t.Context(), owner, zcrx.Queue{Interface: device, Number: 2}, zcrx.PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	next := newLoop(t)
	opened := make(chan error, 1)
	var pool *zcrx.Pool
	go func() {
		var err error
		pool, err = zcrx.NewPool(t.Context(), next, zcrx.Queue{Interface: device, Number: 2}, zcrx.PoolConfig{NumBuffers: 64})
		opened <- err
	}()
	// The registration is a function on the loop.
	require.Eventually(t, func() bool { return next.Stats().Functions > 0 }, time.Minute, time.Millisecond)
	require.NoError(t, owner.Close())
	require.NoError(t, <-opened)
	require.NoError(t, transfer(t, w.connect(2), pool, 64<<10))
	closePool(t, pool)
}

// Return values of XDP programs.
const (
	xdpDrop = 1
	xdpPass = 2
)

// tryXDP attaches an XDP program that returns result for every packet.
func tryXDP(t *testing.T, result int64, mode link.XDPAttachFlags, fragments bool) (detach func(), err error) {
	t.Helper()
	iface, err := netlink.LinkByName(device)
	require.NoError(t, err)
	spec := &ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, int32(result)), asm.Return()},
	}
	if fragments {
		spec.Flags = 1 << 5 // BPF_F_XDP_HAS_FRAGS
	}
	program, err := ebpf.NewProgram(spec)
	require.NoError(t, err)
	defer program.Close()
	l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: iface.Attrs().Index, Flags: mode})
	if err != nil {
		return nil, err
	}
	return func() { assert.NoError(t, l.Close()) }, nil
}

func attachXDP(t *testing.T, result int64, mode link.XDPAttachFlags, fragments bool) (detach func()) {
	t.Helper()
	detach, err := tryXDP(t, result, mode, fragments)
	require.NoError(t, err)
	return detach
}

// bindXDPSocket binds an AF_XDP socket to a receive queue, in copying mode.
func bindXDPSocket(t *testing.T, queue int) (closeSocket func()) {
	t.Helper()
	iface, err := netlink.LinkByName(device)
	require.NoError(t, err)
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	const chunk, chunks = 4096, 16
	memory, err := unix.Mmap(-1, 0, chunk*chunks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	reg := unix.XDPUmemReg{Addr: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory)))), Len: chunk * chunks, Size: chunk}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	require.Zero(t, errno)
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_XDP, ring, chunks))
	}
	require.NoError(t, unix.Bind(fd, &unix.SockaddrXDP{
		Flags: unix.XDP_COPY, Ifindex: uint32(iface.Attrs().Index), QueueID: uint32(queue),
	}))
	return func() {
		assert.NoError(t, unix.Close(fd))
		assert.NoError(t, unix.Munmap(memory))
	}
}
