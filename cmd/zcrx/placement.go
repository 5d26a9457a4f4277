package main

import "fmt"

// placement is where a device put the payload that came over a receive queue, as
// its driver counts it.
type placement struct {
	PlacedBytes uint64 `json:"placed_bytes"` // in the pool's buffers: zero copy
	OtherBytes  uint64 `json:"other_bytes"`  // elsewhere: the kernel copies it
}

// since returns what was added.
func (p *placement) since(before *placement) *placement {
	return &placement{PlacedBytes: p.PlacedBytes - before.PlacedBytes, OtherBytes: p.OtherBytes - before.OtherBytes}
}

func (p *placement) String() string {
	share := 0.0
	if all := p.PlacedBytes + p.OtherBytes; all > 0 {
		share = 100 * float64(p.PlacedBytes) / float64(all)
	}
	return fmt.Sprintf("%d bytes placed by the device, %d elsewhere: %.1f %%", p.PlacedBytes, p.OtherBytes, share)
}
