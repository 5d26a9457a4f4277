package zcrx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/nic"
)

// PoolConfig configures a pool. A number that is zero has its default.
type PoolConfig struct {
	// NumBuffers is the number of buffers, 1 to 16777216, by default 16384. Together they
	// may take up to 4 GiB. A ProvidedPool has at most 32768. It and a SocketPool have
	// fewer but larger ones by default: see NewProvidedPool and NewSocketPool.
	NumBuffers int
	// MaxBuffers lets a pool grow by itself up to this many buffers, NumBuffers to
	// 16777216. It grows by NumBuffers at a time, when fewer than an eighth of its buffers
	// are free or the kernel found none (Linux 7.3; before, the pool does not grow). 0
	// means that it does not grow. Only NewPool and NewDeviceLessPool use it. See
	// Pool.Grow.
	MaxBuffers int
	// BufferSizeHint is the wanted size of a buffer in bytes, 0 to 1 GiB. 0, a size below a
	// page, or one that is not a power of two means a page. A larger size needs Linux 7.0
	// and support in the interface's driver. Where these refuse it, the pool gets
	// page-sized buffers of the same total size: BufferSize returns what was granted.
	BufferSizeHint int
	// Memory is the kind of memory of the buffers. For MemoryDMABuf, DMABuf is the fd of a
	// dma-buf of the caller's, mappable and large enough, or 0 to make one with udmabuf.
	// The fd remains the caller's, and must stay open as long as the pool.
	Memory Memory
	DMABuf int
	// RefillEntries is the size of the queue through which buffers are returned to the
	// kernel, 1 to 32768, rounded up to a power of two; by default four times NumBuffers,
	// but at most 32768.
	RefillEntries int
	// MaxLeases is the number of leases that one receiver may have out, 1 to 16777216, by
	// default a quarter of NumBuffers and at least 64. With that many out the receiver is
	// paused: see Receiver. What else comes in the turn of the loop in which it reaches that
	// number is leased in addition: few Buffers where the pieces of a stream have about the
	// same length, but hundreds where long and short ones alternate. At most they are as
	// many as the loop's completion queue has entries (LoopConfig.CQEntries).
	MaxLeases int
}

// Limits and defaults of PoolConfig.
const (
	DefaultNumBuffers = 16384
	MaxNumBuffers     = 1 << 24
	MaxBufferSize     = 1 << 30
	MaxRefillEntries  = maxRefillEntries

	// Several completions may lie in one buffer, and each needs a refill entry: a packet of
	// 1500 bytes fills a third of a page.
	refillEntriesPerBuffer = 4

	// With fewer a receiver would be paused all the time.
	minDefaultLeases = 64
)

// withDefaults checks every number and replaces zeros by their defaults.
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

// Warnings returns a sentence for each number that does not fit the others, or the device's
// ring, in a pool on that queue; the sentence says what to change. Such a pool works, but
// streams may stall, packets be dropped, or one connection hold most buffers. Warnings asks
// the kernel about the interface and changes nothing. NewPool logs the same sentences to
// its loop's Logger, and PoolStats contains them.
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

// ringShare is how many times as many buffers as the device posts a pool should have.
const ringShare = 2

// misfits returns the sentences of Warnings. numBuffers is the number of buffers granted,
// ring how many buffers the device posts, 0 if that is not known.
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

// buffersEach is how many buffers a pool should have for each connection: about as many as
// a connection that is not read can hold, if it began when there were many.
const buffersEach = 2 * leastReadAhead

// warn logs the sentence and keeps it for Stats. It runs on the loop's thread.
func (p *Pool) warn(text string) {
	p.loop.report("pool", errors.New(text))
	p.memory.mu.Lock()
	defer p.memory.mu.Unlock()
	p.warnings = append(p.warnings, text)
}

// warnOfCrowd warns once when there are more connections than fit the pool.
func (p *Pool) warnOfCrowd() {
	n := len(p.receivers.all)
	if p.crowdWarned || p.mode != ZeroCopy || buffersEach*n <= p.NumBuffers() {
		return
	}
	p.crowdWarned = true
	p.warn(fmt.Sprintf("%d connections share %d buffers: if none were read they could hold all. Give the pool at least %d for each (NumBuffers), or use more queues",
		n, p.NumBuffers(), buffersEach))
}

// addWarnings appends the sentences of more that are not in to.
func addWarnings(to, more []string) []string {
	for _, text := range more {
		if !slices.Contains(to, text) {
			to = append(to, text)
		}
	}
	return to
}
