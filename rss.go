package zcrx

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// rssTable is how an interface spreads flows over its receive queues: a Toeplitz
// hash of the addresses and ports, and a table from its low bits to queues.
type rssTable struct {
	key    []byte   // 40 bytes or more
	queues []uint32 // the indirection table
}

// minRSSKey is what the hash of an IPv6 flow takes of the key: 36 bytes of input,
// and 32 bits behind.
const minRSSKey = 40

// queue is the one that a packet of the flow arrives on.
func (t *rssTable) queue(from, to netip.AddrPort) uint32 {
	return t.queues[t.hash(from, to)%uint32(len(t.queues))]
}

// leadsTo tells whether any flow arrives on one of the queues.
func (t *rssTable) leadsTo(queues map[uint32]bool) bool {
	for _, q := range t.queues {
		if queues[q] {
			return true
		}
	}
	return false
}

// hash is Microsoft's Toeplitz hash over source and destination address, then
// source and destination port, as network cards compute it.
func (t *rssTable) hash(from, to netip.AddrPort) uint32 {
	var input [36]byte
	b := append(input[:0], from.Addr().Unmap().AsSlice()...)
	b = append(b, to.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	var hash uint32
	for i, v := range b {
		// The key's 40 bits from here on; its upper 32, moved on by a bit each time.
		window := uint64(binary.BigEndian.Uint32(t.key[i:]))<<8 | uint64(t.key[i+4])
		for v != 0 {
			bit := bits.LeadingZeros8(v)
			hash ^= uint32(window >> (8 - bit))
			v &^= 0x80 >> bit
		}
	}
	return hash
}
