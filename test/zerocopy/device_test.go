//go:build nic

package zerocopy

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const (
	moduleName = "zcnic"
	moduleFile = "zcnic.ko" // in the working directory, into which make test-nic copies it

	// The sending device is moved to another network namespace, because the kernel
	// delivers packets within a namespace without sending them.
	device = "zc0"
	sender = "zc1"
)

var (
	deviceAddr4 = netip.MustParseAddr("10.9.0.1")
	senderAddr4 = netip.MustParseAddr("10.9.0.2")
	deviceAddr6 = netip.MustParseAddr("fd09::1")
	senderAddr6 = netip.MustParseAddr("fd09::2")
)

// loadModule loads the module with options such as "mtu=9000".
func loadModule(options ...string) error {
	file, err := os.Open(moduleFile)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), strings.Join(options, " "), 0); err != nil {
		return fmt.Errorf("loading %s with %q: %w", moduleFile, options, err)
	}
	return nil
}

func unloadModule() error {
	if err := unix.DeleteModule(moduleName, unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("unloading %s: %w", moduleName, err)
	}
	return nil
}

func moduleLoaded() bool {
	_, err := os.Stat("/sys/module/" + moduleName)
	return err == nil
}

// awaitUnbound waits until io_uring uses no queue of the device, which is some time after the
// rings are closed. Linux 7.3.4 prints a warning if the device is removed just then
// (netif_mp_close_rxq).
func awaitUnbound(t testing.TB) {
	t.Helper()
	require.Eventually(t, func() bool {
		for queue := 0; ; queue++ {
			facts, err := readQueue(queue)
			if err != nil {
				return true // no more queues, or the device is down
			}
			if facts.ioUring {
				return false
			}
		}
	}, time.Minute, 10*time.Millisecond)
}

// setOption changes an option of the loaded module until the test ends.
func setOption(t testing.TB, name string, value any) {
	t.Helper()
	file := filepath.Join("/sys/module", moduleName, "parameters", name)
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, fmt.Append(nil, value), 0))
	t.Cleanup(func() {
		if moduleLoaded() {
			assert.NoError(t, os.WriteFile(file, before, 0))
		}
	})
}

// wire is the loaded module. Its two devices are up and have addresses, and header split is
// on.
type wire struct {
	t    testing.TB
	peer netns.NsHandle // the sender's network namespace
}

// newWire loads the module until the test ends.
func newWire(t testing.TB, options ...string) *wire {
	t.Helper()
	require.NoError(t, loadModule(options...))
	w := &wire{t: t, peer: newNamespace(t)}
	t.Cleanup(w.close)

	link, err := netlink.LinkByName(sender)
	require.NoError(t, err)
	require.NoError(t, netlink.LinkSetNsFd(link, int(w.peer)))
	here, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	require.NoError(t, err)
	defer here.Close()
	there, err := netlink.NewHandleAt(w.peer, unix.NETLINK_ROUTE)
	require.NoError(t, err)
	defer there.Close()
	bringUp(t, here, device, deviceAddr4, deviceAddr6)
	bringUp(t, there, sender, senderAddr4, senderAddr6)
	setSplit(t, splitOn, 0)
	return w
}

// close unloads the module. A second call does nothing.
func (w *wire) close() {
	w.t.Helper()
	if !w.peer.IsOpen() {
		return
	}
	if moduleLoaded() {
		awaitUnbound(w.t)
		assert.NoError(w.t, unloadModule())
	}
	assert.NoError(w.t, w.peer.Close())
}

func bringUp(t testing.TB, h *netlink.Handle, name string, addr4, addr6 netip.Addr) {
	t.Helper()
	link, err := h.LinkByName(name)
	require.NoError(t, err)
	for addr, bits := range map[netip.Addr]int{addr4: 24, addr6: 64} {
		a := &netlink.Addr{
			IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, addr.BitLen())},
			Flags: unix.IFA_F_NODAD, // no wait for duplicate address detection
		}
		require.NoError(t, h.AddrAdd(link, a))
	}
	require.NoError(t, h.LinkSetUp(link))
}

// newNamespace returns a new network namespace.
func newNamespace(t testing.TB) netns.NsHandle {
	t.Helper()
	made := make(chan netns.NsHandle)
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		ns, err := netns.New()
		if err != nil {
			failed <- err
			return
		}
		made <- ns
	}()
	select {
	case ns := <-made:
		return ns
	case err := <-failed:
		require.NoError(t, err)
		return netns.None()
	}
}

// inPeer runs fn on a thread in the sender's network namespace.
func (w *wire) inPeer(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := netns.Set(w.peer)
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// connection is a TCP connection over the wire.
type connection struct {
	out *net.TCPConn // the sender's end
	in  *net.TCPConn // the receiver's end
}

// setPeerSysctl sets a sysctl of the sender's network namespace.
func (w *wire) setPeerSysctl(name, value string) {
	w.t.Helper()
	require.NoError(w.t, w.inPeer(func() error {
		return os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0)
	}))
}

// info returns the TCP_INFO of the sender's end.
func (c connection) info(t testing.TB) *unix.TCPInfo {
	t.Helper()
	raw, err := c.out.SyscallConn()
	require.NoError(t, err)
	var info *unix.TCPInfo
	require.NoError(t, raw.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}))
	require.NoError(t, err)
	return info
}

// resent returns the number of bytes of payload that the sender has retransmitted.
func (c connection) resent(t testing.TB) int64 {
	t.Helper()
	return int64(c.info(t).Bytes_retrans)
}

// listen listens on the receiving device until the test ends.
func (w *wire) listen(addr netip.Addr) *net.TCPListener {
	w.t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { assert.NoError(w.t, l.Close()) })
	return l
}

// dial connects from the sender's namespace.
func (w *wire) dial(l *net.TCPListener) connection {
	w.t.Helper()
	var c connection
	require.NoError(w.t, w.inPeer(func() error {
		conn, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
		c.out = conn
		return err
	}))
	in, err := l.AcceptTCP()
	require.NoError(w.t, err)
	c.in = in
	w.t.Cleanup(func() {
		_ = c.out.Close() // the test may have closed it
		_ = c.in.Close()
	})
	return c
}

// connect makes a connection whose packets arrive on a receive queue.
func (w *wire) connect(queue int) connection {
	w.t.Helper()
	l := w.listen(deviceAddr4)
	steer(w.t, rule{to: l.Addr().(*net.TCPAddr).AddrPort(), queue: queue})
	return w.dial(l)
}
