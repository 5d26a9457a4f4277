package nic

import (
	"fmt"
	"net"
	"net/netip"
)

// Steering picks the source ports of connections such that what the peer sends
// arrives on one of some hardware queues. It is safe for use by several goroutines.
type Steering struct {
	iface  string
	rss    *RSS
	queues map[int]bool
}

// NewSteering reads the interface's RSS. It returns an error where the queue of a flow
// cannot be foreseen, or RSS leads to none of the queues: they may be left to flow
// rules.
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

// Queue returns the queue that the packets of a connection arrive on.
func (s *Steering) Queue(conn *net.TCPConn) int {
	return s.rss.Queue(addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr()))
}

// addrPort returns the zero AddrPort for what is no TCP address.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}
