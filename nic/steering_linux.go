package nic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// steeringTries is the greatest number of ports that are tried for one connection.
const steeringTries = 1000

// Control is a function for net.Dialer.ControlContext. It binds the socket to a source
// port for which the peer's packets arrive on one of the queues. The port is one that the
// kernel might choose itself. If Control finds none, or if the route to the address leads
// through another interface, the kernel chooses the port.
//
// A socket that has a port already is left as it is, and one that has only an address
// (IP_BIND_ADDRESS_NO_PORT) keeps that. But package net binds to Dialer.LocalAddr after
// Control, and cannot bind a second time: leave LocalAddr nil, and use From.
func (s *Steering) Control(_ context.Context, _, address string, raw syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("zcrx: connect to %q: want a TCP address of IP and port: %w", address, err)
	}
	var bindErr error
	err = raw.Control(func(fd uintptr) { bindErr = s.bind(int(fd), to) })
	return errors.Join(err, bindErr)
}

// bind binds a socket that is to be connected to that address. It returns an error only if
// the socket cannot have the address of From.
func (s *Steering) bind(fd int, to netip.AddrPort) error {
	own := boundTo(fd)
	if own.Port() != 0 {
		return nil
	}
	asked := own.Addr()
	if !asked.IsValid() || asked.IsUnspecified() {
		asked = s.from
	}
	if asked.IsValid() && asked.Is4() != to.Addr().Unmap().Is4() {
		return fmt.Errorf("zcrx: connect to %v from %v: the addresses are of different families", to, asked)
	}
	from, err := s.sourceOf(to, asked)
	if err == nil && s.bindPort(fd, from, to) {
		return nil
	}
	if !asked.IsValid() {
		return nil
	}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(asked, 0))); err != nil {
		return fmt.Errorf("zcrx: connect to %v from %v: %w", to, asked, os.NewSyscallError("bind", err))
	}
	return nil
}

// bindPort binds a socket to the address and a port that leads to one of the queues, and
// reports whether it did.
func (s *Steering) bindPort(fd int, from netip.Addr, to netip.AddrPort) bool {
	ports := localPorts(sysctlFolder)
	step := portStep(ports.count())
	at := rand.IntN(ports.count())
	for range min(steeringTries, ports.count()) {
		at = (at + step) % ports.count()
		port := ports.low + at
		local := netip.AddrPortFrom(from, uint16(port))
		if ports.isReserved(port) || !s.queues[s.rss.Queue(to, local)] {
			continue
		}
		if err := unix.Bind(fd, sockaddr(local)); !errors.Is(err, unix.EADDRINUSE) {
			return err == nil
		}
	}
	return false
}

// boundTo returns what a socket is bound to, zero if that cannot be read.
func boundTo(fd int) netip.AddrPort {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}
	}
	return addrPortOf(sa)
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

// sourceOf returns the source address that the kernel would use for a destination, which
// is asked if that is valid. It returns an error if there is no route from there, or if
// the interface does not have the address.
func (s *Steering) sourceOf(to netip.AddrPort, asked netip.Addr) (netip.Addr, error) {
	family := unix.AF_INET
	if to.Addr().Unmap().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unix.Close(fd)
	if asked.IsValid() {
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(asked, 0))); err != nil {
			return netip.Addr{}, err
		}
	}
	if err := unix.Connect(fd, sockaddr(to)); err != nil { // connecting UDP sends nothing
		return netip.Addr{}, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, err
	}
	from := addrPortOf(sa).Addr()
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

// addrPortOf returns a socket address of IP, zero for another.
func addrPortOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		addr := netip.AddrFrom16(sa.Addr)
		if ifi, err := net.InterfaceByIndex(int(sa.ZoneId)); err == nil { // fails for 0, which means no zone
			addr = addr.WithZone(ifi.Name)
		}
		return netip.AddrPortFrom(addr.Unmap(), uint16(sa.Port))
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
