//go:build linux && cgo

package zcrx

import (
	"crypto/rand"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSteering dials over loopback as if it spread flows over four queues, one of
// which is wanted.
func TestSteering(t *testing.T) {
	key := make([]byte, minRSSKey)
	_, _ = rand.Read(key) // never fails
	s := &steering{iface: "lo", rss: &rssTable{key: key, queues: []uint32{0, 1, 2, 3}}, queues: map[uint32]bool{2: true}}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		ln, err := net.Listen("tcp", address)
		require.NoError(t, err)
		defer ln.Close()
		for range 20 {
			d := net.Dialer{ControlContext: s.control}
			c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
			require.NoError(t, err)
			assert.Equal(t, 2, s.queueOf(c.(*net.TCPConn)))
			low, high := localPorts()
			port := c.LocalAddr().(*net.TCPAddr).Port
			assert.True(t, low <= port && port <= high, "%d", port)
			require.NoError(t, c.Close())
		}
		// Where no port leads to the queue the kernel chooses one.
		none := &steering{iface: "lo", rss: s.rss, queues: map[uint32]bool{9: true}}
		d := net.Dialer{ControlContext: none.control}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
	}
	elsewhere := &steering{iface: "no such interface", rss: s.rss, queues: s.queues}
	_, err := elsewhere.sourceOf(netip.MustParseAddrPort("127.0.0.1:9"))
	assert.Error(t, err)
}

func TestSteeringNeedsATable(t *testing.T) {
	_, err := newSteering("lo", []int{0})
	assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	assert.ErrorContains(t, err, `RSS of "lo"`)
	_, err = newSteering("an interface's name that is too long", []int{0})
	assert.ErrorIs(t, err, syscall.ENODEV)
}

func TestRSSAnswers(t *testing.T) {
	h := &rssHeader{indirSize: 2, keySize: minRSSKey}
	config := make([]byte, 8+minRSSKey)
	config[0], config[4], config[8] = 1, 2, 3
	table := parseRSS(h, config)
	assert.Equal(t, []uint32{1, 2}, table.queues)
	assert.Len(t, table.key, minRSSKey)
	assert.Equal(t, byte(3), table.key[0])
}
