package zcrx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// steering picks the source ports of connections such that what the peer sends
// arrives on one of some hardware queues.
type steering struct {
	iface  string
	rss    *rssTable
	queues map[uint32]bool
}

// newSteering answers an error where flows cannot be foreseen, or come to none of
// the queues: the interface's table may leave them to flow rules.
func newSteering(iface string, queues []int) (*steering, error) {
	rss, err := rssOf(iface)
	if err != nil {
		return nil, err
	}
	s := &steering{iface: iface, rss: rss, queues: map[uint32]bool{}}
	for _, q := range queues {
		s.queues[uint32(q)] = true
	}
	if !rss.leadsTo(s.queues) {
		return nil, fmt.Errorf("zcrx: RSS of %q leads to none of the queues %v", iface, queues)
	}
	return s, nil
}

// steeringTries bounds how many ports are looked at for one connection.
const steeringTries = 1000

// control is a net.Dialer's ControlContext: it binds the socket to a port that is
// right, if there is one. Else the kernel chooses.
func (s *steering) control(_ context.Context, _, address string, raw syscall.RawConn) error {
	to, from := s.route(address)
	if !from.IsValid() {
		return nil
	}
	low, high := localPorts()
	return raw.Control(func(fd uintptr) {
		port := low + rand.IntN(high-low+1)
		for range min(steeringTries, high-low+1) {
			if port++; port > high {
				port = low
			}
			local := netip.AddrPortFrom(from, uint16(port))
			if !s.queues[s.rss.queue(to, local)] {
				continue
			}
			if err := unix.Bind(int(fd), sockaddr(local)); !errors.Is(err, unix.EADDRINUSE) {
				return
			}
		}
	})
}

// queueOf is the queue that a connection's packets arrive on.
func (s *steering) queueOf(conn *net.TCPConn) int {
	return int(s.rss.queue(addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())))
}

// route is the address, and the one that it is reached from; that is invalid where
// nothing can be steered: another interface, or no route, which connect will tell.
func (s *steering) route(address string) (to netip.AddrPort, from netip.Addr) {
	to, err := netip.ParseAddrPort(address)
	if err == nil {
		from, err = s.sourceOf(to)
	}
	if err != nil {
		return to, netip.Addr{}
	}
	return to, from
}

// sourceOf is the address that the kernel would send from, if that is one of the
// interface's.
func (s *steering) sourceOf(to netip.AddrPort) (netip.Addr, error) {
	family := unix.AF_INET
	if to.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(to)); err != nil { // sends nothing
		return netip.Addr{}, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	from := tcpAddr(sa).AddrPort().Addr().Unmap()
	ifi, err := net.InterfaceByName(s.iface)
	if err != nil {
		return netip.Addr{}, err
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if own, ok := a.(*net.IPNet); ok && own.IP.Equal(from.AsSlice()) {
			return from, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("zcrx: %v is reached from %v, which %q does not have", to, from, s.iface)
}

// addrPort is the zero one for what is no TCP address.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	ip := a.Addr().Unmap()
	if ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port()), Addr: ip.As16()}
	if ifi, err := net.InterfaceByName(ip.Zone()); err == nil {
		sa.ZoneId = uint32(ifi.Index)
	}
	return sa
}

// localPorts is the range that the kernel chooses source ports from.
func localPorts() (low, high int) {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err == nil {
		_, err = fmt.Sscan(strings.TrimSpace(string(b)), &low, &high)
	}
	if err != nil || low < 1 || high > 65535 || low > high {
		return 32768, 60999 // the kernel's own default
	}
	return low, high
}
