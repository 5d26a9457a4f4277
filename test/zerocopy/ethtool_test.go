//go:build nic

package zerocopy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// ETHTOOL_TCP_DATA_SPLIT_* of uapi linux/ethtool.h.
const (
	splitOff = 1
	splitOn  = 2
)

// setSplit sets header split and its threshold on the receiving device.
func setSplit(t testing.TB, split uint8, threshold uint32) {
	t.Helper()
	require.NoError(t, trySplit(split, threshold))
}

func trySplit(split uint8, threshold uint32) error {
	return changeRings(func(attrs *netlink.AttributeEncoder) {
		attrs.Uint8(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, split)
		attrs.Uint32(unix.ETHTOOL_A_RINGS_HDS_THRESH, threshold)
	})
}

// setRing sets the number of posted buffers per receive queue.
func setRing(t testing.TB, n uint32) {
	t.Helper()
	require.NoError(t, changeRings(func(attrs *netlink.AttributeEncoder) {
		attrs.Uint32(unix.ETHTOOL_A_RINGS_RX, n)
	}))
}

func changeRings(change func(*netlink.AttributeEncoder)) error {
	attrs := netlink.NewAttributeEncoder()
	attrs.Nested(unix.ETHTOOL_A_RINGS_HEADER, func(header *netlink.AttributeEncoder) error {
		header.String(unix.ETHTOOL_A_HEADER_DEV_NAME, device)
		return nil
	})
	change(attrs)
	payload, err := attrs.Encode()
	if err != nil {
		return err
	}
	_, err = askFamily(unix.ETHTOOL_GENL_NAME, unix.ETHTOOL_MSG_RINGS_SET, netlink.Acknowledge, payload)
	return err
}

// askFamily sends a request to a generic netlink family and returns the reply.
func askFamily(name string, command uint8, flags netlink.HeaderFlags, payload []byte) ([]genetlink.Message, error) {
	c, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	family, err := c.GetFamily(name)
	if err != nil {
		return nil, err
	}
	msg := genetlink.Message{Header: genetlink.Header{Command: command, Version: family.Version}, Data: payload}
	return c.Execute(msg, family.ID, netlink.Request|flags)
}

// ethtoolCall makes an ioctl on the receiving device with one of the structs of
// linux/ethtool.h.
func ethtoolCall[T any](request *T) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(request)}
	copy(ifreq.name[:], device)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}

// rule is an ntuple rule. Packets match if they have the addresses and ports that are set.
type rule struct {
	from, to netip.AddrPort
	queue    int    // where they go
	drop     bool   // drop them instead
	context  uint32 // if not 0, spread them with this RSS context instead
}

// rxnfc is struct ethtool_rxnfc.
type rxnfc struct {
	command uint32
	_       [12]byte
	flow    struct {
		flowType   uint32
		value      [52]byte
		_          [20]byte
		mask       [52]byte
		_          [20]byte
		ringCookie uint64
		location   uint32
	}
	context uint32
	_       uint32
}

const (
	flowTCP4       = 1          // TCP_V4_FLOW
	flowTCP6       = 5          // TCP_V6_FLOW
	flowRSS        = 0x20000000 // FLOW_RSS
	flowDrop       = 1<<64 - 1  // RX_CLS_FLOW_DISC
	anyLocation    = 1<<32 - 1  // RX_CLS_LOC_ANY
	insertRule     = 0x32       // ETHTOOL_SRXCLSRLINS
	deleteRule     = 0x31       // ETHTOOL_SRXCLSRLDEL
	getRSS         = 0x46       // ETHTOOL_GRSSH
	setRSS         = 0x47       // ETHTOOL_SRSSH
	newContext     = 1<<32 - 1  // ETH_RXFH_CONTEXT_ALLOC
	indirSize      = 128
	keySize        = 40
	noFuncChange   = 0    // ETH_RSS_HASH_NO_CHANGE
	noXfrmChange   = 0xff // RXH_XFRM_NO_CHANGE
	onesCompletely = 0xff
)

// steer adds an ntuple rule until the test ends.
func steer(t testing.TB, r rule) {
	t.Helper()
	request := rxnfc{command: insertRule}
	f := &request.flow
	f.flowType, f.location, f.ringCookie = flowTCP4, anyLocation, uint64(r.queue)
	addrs := 4
	from, to := r.from.Addr().Unmap(), r.to.Addr().Unmap()
	if from.Is6() || to.Is6() {
		f.flowType, addrs = flowTCP6, 16
	}
	if r.context != 0 {
		f.flowType |= flowRSS
		request.context = r.context
	}
	if r.drop {
		f.ringCookie = flowDrop
	}
	// Source address, destination address, source port, destination port.
	set := func(at int, value []byte) {
		copy(f.value[at:], value)
		for i := range value {
			f.mask[at+i] = onesCompletely
		}
	}
	for i, addr := range []netip.Addr{from, to} {
		if addr.IsValid() {
			set(i*addrs, addr.AsSlice())
		}
	}
	for i, port := range []uint16{r.from.Port(), r.to.Port()} {
		if port != 0 {
			set(2*addrs+2*i, binary.BigEndian.AppendUint16(nil, port))
		}
	}
	require.NoError(t, ethtoolCall(&request), "%+v", r)
	location := request.flow.location
	t.Cleanup(func() {
		if moduleLoaded() {
			request := rxnfc{command: deleteRule}
			request.flow.location = location
			assert.NoError(t, ethtoolCall(&request))
		}
	})
}

// rxfh is struct ethtool_rxfh.
type rxfh struct {
	command, context, indirSize, keySize uint32
	function, xfrm                       uint8
	_                                    [6]byte
	indir                                [indirSize]uint32
	key                                  [keySize]byte
}

// addContext makes an RSS context that leads to one queue, until the test ends.
func addContext(t testing.TB, queue int) uint32 {
	t.Helper()
	request := rxfh{
		command: setRSS, context: newContext, indirSize: indirSize, keySize: keySize,
		function: noFuncChange, xfrm: noXfrmChange,
	}
	for i := range request.indir {
		request.indir[i] = uint32(queue)
	}
	for i := range request.key {
		request.key[i] = byte(i)
	}
	require.NoError(t, ethtoolCall(&request))
	require.NotZero(t, request.context)
	t.Cleanup(func() {
		// A request without a table deletes the context.
		remove := rxfh{command: setRSS, context: request.context, function: noFuncChange, xfrm: noXfrmChange}
		assert.NoError(t, ethtoolCall(&remove))
	})
	return request.context
}

// counters are the counters of the receiving device by name, such as "rx0_packets".
type counters map[string]uint64

// maxCounters is more than a device of four queues has.
const maxCounters = 256

func readCounters(t testing.TB) counters {
	t.Helper()
	// Structs ethtool_gstrings and ethtool_stats. The kernel returns nothing if their
	// length is neither 0 nor the right one.
	names := struct {
		command, set, n uint32
		text            [maxCounters][32]byte
	}{command: unix.ETHTOOL_GSTRINGS, set: 1} // ETH_SS_STATS
	values := struct {
		command, n uint32
		value      [maxCounters]uint64
	}{command: unix.ETHTOOL_GSTATS}
	require.NoError(t, ethtoolCall(&names))
	require.NoError(t, ethtoolCall(&values))
	require.Equal(t, names.n, values.n)
	all := make(counters)
	for i := range names.n {
		all[unix.ByteSliceToString(names.text[i][:])] = values.value[i]
	}
	require.Contains(t, all, "rx0_placed_bytes")
	return all
}

// since returns how much the counters have grown.
func (c counters) since(before counters) counters {
	grown := make(counters, len(c))
	for name, value := range c {
		grown[name] = value - before[name]
	}
	return grown
}

// sum returns the sum of a counter over these queues, or over all if none is given.
func (c counters) sum(name string, queues ...int) uint64 {
	if len(queues) == 0 {
		for i := 0; ; i++ {
			if _, ok := c[fmt.Sprintf("rx%d_%s", i, name)]; !ok {
				break
			}
			queues = append(queues, i)
		}
	}
	var total uint64
	for _, q := range queues {
		total += c[fmt.Sprintf("rx%d_%s", q, name)]
	}
	return total
}
