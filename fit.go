package zcrx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zcrx-go/zcrx/nic"
)

// Warnings tells where the numbers of a pool on a hardware queue do not fit each other
// or the device's ring: a sentence each, with what to change. Such a pool works, but
// streams may stop and go, packets be dropped, or one connection take it from the
// others. It asks the kernel about the interface and changes nothing. NewPool tells the
// same to its loop's Logger, and PoolStats keeps it.
func (cfg PoolConfig) Warnings() []string {
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil || cfg.DeviceLess {
		return nil
	}
	f, err := nic.Read(cfg.Interface, cfg.Queue)
	if err != nil {
		return nil
	}
	return cfg.misfits(cfg.NumBuffers, f.RingEntries)
}

// ringShare is how many times the buffers that a device posts a pool should have.
const ringShare = 2

// misfits takes the number of buffers that were granted, and how many the device posts,
// 0 if that is not known.
func (cfg *PoolConfig) misfits(numBuffers, ring int) []string {
	var found []string
	if numBuffers < ringShare*ring {
		found = append(found, fmt.Sprintf("%s posts up to %d buffers of a queue, which leaves %d of the pool's %d for data on its way: "+
			"give the pool at least %d (NumBuffers), or run ethtool -G %s rx %d",
			cfg.Interface, ring, max(0, numBuffers-ring), numBuffers, ringShare*ring, cfg.Interface, max(1, numBuffers/ringShare)))
	}
	if cfg.MaxLeases > numBuffers/2 {
		found = append(found, fmt.Sprintf("a single connection may have %d leases out (MaxLeases) of %d buffers, and hold the pool nearly alone: "+
			"give the pool at least %d (NumBuffers), or lower MaxLeases", cfg.MaxLeases, numBuffers, 4*cfg.MaxLeases))
	}
	return found
}

// buffersEach is how many buffers a pool should have for each connection: about what
// one can hold that nobody reads, of those that begin when there are many.
const buffersEach = 2 * leastReadAhead

// warn tells the logger and keeps the sentence for Stats. It is for the loop's thread.
func (p *Pool) warn(text string) {
	p.loop.report("pool", errors.New(text))
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	p.warnings = append(p.warnings, text)
}

// warnOfCrowd warns once when there are more connections than fit the pool.
func (p *Pool) warnOfCrowd() {
	n := len(p.receivers.all)
	if p.crowded || p.mode != ZeroCopy || buffersEach*n <= p.NumBuffers() {
		return
	}
	p.crowded = true
	p.warn(fmt.Sprintf("%d connections share %d buffers: if nobody read them they could hold all. Give the pool at least %d for each (NumBuffers), or use more queues",
		n, p.NumBuffers(), buffersEach))
}

// addWarnings keeps each sentence once.
func addWarnings(to, more []string) []string {
	for _, text := range more {
		if !slices.Contains(to, text) {
			to = append(to, text)
		}
	}
	return to
}
