package nic

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
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
			ports := localPorts(sysctlFolder)
			port := c.LocalAddr().(*net.TCPAddr).Port
			assert.True(t, ports.low <= port && port <= ports.high, "%d", port)
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
	_, err := elsewhere.sourceOf(netip.MustParseAddrPort("127.0.0.1:9"), netip.Addr{})
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

// TestSteeringFrom keeps the source address that the program asks for while it chooses
// the port, and returns an error where the socket cannot have it.
func TestSteeringFrom(t *testing.T) {
	key := bytes.Repeat([]byte{0x6d, 0x5a, 0x56, 0xda}, minRSSKey/4)
	s := newSteering("lo", &RSS{Key: key, Table: []int{0, 1, 2, 3}}, 2)
	addr := netip.MustParseAddr
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	dial := func(s *Steering) (*net.TCPConn, error) {
		d := net.Dialer{ControlContext: s.Control}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { c.Close() })
		return c.(*net.TCPConn), nil
	}
	for _, from := range []netip.Addr{addr("127.0.0.1"), addr("::ffff:127.0.0.1"), {}, addr("0.0.0.0"), addr("::")} {
		c, err := dial(s.From(from))
		require.NoError(t, err, from)
		assert.Equal(t, 2, s.Queue(c))
	}
	// lo does not list this address, so that it is kept without a choice of the port.
	c, err := dial(s.From(addr("127.0.0.9")))
	require.NoError(t, err)
	assert.Equal(t, addr("127.0.0.9"), addrPort(c.LocalAddr()).Addr())
	// No port leads to that queue.
	c, err = dial(newSteering("lo", s.rss, 9).From(addr("127.0.0.1")))
	require.NoError(t, err)
	assert.Equal(t, addr("127.0.0.1"), addrPort(c.LocalAddr()).Addr())

	_, err = dial(s.From(addr("192.0.2.1")))
	assert.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	_, err = dial(s.From(addr("::1")))
	assert.ErrorContains(t, err, "different families")
	assert.ErrorContains(t, s.Control(t.Context(), "unix", "/run/socket", nil), `"/run/socket"`)
}

// TestSteeringOfBoundSockets uses Control behind a function of the program that binds the
// socket. A port is kept, and so is an address without a port.
func TestSteeringOfBoundSockets(t *testing.T) {
	key := bytes.Repeat([]byte{0x6d, 0x5a, 0x56, 0xda}, minRSSKey/4)
	s := newSteering("lo", &RSS{Key: key, Table: []int{0, 1, 2, 3}}, 2)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	dial := func(bind func(fd int) error) net.Conn {
		d := net.Dialer{ControlContext: func(ctx context.Context, network, address string, raw syscall.RawConn) error {
			var bindErr error
			err := raw.Control(func(fd uintptr) { bindErr = bind(int(fd)) })
			return errors.Join(err, bindErr, s.Control(ctx, network, address, raw))
		}}
		c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		return c
	}
	var bound unix.Sockaddr
	c := dial(func(fd int) (err error) {
		if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
			bound, err = unix.Getsockname(fd)
		}
		return err
	})
	assert.Equal(t, addrPortOf(bound), addrPort(c.LocalAddr()))

	for _, own := range [][4]byte{{127, 0, 0, 1}, {127, 0, 0, 9}, {}} {
		c = dial(func(fd int) error {
			return errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
				unix.Bind(fd, &unix.SockaddrInet4{Addr: own}))
		})
		if own[3] == 9 { // an address that lo does not list
			assert.Equal(t, netip.AddrFrom4(own), addrPort(c.LocalAddr()).Addr())
			continue
		}
		assert.Equal(t, netip.MustParseAddr("127.0.0.1"), addrPort(c.LocalAddr()).Addr())
		assert.Equal(t, 2, s.Queue(c.(*net.TCPConn)))
	}
}

// TestSteeringLeavesReservedPortsOut dials in a network namespace of its own, whose ports
// are reserved but one.
func TestSteeringLeavesReservedPortsOut(t *testing.T) {
	inNewNetNS(t)
	set := func(name, value string) error {
		return os.WriteFile(filepath.Join(sysctlFolder, name), []byte(value), 0)
	}
	require.NoError(t, set("ip_local_port_range", "40000 40009"))
	require.NoError(t, set("ip_local_reserved_ports", "40000-40005,40007,40008-40009"))
	assert.ErrorIs(t, set("ip_unprivileged_port_start", "40001"), syscall.EINVAL, "no privileged port is in the range")
	ln, err := net.Listen("tcp", "127.0.0.1:30000")
	require.NoError(t, err)
	defer ln.Close()
	s := newSteering("lo", &RSS{Key: make([]byte, minRSSKey), Table: []int{0}}, 0)
	d := net.Dialer{ControlContext: s.Control}
	c, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	assert.Equal(t, 40006, c.LocalAddr().(*net.TCPAddr).Port)
	// The only port is in use, and the kernel cannot choose another either.
	_, err = d.DialContext(t.Context(), "tcp", ln.Addr().String())
	assert.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
}

// inNewNetNS puts the test into a new network namespace, whose lo is up, until it ends.
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
	require.NoError(t, loopbackUp())
}

// loopbackUp sets lo of the thread's network namespace up.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

func TestParsePorts(t *testing.T) {
	for list, want := range map[string][][2]int{
		"\n":                        nil,
		"8080\n":                    {{8080, 8080}},
		"1,22-25,40000-40010,41000": {{1, 1}, {22, 25}, {40000, 40010}, {41000, 41000}},
		"x,5-y,7":                   {{7, 7}},
	} {
		assert.Equal(t, want, parsePorts(list), "%q", list)
	}
	unreadable := localPorts(t.TempDir())
	assert.Equal(t, portRange{low: 32768, high: 60999}, unreadable, "the kernel's defaults")
}

func TestPortStep(t *testing.T) {
	for ports := 1; ports < 3000; ports++ {
		step, at, seen := portStep(ports), 0, make([]bool, ports)
		for range ports {
			at = (at + step) % ports
			if seen[at] {
				t.Fatalf("of %d ports, number %d comes twice", ports, at)
			}
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
