package nic

import (
	"bytes"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSteering dials over loopback with an RSS table of four queues, of which the
// connections are to arrive on one.
func TestSteering(t *testing.T) {
	key := bytes.Repeat([]byte{0x6d, 0x5a, 0x56, 0xda}, minRSSKey/4)
	s := newSteering("lo", &RSS{Key: key, Table: []int{0, 1, 2, 3}}, 2)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		require.NoError(t, err)
		defer ln.Close()
		for range 20 {
			d := net.Dialer{ControlContext: s.Control}
			c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
			require.NoError(t, err)
			assert.Equal(t, 2, s.Queue(c.(*net.TCPConn)))
			low, high := localPorts()
			port := c.LocalAddr().(*net.TCPAddr).Port
			assert.True(t, low <= port && port <= high, "%d", port)
			require.NoError(t, c.Close())
		}
		// If no port leads to the queue, the kernel chooses the port.
		none := newSteering("lo", s.rss, 9)
		d := net.Dialer{ControlContext: none.Control}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	elsewhere := newSteering("no such interface", s.rss, 2)
	_, err := elsewhere.sourceOf(netip.MustParseAddrPort("127.0.0.1:9"))
	assert.Error(t, err)
}

// TestSteeringTriesDistantPorts uses a key for which the low ten bits of the port do not
// change the queue: most rows of a thousand ports lead to a wrong one only.
func TestSteeringTriesDistantPorts(t *testing.T) {
	key := bytes.Repeat([]byte{0x6d, 0x5a, 0x56, 0xda}, minRSSKey/4)
	key[13] = 0b10 // the key's bits 110 and 111
	key[14] = 0b1100_0000
	key[15] = 0
	s := newSteering("lo", &RSS{Key: key, Table: []int{0, 1, 2, 3}}, 2)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for range 20 {
		d := net.Dialer{ControlContext: s.Control}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		assert.Equal(t, 2, s.Queue(c.(*net.TCPConn)))
		require.NoError(t, c.Close())
	}
}

func TestPortStep(t *testing.T) {
	for ports := 1; ports < 3000; ports++ {
		step, at, seen := portStep(ports), 0, make([]bool, ports)
		for range ports {
			at = (at + step) % ports
			require.False(t, seen[at], "%d ports", ports)
			seen[at] = true
		}
	}
}

func TestSteeringNeedsATable(t *testing.T) {
	_, err := NewSteering("lo", []int{0})
	assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	assert.ErrorContains(t, err, `RSS of "lo"`)
	_, err = NewSteering("an interface's name that is too long", []int{0})
	assert.ErrorIs(t, err, syscall.ENODEV)
}
