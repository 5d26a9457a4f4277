package nic

import (
	"fmt"
	"net"
	"net/netip"
)

// Steering chooses the source ports of outgoing connections so that the packets of the
// peer arrive on one of a set of queues. It may be used by several goroutines at once.
type Steering struct {
	iface  string
	rss    *RSS
	queues map[int]bool
	from   netip.Addr // source address; invalid: the kernel chooses it
}

// NewSteering reads the interface's RSS and returns a Steering to the queues. It returns
// an error if ReadRSS does, or if RSS leads to none of the queues, as where only flow
// rules lead to them.
func NewSteering(iface string, queues []int) (*Steering, error) {
	rss, err := ReadRSS(iface)
	if err != nil {
		return nil, err
	}
	if !rss.LeadsTo(queues...) {
		return nil, fmt.Errorf("zcrx: RSS of %q leads to none of the queues %v", iface, queues)
	}
	return newSteering(iface, rss, queues...), nil
}

func newSteering(iface string, rss *RSS, queues ...int) *Steering {
	s := &Steering{iface: iface, rss: rss, queues: map[int]bool{}}
	for _, q := range queues {
		s.queues[q] = true
	}
	return s
}

// From returns a Steering to the same queues whose connections have the source address
// local, as with net.Dialer.LocalAddr, which cannot be used with Control. Control returns
// an error if a socket cannot have the address. If local is the zero Addr or unspecified
// (0.0.0.0 or ::), the kernel chooses the address.
func (s *Steering) From(local netip.Addr) *Steering {
	if local.IsUnspecified() {
		local = netip.Addr{}
	}
	from := *s
	from.from = local.Unmap()
	return &from
}

// Queue returns the queue that the packets of a connection arrive on.
func (s *Steering) Queue(conn *net.TCPConn) int {
	return s.rss.Queue(addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()))
}

// addrPort returns a TCP address as an AddrPort, the zero AddrPort for other addresses.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
