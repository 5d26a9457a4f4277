package nic

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// RSS is how an interface spreads flows over its receive queues (receive side
// scaling). The device computes a Toeplitz hash of the addresses and ports of a packet,
// and looks the queue up in a table by that hash. Flow rules take precedence.
type RSS struct {
	Key   []byte // key of the hash, 40 bytes or more
	Table []int  // the indirection table: queue by hash modulo its length, at least 1
}

// minRSSKey is the number of bytes of the key that the hash of an IPv6 flow uses: one
// for each of the 36 bytes of input, and 4 more.
const minRSSKey = 40

// Queue returns the queue that a packet of the flow arrives on.
func (r *RSS) Queue(from, to netip.AddrPort) int {
	return r.Table[r.Hash(from, to)%uint32(len(r.Table))]
}

// LeadsTo reports whether any flow arrives on one of the queues.
func (r *RSS) LeadsTo(queues ...int) bool {
	return slices.ContainsFunc(r.Table, func(q int) bool { return slices.Contains(queues, q) })
}

// Hash returns the Toeplitz hash over source and destination address, then source and
// destination port, as network cards compute it for Microsoft's RSS.
func (r *RSS) Hash(from, to netip.AddrPort) uint32 {
	var input [36]byte
	b := append(input[:0], from.Addr().Unmap().AsSlice()...)
	b = append(b, to.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	var hash uint32
	for i, v := range b {
		// The key's 40 bits from here on. A bit of v takes the 32 of them that begin
		// at its own position.
		window := uint64(binary.BigEndian.Uint32(r.Key[i:]))<<8 | uint64(r.Key[i+4])
		for v != 0 {
			bit := bits.LeadingZeros8(v)
			hash ^= uint32(window >> (8 - bit))
			v &^= 0x80 >> bit
		}
	}
	return hash
}
