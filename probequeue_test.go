//go:build linux && cgo

package zcrx

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/netlink"
	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/nic"
)

// TestProbeQueueOfLoopback checks what ProbeQueue returns for the loopback interface, and
// for queues that do not exist.
func TestProbeQueueOfLoopback(t *testing.T) {
	assertLayer(t, ProbeQueue(Queue{Interface: "lo", Number: 0}), LayerDevice)
	assert.ErrorContains(t, ProbeQueue(Queue{Interface: "nosuch0", Number: 0}), "no such interface")
	assert.ErrorContains(t, ProbeQueue(Queue{Interface: "lo", Number: 99999}), "out of range")
}

// TestQueueError checks the error that ProbeQueue makes of the facts. Package nic tests all
// faults and doubts.
func TestQueueError(t *testing.T) {
	ready := func() *nic.Facts {
		return &nic.Facts{Interface: "eth7", Driver: "bnxt_en", DataSplit: nic.SplitOn, Queue: 3}
	}
	require.NoError(t, queueError(ready()))

	f := ready()
	f.DataSplit, f.IOUring = nic.SplitOff, true
	err := queueError(f)
	assertLayer(t, err, LayerDevice)
	assert.ErrorIs(t, err, syscall.EINVAL)
	assert.EqualError(t, err, `zcrx: zero-copy receive on "eth7" not supported (device): header split (tcp-data-split) is off; run ethtool -G eth7 tcp-data-split on hds-thresh 0`)

	busy := `zcrx: probe queue 3 of "eth7": `
	for text, spoil := range map[string]func(f *nic.Facts){
		busy + "EEXIST (file exists): the queue is taken by another io_uring zero-copy pool; end the program that holds it and wait some seconds, or choose another queue": func(f *nic.Facts) { f.IOUring = true },
		busy + "EBUSY (device or resource busy): the queue is used by AF_XDP; close its AF_XDP sockets, or choose another queue":                                           func(f *nic.Facts) { f.AFXDP = true },
		busy + "ERANGE (numerical result out of range): there is no such receive queue; choose an existing one: ethtool -l eth7 counts them":                               func(f *nic.Facts) { f.QueueErr = syscall.EINVAL },
	} {
		f := ready()
		spoil(f)
		err := queueError(f)
		assert.EqualError(t, err, text)
		assert.NotErrorIs(t, err, ErrNotSupported)
		var k *KernelError
		require.ErrorAs(t, err, &k)
		assert.ErrorIs(t, err, k.Errno)
		assert.NotEmpty(t, k.Remedy)
	}

	for text, blur := range map[string]func(f *nic.Facts){
		"nothing wrong was found, but its driver novel has not been seen to do it": func(f *nic.Facts) { f.Driver = "novel" },
		"who uses queue 3 could not be read (permission denied)":                   func(f *nic.Facts) { f.QueueErr = syscall.EACCES },
	} {
		f := ready()
		blur(f)
		err := queueError(f)
		assert.EqualError(t, err, `zcrx: zero-copy receive on "eth7": `+text+": not known without trying")
		assert.ErrorIs(t, err, ErrInconclusive)
		assert.NotErrorIs(t, err, ErrNotSupported)
	}
}

// TestRegisterFault checks that no cause is looked for where none could be found.
func TestRegisterFault(t *testing.T) {
	_, ok := registerFault(ifqRequest{ifindex: 1 << 30}, syscall.EINVAL)
	assert.False(t, ok)
	_, ok = registerFault(ifqRequest{flags: regDeviceLess}, syscall.EINVAL)
	assert.False(t, ok)
	_, ok = registerFault(ifqRequest{ifindex: 1}, syscall.ENOMEM)
	assert.False(t, ok)
	fault, ok := registerFault(ifqRequest{ifindex: 1}, syscall.EOPNOTSUPP) // lo
	assert.True(t, ok)
	assert.Contains(t, fault.What, "virtual")
}

// TestXDPIsNamed attaches XDP programs in a network namespace of its own, and checks that
// the error names them and that the remedy works.
func TestXDPIsNamed(t *testing.T) {
	inNewNetNS(t)
	program, err := loadXDP()
	skip.Unless(t, "XDP program", "6.1", err)
	defer func() { assert.NoError(t, unix.Close(program)) }()

	type place struct {
		iface   string
		ifindex uint32
		attach  uint32
		remedy  string
		detach  uint32 // what ip sends for the command in the remedy
	}
	places := []place{{"lo", 1, unix.XDP_FLAGS_SKB_MODE, "xdpgeneric off", unix.XDP_FLAGS_SKB_MODE}}
	if ifindex, err := addVeth("zv0", "zv1"); err == nil { // the kernel may lack veth
		places = append(places, place{"zv0", ifindex, unix.XDP_FLAGS_SKB_MODE, "xdpgeneric off", unix.XDP_FLAGS_SKB_MODE},
			place{"zv0", ifindex, unix.XDP_FLAGS_DRV_MODE, "xdp off", 0})
	}
	for _, p := range places {
		t.Logf("%s, %s", p.iface, p.remedy)
		_, found := registerFault(ifqRequest{ifindex: p.ifindex}, syscall.EEXIST)
		require.False(t, found)
		require.NoError(t, setXDP(p.ifindex, program, p.attach))
		f := nic.ReadIndex(int(p.ifindex), 0)
		require.NoError(t, f.LinkErr)
		assert.Equal(t, p.iface, f.Interface)

		err := registerIfqError("register interface queue", ifqRequest{ifindex: p.ifindex}, syscall.EEXIST)
		assertLayer(t, err, LayerDevice)
		assert.ErrorIs(t, err, syscall.EEXIST)
		assert.ErrorContains(t, err, "an XDP program is attached")
		assert.ErrorContains(t, err, "ip link set dev "+p.iface+" "+p.remedy)

		// As if the interface were a network card.
		f.Virtual, f.Driver, f.Down, f.DataSplit, f.RingsErr, f.QueueErr = false, "bnxt_en", false, nic.SplitOn, nil, nil
		assert.ErrorContains(t, queueError(f), "an XDP program is attached")
		require.NoError(t, setXDP(p.ifindex, -1, p.detach))
		assert.Equal(t, nic.XDPNone, nic.ReadIndex(int(p.ifindex), 0).XDP)
	}
}

// inNewNetNS puts the test into a new network namespace until it ends.
func inNewNetNS(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	require.NoError(t, err)
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		_ = home.Close()
		runtime.UnlockOSThread()
		skip.Unless(t, "network namespace", "6.1", err)
	}
	t.Cleanup(func() {
		// A thread that cannot return stays locked, and ends with the test.
		if assert.NoError(t, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET)) {
			runtime.UnlockOSThread()
		}
		assert.NoError(t, home.Close())
	})
}

// loadXDP loads a program of two instructions: r0 = XDP_PASS; exit.
func loadXDP() (fd int, err error) {
	program := []struct {
		code, registers uint8
		offset          int16
		value           int32
	}{{code: 0xb7, value: 2}, {code: 0x95}}
	license := []byte("GPL\x00")
	attr := struct {
		kind, insns     uint32
		program         uintptr
		license         uintptr
		level, logSize  uint32
		log             uint64
		version, flags  uint32
		_               [16]byte
		ifindex, attach uint32
	}{
		kind: unix.BPF_PROG_TYPE_XDP, insns: uint32(len(program)),
		program: uintptr(unsafe.Pointer(&program[0])), license: uintptr(unsafe.Pointer(&license[0])),
		attach: unix.BPF_XDP,
	}
	got, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, fmt.Errorf("load XDP program: %w", errno)
	}
	return int(got), nil
}

// setXDP attaches a program, or with fd -1 detaches it.
func setXDP(ifindex uint32, fd int, flags uint32) error {
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(header[4:], ifindex)
	xdp := netlink.AppendUint32(netlink.AppendUint32(nil, unix.IFLA_XDP_FD, uint32(fd)), unix.IFLA_XDP_FLAGS, flags)
	return change(unix.RTM_SETLINK, 0, netlink.AppendAttr(header, unix.IFLA_XDP|unix.NLA_F_NESTED, xdp))
}

func addVeth(name, peer string) (ifindex uint32, err error) {
	named := func(name string) []byte {
		return netlink.AppendAttr(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_IFNAME, []byte(name+"\x00"))
	}
	const infoPeer = 1 // VETH_INFO_PEER
	info := netlink.AppendAttr(nil, unix.IFLA_INFO_KIND, []byte("veth"))
	info = netlink.AppendAttr(info, unix.IFLA_INFO_DATA, netlink.AppendAttr(nil, infoPeer, named(peer)))
	err = change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, netlink.AppendAttr(named(name), unix.IFLA_LINKINFO, info))
	if err != nil {
		return 0, err
	}
	i, err := net.InterfaceByName(name)
	if err != nil {
		return 0, err
	}
	return uint32(i.Index), nil
}

// change sends a request that the kernel acknowledges.
func change(kind, flags uint16, payload []byte) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	err = unix.Sendto(fd, netlink.Message(kind, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags, 1, payload), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil {
		return err
	}
	if n < netlink.HeaderSize+4 {
		return io.ErrUnexpectedEOF
	}
	if errno := -int32(binary.NativeEndian.Uint32(b[netlink.HeaderSize:])); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}
