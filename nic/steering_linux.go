package nic

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

// steeringTries is the greatest number of ports that are tried for one connection.
const steeringTries = 1000

// Control is a function for net.Dialer.ControlContext. It binds the socket to a source
// port for which the peer's packets arrive on one of the queues. If it finds none, or if
// the route to the address leads through another interface, the kernel chooses the port.
func (s *Steering) Control(_ context.Context, _, address string, raw syscall.RawConn) error {
	to, from := s.route(address)
	if !from.IsValid() {
		return nil
	}
	low, high := localPorts()
	return raw.Control(func(fd uintptr) {
		ports := high - low + 1
		step := portStep(ports)
		at := rand.IntN(ports)
		for range min(steeringTries, ports) {
			at = (at + step) % ports
			port := low + at
			local := netip.AddrPortFrom(from, uint16(port))
			if !s.queues[s.rss.Queue(to, local)] {
				continue
			}
			if err := unix.Bind(int(fd), sockaddr(local)); !errors.Is(err, unix.EADDRINUSE) {
				return
			}
		}
	})
}

// portStep returns the distance of one tried port to the next, of a number of ports in a
// circle, each of which is reached. It is far, so that the ports differ in all of their
// bits: there are keys for which the low ones do not change the queue.
func portStep(ports int) int {
	step := ports*5/8 + 1
	for gcd(step, ports) != 1 {
		step++
	}
	return step
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// route returns the parsed address and the source address that the kernel would use for
// it. The source address is invalid if the connection cannot be steered: it would leave
// through another interface, or there is no route, and connect will return an error.
func (s *Steering) route(address string) (to netip.AddrPort, from netip.Addr) {
	to, err := netip.ParseAddrPort(address)
	if err == nil {
		from, err = s.sourceOf(to)
	}
	if err != nil {
		return to, netip.Addr{}
	}
	return to, from
}

// sourceOf returns the source address that the kernel would use for a destination. It
// returns an error if the interface does not have that address.
func (s *Steering) sourceOf(to netip.AddrPort) (netip.Addr, error) {
	family := unix.AF_INET
	if to.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, sockaddr(to)); err != nil { // connecting UDP sends nothing
		return netip.Addr{}, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	from := addrOf(sa)
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

// addrOf returns a socket address without its port.
func addrOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if ifi, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil { // fails for 0, which means no zone
			addr = addr.WithZone(ifi.Name)
		}
		return addr.Unmap()
	}
	return netip.Addr{}
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

// localPorts returns the range from which the kernel chooses source ports.
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
