//go:build nic

package zerocopy

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrivesOn returns the receive queue that a connection's payload arrives on.
func arrivesOn(t *testing.T, c connection) int {
	t.Helper()
	before := readCounters(t)
	payload := make([]byte, 1000)
	_, err := c.out.Write(payload)
	require.NoError(t, err)
	_, err = c.in.Read(payload)
	require.NoError(t, err)
	grown := readCounters(t).since(before)
	found := -1
	for queue := range 4 {
		if grown.sum("page_bytes", queue)+grown.sum("linear_bytes", queue) > 0 {
			require.Equal(t, -1, found, "several queues")
			found = queue
		}
	}
	return found
}

// TestRules steers flows by parts of their 4-tuple, over IPv4 and IPv6.
func TestRules(t *testing.T) {
	w := newWire(t)
	for _, addr := range []netip.Addr{deviceAddr4, deviceAddr6} {
		l := w.listen(addr)
		to := l.Addr().(*net.TCPAddr).AddrPort()
		c := w.dial(l)
		from := c.out.LocalAddr().(*net.TCPAddr).AddrPort()
		for name, r := range map[string]rule{
			"all of it":   {from: from, to: to, queue: 3},
			"source port": {from: netip.AddrPortFrom(netip.Addr{}, from.Port()), to: netip.AddrPortFrom(to.Addr(), 0), queue: 2},
			"addresses":   {from: netip.AddrPortFrom(from.Addr(), 0), to: netip.AddrPortFrom(to.Addr(), 0), queue: 1},
			"destination": {to: to, queue: 3},
		} {
			t.Run(addr.String()+" "+name, func(t *testing.T) {
				steer(t, r)
				assert.Equal(t, r.queue, arrivesOn(t, c))
			})
		}
		t.Run(addr.String()+" others stay", func(t *testing.T) {
			other := w.dial(l)
			home := arrivesOn(t, other)
			steer(t, rule{from: from, to: to, queue: (home + 1) % 4})
			assert.Equal(t, home, arrivesOn(t, other))
			assert.Equal(t, (home+1)%4, arrivesOn(t, c))
		})
		t.Run(addr.String()+" drop", func(t *testing.T) {
			steer(t, rule{to: to, drop: true})
			assert.Error(t, w.inPeer(func() error {
				conn, err := net.DialTimeout("tcp", to.String(), 100*time.Millisecond)
				if err == nil {
					conn.Close()
				}
				return err
			}))
		})
		for queue := range 4 {
			t.Run(fmt.Sprint(addr, " to an RSS context of queue ", queue), func(t *testing.T) {
				steer(t, rule{to: to, context: addContext(t, queue)})
				assert.Equal(t, queue, arrivesOn(t, c))
			})
		}
	}
}

// TestRSS computes the queues of connections from the device's key and table, and compares
// them with those that they arrive on.
func TestRSS(t *testing.T) {
	w := newWire(t)
	l := w.listen(deviceAddr4)
	var device rxfh
	device.command, device.indirSize, device.keySize = getRSS, indirSize, keySize
	require.NoError(t, ethtoolCall(&device))
	seen := make(map[int]bool)
	for range 12 {
		c := w.dial(l)
		var tuple []byte
		for _, end := range []netip.AddrPort{addrPort(c.out), addrPort(c.in)} {
			tuple = append(tuple, end.Addr().AsSlice()...)
		}
		for _, end := range []netip.AddrPort{addrPort(c.out), addrPort(c.in)} {
			tuple = binary.BigEndian.AppendUint16(tuple, end.Port())
		}
		want := int(device.indir[toeplitz(device.key[:], tuple)%indirSize])
		assert.Equal(t, want, arrivesOn(t, c))
		seen[want] = true
	}
	assert.Greater(t, len(seen), 1, "twelve connections on one queue")
}

func addrPort(c *net.TCPConn) netip.AddrPort {
	return c.LocalAddr().(*net.TCPAddr).AddrPort()
}

// toeplitz returns the hash of RSS. For each bit of the input that is 1 it adds (xor) the 32
// bits of the key that begin at that position.
func toeplitz(key, input []byte) uint32 {
	var hash uint32
	for i := range 8 * len(input) {
		if input[i/8]>>(7-i%8)&1 == 1 {
			bits := binary.BigEndian.Uint64(append(key[i/8:len(key):len(key)], make([]byte, 8)...))
			hash ^= uint32(bits << (i % 8) >> 32)
		}
	}
	return hash
}

// TestXDP checks that XDP programs pass and drop packets.
func TestXDP(t *testing.T) {
	w := newWire(t)
	l := w.listen(deviceAddr4)
	c := w.dial(l)
	_, err := tryXDP(t, xdpPass, link.XDPDriverMode, false)
	assert.Error(t, err, "header split is on, and the program takes no fragments")
	setSplit(t, splitOff, 0)
	detach := attachXDP(t, xdpPass, link.XDPDriverMode, false)
	arrivesOn(t, c)
	detach()
	detach = attachXDP(t, xdpDrop, link.XDPDriverMode, true)
	before := readCounters(t)
	_, err = c.out.Write(make([]byte, 1000))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return readCounters(t).since(before).sum("xdp_drops") > 0
	}, 10*time.Second, 10*time.Millisecond)
	detach()
	_, err = c.in.Read(make([]byte, 1000)) // TCP has retransmitted it
	require.NoError(t, err)
}

// TestXDPSwitchedOff checks that the device refuses programs if its option xdp is off.
func TestXDPSwitchedOff(t *testing.T) {
	newWire(t, "xdp=0")
	_, err := tryXDP(t, xdpPass, link.XDPDriverMode, true)
	assert.Error(t, err)
}
