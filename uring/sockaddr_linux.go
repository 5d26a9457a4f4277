package uring

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sockaddr returns the raw address of an IP address and port, for PrepConnect, PrepBind,
// PrepSendto and SendAddr. A zone must be the number of an interface.
func Sockaddr(addr netip.AddrPort) []byte {
	if ip := addr.Addr(); ip.Is6() {
		raw := &unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: ip.As16()}
		binary.BigEndian.PutUint16(portOf(&raw.Port), addr.Port())
		if scope, err := strconv.ParseUint(ip.Zone(), 10, 32); err == nil {
			raw.Scope_id = uint32(scope)
		}
		return unsafe.Slice((*byte)(unsafe.Pointer(raw)), unix.SizeofSockaddrInet6)
	}
	raw := &unix.RawSockaddrInet4{Family: unix.AF_INET}
	if addr.Addr().Is4() {
		raw.Addr = addr.Addr().As4()
	}
	binary.BigEndian.PutUint16(portOf(&raw.Port), addr.Port())
	return unsafe.Slice((*byte)(unsafe.Pointer(raw)), unix.SizeofSockaddrInet4)
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
