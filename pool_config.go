package zcrx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/nic"
)

// PoolConfig says what pool to make. The zero value of a number means its
// default.
type PoolConfig struct {
	// NumBuffers is the number of buffers, 1 to 16777216, by default 16384. All
	// of them together may take up to 4 GiB. A ProvidedPool has at most 32768.
	NumBuffers int
	// MaxBuffers lets a pool grow by itself up to so many buffers, by NumBuffers at
	// a time: when fewer than an eighth of them are free, or the kernel found none
	// (Linux 7.3; before, the pool stays as it is). NumBuffers to 16777216; 0 means
	// that it does not grow. NewPool alone looks at it. See Pool.Grow.
	MaxBuffers int
	// BufferSizeHint is the wanted size of a buffer in bytes, 0 to 1 GiB. 0, a
	// size below a page, or one that is no power of two mean a page. A larger
	// one needs Linux 7.0 and the interface's driver; where these refuse it, the
	// pool gets page-sized buffers of the same total size: see BufferSize.
	BufferSizeHint int
	// Memory is the kind of memory that the buffers lie in. DMABuf is the fd of
	// the caller's own dma-buf for MemoryDMABuf, mappable and large enough; 0
	// makes one. It stays the caller's, and open as long as the pool.
	Memory Memory
	DMABuf int
	// RefillEntries is the size of the queue through which buffers go back to
	// the kernel, 1 to 32768, rounded up to a power of two; by default four times
	// NumBuffers, as far as allowed.
	RefillEntries int
	// MaxLeases is the number of leases that one receiver may have out, 1 to
	// 16777216, by default a quarter of NumBuffers and at least 64. Beyond it the
	// receiver is paused: see Receiver. What the kernel has received already when
	// it pauses comes on top.
	MaxLeases int
}

// Limits and defaults of PoolConfig.
const (
	DefaultNumBuffers = 16384
	MaxNumBuffers     = 1 << 24
	MaxBufferSize     = 1 << 30
	MaxRefillEntries  = maxRefillEntries

	// Several completions may lie in one buffer, each with a refill entry of its
	// own: a packet of 1500 bytes fills a third of a page.
	refillEntriesPerBuffer = 4

	// Fewer would make a receiver stop and go.
	minDefaultLeases = 64
)

// withDefaults checks every number and fills in what is 0.
func (cfg PoolConfig) withDefaults(maxBuffers int) (PoolConfig, error) {
	if cfg.NumBuffers == 0 {
		cfg.NumBuffers = DefaultNumBuffers
	}
	if cfg.NumBuffers < 1 || cfg.NumBuffers > maxBuffers {
		return cfg, rangeError("PoolConfig.NumBuffers", int64(cfg.NumBuffers), 1, int64(maxBuffers))
	}
	if cfg.MaxBuffers != 0 && (cfg.MaxBuffers < cfg.NumBuffers || cfg.MaxBuffers > MaxNumBuffers) {
		return cfg, rangeError("PoolConfig.MaxBuffers", int64(cfg.MaxBuffers), int64(cfg.NumBuffers), MaxNumBuffers)
	}
	if cfg.BufferSizeHint < 0 || cfg.BufferSizeHint > MaxBufferSize {
		return cfg, rangeError("PoolConfig.BufferSizeHint", int64(cfg.BufferSizeHint), 0, MaxBufferSize)
	}
	if cfg.Memory > MemoryDMABuf {
		return cfg, rangeError("PoolConfig.Memory", int64(cfg.Memory), int64(MemoryAnonymous), int64(MemoryDMABuf))
	}
	if cfg.DMABuf != 0 && cfg.Memory != MemoryDMABuf {
		return cfg, fmt.Errorf("zcrx: PoolConfig.DMABuf %d goes with MemoryDMABuf, not with %v", cfg.DMABuf, cfg.Memory)
	}
	if cfg.MaxLeases == 0 {
		cfg.MaxLeases = max(minDefaultLeases, cfg.NumBuffers/4)
	}
	if cfg.MaxLeases < 1 || cfg.MaxLeases > MaxNumBuffers {
		return cfg, rangeError("PoolConfig.MaxLeases", int64(cfg.MaxLeases), 1, MaxNumBuffers)
	}
	if cfg.RefillEntries == 0 {
		cfg.RefillEntries = min(refillEntriesPerBuffer*cfg.NumBuffers, maxRefillEntries)
	}
	if cfg.RefillEntries < 1 || cfg.RefillEntries > maxRefillEntries {
		return cfg, rangeError("PoolConfig.RefillEntries", int64(cfg.RefillEntries), 1, maxRefillEntries)
	}
	cfg.RefillEntries = int(roundUpPow2(uint32(cfg.RefillEntries)))
	if size := uint64(cfg.NumBuffers) * uint64(bufferSizeFor(cfg.BufferSizeHint)); size > maxAreaSize {
		return cfg, fmt.Errorf("zcrx: %d buffers of %d bytes are %d bytes: allowed are 4 GiB, beyond which kernels before 7.3.3 cut offsets",
			cfg.NumBuffers, bufferSizeFor(cfg.BufferSizeHint), size)
	}
	return cfg, nil
}

// inPages returns the configuration of a pool of as many bytes in page-sized buffers, for
// where larger ones cannot be had. All numbers of buffers and leases grow alike, as far
// as they are allowed to.
func (cfg PoolConfig) inPages() PoolConfig {
	factor := int64(bufferSizeFor(cfg.BufferSizeHint)) / int64(sys.PageSize())
	scale := func(n *int, limit int) { *n = int(min(int64(*n)*factor, int64(limit))) }
	if cfg.NumBuffers == 0 {
		cfg.NumBuffers = DefaultNumBuffers
	}
	scale(&cfg.NumBuffers, MaxNumBuffers)
	scale(&cfg.MaxBuffers, MaxNumBuffers)
	scale(&cfg.MaxLeases, MaxNumBuffers)
	scale(&cfg.RefillEntries, maxRefillEntries)
	cfg.BufferSizeHint = 0
	return cfg
}

// Warnings tells where the numbers of a pool on that queue would not fit each other
// or the device's ring: a sentence each, with what to change. Such a pool works, but
// streams may stop and go, packets be dropped, or one connection take it from the
// others. It asks the kernel about the interface and changes nothing. NewPool tells the
// same to its loop's Logger, and PoolStats keeps it.
func (cfg PoolConfig) Warnings(queue Queue) []string {
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil {
		return nil
	}
	f, err := nic.Read(queue.Interface, queue.Number)
	if err != nil {
		return nil
	}
	return misfits(queue.Interface, cfg.NumBuffers, cfg.MaxLeases, f.RingEntries)
}

// ringShare is how many times the buffers that a device posts a pool should have.
const ringShare = 2

// misfits takes the number of buffers that were granted, and how many the device posts,
// 0 if that is not known.
func misfits(iface string, numBuffers, maxLeases, ring int) []string {
	var found []string
	if numBuffers < ringShare*ring {
		found = append(found, fmt.Sprintf("%s posts up to %d buffers of a queue, which leaves %d of the pool's %d for data on its way: "+
			"give the pool at least %d (NumBuffers), or run ethtool -G %s rx %d",
			iface, ring, max(0, numBuffers-ring), numBuffers, ringShare*ring, iface, max(1, numBuffers/ringShare)))
	}
	if maxLeases > numBuffers/2 {
		found = append(found, fmt.Sprintf("a single connection may have %d leases out (MaxLeases) of %d buffers, and hold the pool nearly alone: "+
			"give the pool at least %d (NumBuffers), or lower MaxLeases", maxLeases, numBuffers, 4*maxLeases))
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
