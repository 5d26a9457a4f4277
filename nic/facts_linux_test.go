package nic

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/netlink"
)

func attr(kind uint16, value []byte) []byte   { return netlink.AppendAttr(nil, kind, value) }
func attr32(kind uint16, value uint32) []byte { return netlink.AppendUint32(nil, kind, value) }

func join(parts ...[]byte) []byte {
	var all []byte
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// linkMessage returns the payload of a reply to RTM_GETLINK.
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
	payload, err := netlink.ParseReply(netlink.Message(unix.RTM_NEWLINK, 0, 4, msg), unix.RTM_NEWLINK, 4)
	require.NoError(t, err)
	var f Facts
	bus, device, err := f.parseLink(payload)
	require.NoError(t, err)
	assert.Equal(t, Facts{Interface: "eth7", Kind: "netkit", XDP: XDPGeneric}, f)
	assert.Equal(t, []string{"pci", "0000:01:00.0"}, []string{bus, device})

	f = Facts{}
	_, device, err = f.parseLink(linkMessage(0))
	require.NoError(t, err)
	assert.Equal(t, Facts{Down: true}, f)
	assert.Empty(t, device)

	for name, bad := range map[string][]byte{
		"short header":      msg[:15],
		"half an attribute": msg[:len(msg)-5],
		"XDP of two bytes":  linkMessage(0, attr(unix.IFLA_XDP, attr(unix.IFLA_XDP_ATTACHED, []byte{1, 0}))),
		"broken nest":       linkMessage(0, attr(unix.IFLA_LINKINFO, []byte{200, 0, 1, 0})),
	} {
		_, _, err := new(Facts).parseLink(bad)
		assert.ErrorIs(t, err, netlink.ErrMalformed, name)
	}
}

func TestParseRings(t *testing.T) {
	parse := func(attrs ...[]byte) (*Facts, error) {
		a, err := netlink.ParseAttrs(join(attrs...), 0)
		require.NoError(t, err)
		f := new(Facts)
		err = f.parseRings(a)
		return f, err
	}
	f, err := parse(attr(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, []byte{2}), attr32(unix.ETHTOOL_A_RINGS_HDS_THRESH, 64))
	require.NoError(t, err)
	assert.Equal(t, &Facts{DataSplit: SplitOn, SplitThreshold: 64}, f)
	f, err = parse(attr32(unix.ETHTOOL_A_RINGS_RX, 512))
	require.NoError(t, err)
	assert.Equal(t, &Facts{RingEntries: 512}, f)
	_, err = parse(attr32(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, 2))
	assert.ErrorIs(t, err, netlink.ErrMalformed)
}

func TestParseQueue(t *testing.T) {
	parse := func(attrs ...[]byte) (*Facts, error) {
		a, err := netlink.ParseAttrs(join(attrs...), 0)
		require.NoError(t, err)
		f := new(Facts)
		err = f.parseQueue(a)
		return f, err
	}
	f, err := parse(attr32(netdevQueueID, 3), attr32(netdevQueueNAPI, 8194), attr(netdevQueueIOUring, nil), attr(netdevQueueXSK|unix.NLA_F_NESTED, nil), attr32(netdevQueueDMABuf, 6))
	require.NoError(t, err)
	assert.Equal(t, &Facts{NAPIID: 8194, IOUring: true, AFXDP: true, DMABuf: true, DMABufBinding: 6}, f)
	f, err = parse(attr(netdevQueueLease, join(attr32(netdevLeaseIfindex, 8),
		attr(netdevLeaseQueue, join(attr32(netdevQueueID, 1), attr32(netdevQueueType, 0))), attr32(netdevLeaseNetNS, 0))))
	require.NoError(t, err)
	assert.Equal(t, &Facts{Lease: &Lease{Ifindex: 8, Queue: 1, OtherNetNS: true}}, f)
	f, err = parse(attr32(netdevQueueID, 3))
	require.NoError(t, err)
	assert.Equal(t, &Facts{}, f)
	_, err = parse(attr(netdevQueueDMABuf, nil))
	assert.ErrorIs(t, err, netlink.ErrMalformed)
	_, err = parse(attr(netdevQueueLease, []byte{1}))
	assert.ErrorIs(t, err, netlink.ErrMalformed)
}

// FuzzFacts gives the parsers arbitrary replies. Each is parsed or refused with
// ErrMalformed, and Faults and Doubts work on what was parsed.
func FuzzFacts(f *testing.F) {
	lease := attr(netdevQueueLease, attr(netdevLeaseQueue, attr32(netdevQueueID, 1)))
	f.Add(linkMessage(1, attr(unix.IFLA_IFNAME, []byte("lo\x00")), attr(unix.IFLA_XDP, attr(unix.IFLA_XDP_ATTACHED, []byte{0}))))
	f.Add(append(netlink.GenericHeader(1), lease...))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var facts Facts
		_, _, facts.LinkErr = facts.parseLink(payload)
		attrs, err := netlink.ParseAttrs(payload, netlink.GenericHeaderSize)
		if err == nil {
			facts.RingsErr, facts.QueueErr = facts.parseRings(attrs), facts.parseQueue(attrs)
		}
		for _, err := range []error{err, facts.LinkErr, facts.RingsErr, facts.QueueErr} {
			if err != nil && !errors.Is(err, netlink.ErrMalformed) {
				t.Fatal(err)
			}
		}
		if faults, doubts := facts.Faults(), facts.Doubts(); len(faults)+len(doubts) == 0 {
			t.Fatal("no fault and no doubt about a queue without driver")
		}
	})
}

// TestRead reads the facts of lo, and of an interface that does not exist.
func TestRead(t *testing.T) {
	time.Sleep(time.Millisecond) // the first timer starts the runtime's poller, which keeps two fds open
	fds := openFDs(t)
	for range 100 {
		f, err := Read("lo", 0)
		require.NoError(t, err)
		require.NoError(t, f.LinkErr)
		assert.Equal(t, "lo", f.Interface)
		assert.True(t, f.Virtual)
		assert.ErrorIs(t, f.RingsErr, syscall.EOPNOTSUPP)
		assert.Equal(t, f, ReadIndex(1, 0), "lo is always the first")
	}
	f := ReadIndex(1<<30, 0)
	assert.ErrorIs(t, f.LinkErr, syscall.ENODEV)
	assert.ErrorIs(t, f.RingsErr, syscall.ENODEV)
	assert.Error(t, f.QueueErr)
	_, err := Read("no such interface", 0)
	assert.ErrorContains(t, err, "no such interface")
	assert.Equal(t, fds, openFDs(t))
}

func openFDs(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(fds)
}

func TestNumReceiveQueues(t *testing.T) {
	assert.Equal(t, 1, NumReceiveQueues("lo"))
	assert.Zero(t, NumReceiveQueues("no such interface"))
}
