package uring

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr returns the raw address of an IP address and port, for PrepConnect, PrepBind,
// PrepSendto and SendAddr. It returns an error for an address that is not valid, and for a zone
// that is no number of an interface.
func Sockaddr(addr netip.AddrPort) ([]byte, error) {
	ip := addr.Addr()
	switch {
	case !ip.IsValid():
		return nil, fmt.Errorf("uring: address %v is not valid", addr)
	case ip.Is4():
		raw := &unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: ip.As4()}
		binary.BigEndian.PutUint16(portOf(&raw.Port), addr.Port())
		return unsafe.Slice((*byte)(unsafe.Pointer(raw)), unix.SizeofSockaddrInet4), nil
	}
	raw := &unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16()}
	binary.BigEndian.PutUint16(portOf(&raw.Port), addr.Port())
	if zone := ip.Zone(); zone != "" {
		scope, err := strconv.ParseUint(zone, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("uring: zone %q of address %v must be the number of an interface", zone, addr)
		}
		raw.Scope_id = uint32(scope)
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(raw)), unix.SizeofSockaddrInet6), nil
}

// AddrPortOf returns the IP address and port that AcceptAddr, PrepCmdGetsockname or a message's
// name has, and whether it is one.
func AddrPortOf(raw *unix.RawSockaddrAny) (netip.AddrPort, bool) {
	return ParseSockaddr(unsafe.Slice((*byte)(unsafe.Pointer(raw)), unix.SizeofSockaddrAny))
}

// ParseSockaddr returns the IP address and port of a raw address, and whether it is one.
func ParseSockaddr(raw []byte) (netip.AddrPort, bool) {
	if len(raw) < 2 {
		return netip.AddrPort{}, false
	}
	switch family := binary.NativeEndian.Uint16(raw); {
	case family == unix.AF_INET && len(raw) >= unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(raw[4:8])), binary.BigEndian.Uint16(raw[2:])), true
	case family == unix.AF_INET6 && len(raw) >= unix.SizeofSockaddrInet6:
		ip := netip.AddrFrom16([16]byte(raw[8:24]))
		if scope := binary.NativeEndian.Uint32(raw[24:]); scope != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(raw[2:])), true
	}
	return netip.AddrPort{}, false
}

func portOf(port *uint16) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(port)), 2) }
