//go:build linux && cgo

package zcrx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// ready is an interface that nothing is wrong with.
func ready() *deviceFacts {
	return &deviceFacts{iface: "eth7", driver: "bnxt_en", split: splitOn, queue: 3}
}

// TestDeviceFaults goes through everything that can be wrong with a queue: what
// ProbeQueue says, and what a registration that the kernel refused for it says.
func TestDeviceFaults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil  func(f *deviceFacts)
		errno  syscall.Errno
		busy   bool
		what   string
		remedy string
	}{
		"virtual": {func(f *deviceFacts) { f.virtual, f.driver = true, "" },
			syscall.EOPNOTSUPP, false, "virtual", "physical interface"},
		"driver without queue management": {func(f *deviceFacts) { f.driver = "virtio_net" },
			syscall.EOPNOTSUPP, false, "virtio_net has no queue management", "whose driver is bnxt_en"},
		"driver without ring parameters": {func(f *deviceFacts) { f.driver, f.split, f.ringsErr = "dull", 0, syscall.EOPNOTSUPP },
			syscall.EOPNOTSUPP, false, "dull has no ring parameters", "whose driver is bnxt_en"},
		"no such queue": {func(f *deviceFacts) { f.queueErr = syscall.EINVAL },
			syscall.ERANGE, true, "no such receive queue", "ethtool -l eth7"},
		"XDP and header split off": {func(f *deviceFacts) { f.xdp, f.split = xdpDriver, splitOff },
			syscall.EINVAL, false, "tcp-data-split) is off", "ip link set dev eth7 xdp off, then ethtool -G eth7 tcp-data-split on"},
		"header split off": {func(f *deviceFacts) { f.split = splitOff },
			syscall.EINVAL, false, "tcp-data-split) is off", "ethtool -G eth7 tcp-data-split on hds-thresh 0"},
		"header split unset": {func(f *deviceFacts) { f.split = splitUnknown },
			syscall.EINVAL, false, "never set", "ethtool -G eth7 tcp-data-split on hds-thresh 0"},
		"header split of another meaning": {func(f *deviceFacts) { f.split = 9 },
			syscall.EINVAL, false, "never set", "ethtool -G eth7 tcp-data-split on hds-thresh 0"},
		"threshold": {func(f *deviceFacts) { f.threshold = 64 },
			syscall.EINVAL, false, "hds-thresh) is 64", "ethtool -G eth7 hds-thresh 0"},
		"XDP in the driver": {func(f *deviceFacts) { f.xdp = xdpDriver },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdp off"},
		"generic XDP": {func(f *deviceFacts) { f.xdp = xdpGeneric },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdpgeneric off"},
		"offloaded XDP": {func(f *deviceFacts) { f.xdp = xdpOffloaded },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdpoffload off"},
		"several XDP programs": {func(f *deviceFacts) { f.xdp = xdpSeveral },
			syscall.EEXIST, false, "XDP", "ip link set dev eth7 xdp off"},
		"io_uring": {func(f *deviceFacts) { f.ioUring = true },
			syscall.EEXIST, true, "io_uring", "another queue"},
		"devmem": {func(f *deviceFacts) { f.dmabuf, f.binding = true, 12 },
			syscall.EEXIST, true, "dma-buf binding 12", "another queue"},
		"AF_XDP": {func(f *deviceFacts) { f.xsk = true },
			syscall.EBUSY, true, "AF_XDP", "another queue"},
		"lease": {func(f *deviceFacts) { f.leased, f.leaseIfindex, f.leaseQueue = true, 8, 1 },
			syscall.EBUSY, true, "leased to a virtual interface (queue 1 of interface index 8)", "another queue"},
		"lease elsewhere": {func(f *deviceFacts) { f.leased, f.leaseElsewhere = true, true },
			syscall.EBUSY, true, "another network namespace", "another queue"},
	} {
		t.Run(name, func(t *testing.T) {
			f := ready()
			require.NoError(t, f.verdict())
			c.spoil(f)
			err := f.verdict()
			assert.ErrorIs(t, err, c.errno)
			assert.ErrorContains(t, err, c.what)
			assert.ErrorContains(t, err, c.remedy)
			assert.ErrorContains(t, err, "eth7")
			if c.busy {
				var k *KernelError
				require.ErrorAs(t, err, &k)
				assert.NotErrorIs(t, err, ErrNotSupported)
				assert.Contains(t, k.Remedy, c.remedy)
			} else {
				assertLayer(t, err, LayerDevice)
			}

			fault := f.cause(c.errno)
			require.NotNil(t, fault)
			assert.Contains(t, fault.what, c.what)
			assert.Nil(t, f.cause(syscall.ENOMEM))
		})
	}
}

// TestTestDevice: the software device counts as one that can, but is not advised.
func TestTestDevice(t *testing.T) {
	f := ready()
	f.driver = testDriver
	require.NoError(t, f.verdict())
	f.driver = "virtio_net"
	assert.NotContains(t, f.verdict().Error(), testDriver)
}

// TestDeviceFaultsInOrder checks that of several faults the one is named that the
// kernel stumbles over first, and for an errno the one that causes it.
func TestDeviceFaultsInOrder(t *testing.T) {
	f := ready()
	f.xsk, f.ioUring, f.xdp, f.split, f.threshold = true, true, xdpDriver, splitOff, 64
	assert.ErrorIs(t, f.verdict(), syscall.EINVAL)
	assert.Contains(t, f.cause(syscall.EEXIST).what, "XDP program")
	assert.Contains(t, f.cause(syscall.EBUSY).what, "AF_XDP")
	assert.Nil(t, f.cause(syscall.EOPNOTSUPP))

	// Nothing to be seen, and the kernel refused all the same.
	set := ready().cause(syscall.EINVAL)
	require.NotNil(t, set)
	assert.Contains(t, set.what, "the driver's own choice")
	assert.Contains(t, set.remedy, "ethtool -G eth7 tcp-data-split on")
	assert.False(t, set.unsupported)
	assert.Nil(t, ready().cause(syscall.EEXIST))
}

// TestDeviceInconclusive checks what is said where nothing wrong was found, but
// not everything could be seen.
func TestDeviceInconclusive(t *testing.T) {
	for name, c := range map[string]struct {
		blur func(f *deviceFacts)
		what string
	}{
		"unknown driver": {func(f *deviceFacts) { f.driver = "novel" }, "driver novel has not been seen"},
		"no driver":      {func(f *deviceFacts) { f.driver = "" }, "its driver has not been seen"},
		"no link":        {func(f *deviceFacts) { f.linkErr = syscall.EACCES }, "XDP"},
		"no rings":       {func(f *deviceFacts) { f.ringsErr, f.split = syscall.EACCES, 0 }, "header split could not be read"},
		"no queue":       {func(f *deviceFacts) { f.queueErr = syscall.EACCES }, "queue 3 could not be read"},
		"down":           {func(f *deviceFacts) { f.down, f.queueErr = true, syscall.ENOENT }, "ip link set dev eth7 up"},
		"netkit": {func(f *deviceFacts) {
			f.virtual, f.kind, f.driver, f.ringsErr, f.split = true, "netkit", "", syscall.EOPNOTSUPP, 0
		}, "leased from a physical interface"},
	} {
		t.Run(name, func(t *testing.T) {
			f := ready()
			c.blur(f)
			err := f.verdict()
			assert.ErrorIs(t, err, ErrInconclusive)
			assert.NotErrorIs(t, err, ErrNotSupported)
			assert.ErrorContains(t, err, c.what)
		})
	}
	taken := ready()
	taken.virtual, taken.kind, taken.ioUring = true, "netkit", true
	assert.ErrorIs(t, taken.verdict(), syscall.EEXIST)
	unknown := ready()
	unknown.driver, unknown.split = "novel", splitOff
	assertLayer(t, unknown.verdict(), LayerDevice)
}

func attr(kind uint16, value []byte) []byte   { return appendAttr(nil, kind, value) }
func attr32(kind uint16, value uint32) []byte { return appendAttr32(nil, kind, value) }

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// linkMessage is an answer to RTM_GETLINK.
func linkMessage(flags uint32, attrs ...[]byte) []byte {
	header := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(header[4:], 5)
	binary.NativeEndian.PutUint32(header[8:], flags)
	return join(header, join(attrs...))
}

func TestParseLink(t *testing.T) {
	msg := linkMessage(unix.IFF_UP, attr(unix.IFLA_IFNAME, []byte("eth7\x00")),
		attr(unix.IFLA_LINKINFO, attr(unix.IFLA_INFO_KIND, []byte("netkit"))),
		attr(unix.IFLA_XDP|unix.NLA_F_NESTED, join(attr(unix.IFLA_XDP_ATTACHED, []byte{2}), attr32(unix.IFLA_XDP_PROG_ID, 77))),
		attr(unix.IFLA_PARENT_DEV_NAME, []byte("0000:01:00.0\x00")), attr(unix.IFLA_PARENT_DEV_BUS_NAME, []byte("pci\x00")))
	payload, err := parseAnswer(netlinkMessage(unix.RTM_NEWLINK, 0, 4, msg), unix.RTM_NEWLINK, 4)
	require.NoError(t, err)
	var f deviceFacts
	bus, device, err := f.parseLink(payload)
	require.NoError(t, err)
	assert.Equal(t, deviceFacts{iface: "eth7", kind: "netkit", xdp: xdpGeneric}, f)
	assert.Equal(t, []string{"pci", "0000:01:00.0"}, []string{bus, device})

	f = deviceFacts{}
	_, device, err = f.parseLink(linkMessage(0))
	require.NoError(t, err)
	assert.Equal(t, deviceFacts{down: true}, f)
	assert.Empty(t, device)

	for name, bad := range map[string][]byte{
		"short header":      msg[:15],
		"half an attribute": msg[:len(msg)-5],
		"XDP of two bytes":  linkMessage(0, attr(unix.IFLA_XDP, attr(unix.IFLA_XDP_ATTACHED, []byte{1, 0}))),
		"broken nest":       linkMessage(0, attr(unix.IFLA_LINKINFO, []byte{200, 0, 1, 0})),
	} {
		_, _, err := new(deviceFacts).parseLink(bad)
		assert.ErrorIs(t, err, errBadNetlink, name)
	}
}

func TestParseRings(t *testing.T) {
	parse := func(attrs ...[]byte) (*deviceFacts, error) {
		a, err := parseAttrs(join(attrs...), 0)
		require.NoError(t, err)
		f := new(deviceFacts)
		err = f.parseRings(a)
		return f, err
	}
	f, err := parse(attr(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, []byte{2}), attr32(unix.ETHTOOL_A_RINGS_HDS_THRESH, 64))
	require.NoError(t, err)
	assert.Equal(t, &deviceFacts{split: splitOn, threshold: 64}, f)
	f, err = parse(attr32(unix.ETHTOOL_A_RINGS_RX, 512))
	require.NoError(t, err)
	assert.Equal(t, &deviceFacts{ring: 512}, f)
	_, err = parse(attr32(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, 2))
	assert.ErrorIs(t, err, errBadNetlink)
}

func TestParseQueue(t *testing.T) {
	parse := func(attrs ...[]byte) (*deviceFacts, error) {
		a, err := parseAttrs(join(attrs...), 0)
		require.NoError(t, err)
		f := new(deviceFacts)
		err = f.parseQueue(a)
		return f, err
	}
	f, err := parse(attr32(netdevQueueID, 3), attr32(netdevQueueNAPI, 8194), attr(netdevQueueIOUring, nil), attr(netdevQueueXSK|unix.NLA_F_NESTED, nil), attr32(netdevQueueDMABuf, 6))
	require.NoError(t, err)
	assert.Equal(t, &deviceFacts{napiID: 8194, ioUring: true, xsk: true, dmabuf: true, binding: 6}, f)
	f, err = parse(attr(netdevQueueLease, join(attr32(netdevLeaseIfindex, 8),
		attr(netdevLeaseQueue, join(attr32(netdevQueueID, 1), attr32(netdevQueueType, 0))), attr32(netdevLeaseNetNS, 0))))
	require.NoError(t, err)
	assert.Equal(t, &deviceFacts{leased: true, leaseElsewhere: true, leaseIfindex: 8, leaseQueue: 1}, f)
	f, err = parse(attr32(netdevQueueID, 3))
	require.NoError(t, err)
	assert.Equal(t, &deviceFacts{}, f)
	_, err = parse(attr(netdevQueueDMABuf, nil))
	assert.ErrorIs(t, err, errBadNetlink)
	_, err = parse(attr(netdevQueueLease, []byte{1}))
	assert.ErrorIs(t, err, errBadNetlink)
}

func TestParseAnswer(t *testing.T) {
	refusal := func(errno int32) []byte {
		return netlinkMessage(unix.NLMSG_ERROR, 0, 4, binary.NativeEndian.AppendUint32(nil, uint32(-errno)))
	}
	_, err := parseAnswer(refusal(int32(syscall.ENODEV)), 16, 4)
	assert.ErrorIs(t, err, syscall.ENODEV)
	good := netlinkMessage(16, 0, 4, []byte("payload."))
	cut := append([]byte(nil), good...)
	binary.NativeEndian.PutUint32(cut, 1<<31)
	for name, bad := range map[string][]byte{
		"nothing":           nil,
		"half a header":     good[:15],
		"truncated":         good[:len(good)-1],
		"length beyond":     cut,
		"length too small":  append([]byte{15, 0, 0, 0, 15, 0, 0, 0}, good[8:]...)[:16],
		"other sequence":    netlinkMessage(16, 0, 5, nil),
		"other type":        netlinkMessage(17, 0, 4, nil),
		"end of a dump":     netlinkMessage(unix.NLMSG_DONE, 0, 4, make([]byte, 4)),
		"acknowledgement":   refusal(0),
		"positive error":    refusal(-5),
		"error of no errno": refusal(1 << 20),
		"error of 2 bytes":  netlinkMessage(unix.NLMSG_ERROR, 0, 4, []byte{1, 2}),
	} {
		_, err := parseAnswer(bad, 16, 4)
		assert.ErrorIs(t, err, errBadNetlink, name)
	}
}

// FuzzNetlinkMessages gives the parsers arbitrary messages: each is read or
// refused, and what is read lies within.
func FuzzNetlinkMessages(f *testing.F) {
	lease := attr(netdevQueueLease, attr(netdevLeaseQueue, attr32(netdevQueueID, 1)))
	f.Add(netlinkMessage(16, 0, 1, linkMessage(1, attr(unix.IFLA_IFNAME, []byte("lo\x00")), attr(unix.IFLA_XDP, attr(unix.IFLA_XDP_ATTACHED, []byte{0})))))
	f.Add(netlinkMessage(16, 0, 1, append(genericHeader(1), lease...)))
	f.Add(netlinkMessage(unix.NLMSG_ERROR, 0, 1, []byte{237, 255, 255, 255}))
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, err := parseAnswer(b, 16, 1)
		if err != nil {
			payload = b // try the inner parsers all the same
		} else if len(payload) > len(b)-netlinkHeaderSize {
			t.Fatalf("a payload of %d bytes in %d", len(payload), len(b))
		}
		var facts deviceFacts
		_, _, facts.linkErr = facts.parseLink(payload)
		attrs, err := parseAttrs(payload, genericHeaderSize)
		if err == nil {
			room := len(payload)
			for _, v := range attrs.values {
				room -= attrHeaderSize + len(v)
			}
			if room < 0 {
				t.Fatal("attributes overlap")
			}
			facts.ringsErr, facts.queueErr = facts.parseRings(attrs), facts.parseQueue(attrs)
		} else if !errors.Is(err, errBadNetlink) {
			t.Fatal(err)
		}
		_ = facts.verdict()
	})
}

// TestReadDevice asks the kernel about lo, and about nothing.
func TestReadDevice(t *testing.T) {
	time.Sleep(time.Millisecond) // the runtime's poller comes with the first timer, and keeps two fds
	fds := openFDs(t)
	for range 100 {
		f := readDevice(1, 0) // lo is always the first
		require.NoError(t, f.linkErr)
		assert.Equal(t, "lo", f.iface)
		assert.True(t, f.virtual)
		assert.ErrorIs(t, f.ringsErr, syscall.EOPNOTSUPP)
	}
	f := readDevice(1<<30, 0)
	assert.ErrorIs(t, f.linkErr, syscall.ENODEV)
	assert.ErrorIs(t, f.ringsErr, syscall.ENODEV)
	assert.Error(t, f.queueErr)
	assert.Nil(t, registerFault(ifqRequest{ifindex: 1 << 30}, syscall.EINVAL))
	assert.Nil(t, registerFault(ifqRequest{flags: regDeviceLess}, syscall.EINVAL))

	c, err := openNetlink(unix.NETLINK_GENERIC)
	require.NoError(t, err)
	_, err = c.family("nosuchfamily")
	assert.ErrorIs(t, err, syscall.ENOENT)
	c.close()
	_, err = c.family(netdevFamily)
	assert.ErrorIs(t, err, syscall.EBADF)
	assert.Equal(t, fds, openFDs(t))
}

// TestXDPIsNamed attaches XDP programs in a network namespace of its own and
// looks whether that is seen, and whether the remedy is the right one.
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
		detach  uint32 // what ip sends for the remedy
	}
	places := []place{{"lo", 1, unix.XDP_FLAGS_SKB_MODE, "xdpgeneric off", unix.XDP_FLAGS_SKB_MODE}}
	if ifindex, err := addVeth("zv0", "zv1"); err == nil { // a kernel may have no veth
		places = append(places, place{"zv0", ifindex, unix.XDP_FLAGS_SKB_MODE, "xdpgeneric off", unix.XDP_FLAGS_SKB_MODE},
			place{"zv0", ifindex, unix.XDP_FLAGS_DRV_MODE, "xdp off", 0})
	}
	for _, p := range places {
		t.Logf("%s, %s", p.iface, p.remedy)
		require.Nil(t, registerFault(ifqRequest{ifindex: p.ifindex}, syscall.EEXIST))
		require.NoError(t, setXDP(p.ifindex, program, p.attach))
		f := readDevice(int(p.ifindex), 0)
		require.NoError(t, f.linkErr)
		assert.Equal(t, p.iface, f.iface)

		err := registerIfqError("register interface queue", ifqRequest{ifindex: p.ifindex}, syscall.EEXIST)
		assertLayer(t, err, LayerDevice)
		assert.ErrorIs(t, err, syscall.EEXIST)
		assert.ErrorContains(t, err, "an XDP program is attached")
		assert.ErrorContains(t, err, "ip link set dev "+p.iface+" "+p.remedy)

		// As if it were a network card.
		f.virtual, f.driver, f.down, f.split, f.ringsErr, f.queueErr = false, "bnxt_en", false, splitOn, nil, nil
		assert.ErrorContains(t, f.verdict(), "an XDP program is attached")
		require.NoError(t, setXDP(p.ifindex, -1, p.detach))
		assert.Equal(t, xdpNone, readDevice(int(p.ifindex), 0).xdp)
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
	xdp := join(attr32(unix.IFLA_XDP_FD, uint32(fd)), attr32(unix.IFLA_XDP_FLAGS, flags))
	return change(unix.RTM_SETLINK, 0, join(header, attr(unix.IFLA_XDP|unix.NLA_F_NESTED, xdp)))
}

func addVeth(name, peer string) (ifindex uint32, err error) {
	named := func(name string) []byte {
		return append(make([]byte, unix.SizeofIfInfomsg), attr(unix.IFLA_IFNAME, []byte(name+"\x00"))...)
	}
	const infoPeer = 1 // VETH_INFO_PEER
	err = change(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(named(name), attr(unix.IFLA_LINKINFO, join(
		attr(unix.IFLA_INFO_KIND, []byte("veth")), attr(unix.IFLA_INFO_DATA, attr(infoPeer, named(peer)))))...))
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
	c, err := openNetlink(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.close()
	err = unix.Sendto(c.fd, netlinkMessage(kind, unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags, 1, payload), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, err := unix.Read(c.fd, b)
	if err != nil {
		return err
	}
	if n < netlinkHeaderSize+4 {
		return io.ErrUnexpectedEOF
	}
	if errno := -int32(binary.NativeEndian.Uint32(b[netlinkHeaderSize:])); errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}
