package zcrx

import (
	"context"
	"errors"
	"sync"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// ProvidedPool is the copying counterpart of a Pool: buffers in a provided-buffer ring
// (Linux 5.19), into which the kernel copies received data. It needs no privilege and no
// particular interface. On kernels that do it correctly (from 6.16 on, and 6.12 from
// 6.12.107 on) small messages share a buffer, which returns to the kernel when all of them
// are released, and large ones come as several buffers at once.
//
// All methods are safe from any goroutine.
type ProvidedPool struct {
	ledger
	loop  *Loop
	group uint16
	area  area // unmapped after the last lease is released

	numBuffers int
	bufferSize uint64
	// reason says why Auto chose no better mode; set before the pool is returned.
	reason error

	consumption   consumption
	limitsBundles bool // see limitsBundles
	progress

	// Guarded by ledger.mu:
	ring     providedRing
	owed     []int32 // by buffer: see addOwed
	supplies uint64  // buffers that returned to the ring so far

	receivers receiverList
}

var _ BufferPool = (*ProvidedPool)(nil)

// MaxProvidedBuffers is the largest number of buffers of a ProvidedPool.
const MaxProvidedBuffers = 32768

// defaultSharedBuffers and defaultSharedSize are the number and the size in bytes of buffers
// that are filled incrementally, if the caller chooses neither. Large streams take half the
// CPU time with buffers of 64 KiB that they take with pages; small messages share a buffer.
const (
	defaultSharedBuffers = 1024
	defaultSharedSize    = 64 << 10
)

// NewProvidedPool makes a pool of cfg.NumBuffers buffers (1 to 32768) of cfg.BufferSizeHint
// bytes (a power of two of at least a page, else a page) on the loop's ring. If both are 0
// they are 1024 buffers of 64 KiB where the kernel fills a buffer with several receives
// (6.16, 6.12.107), and 16384 pages elsewhere. It also uses cfg.Memory, which must not be
// MemoryDMABuf, and cfg.MaxLeases. The caller must Close the pool; closing the loop closes it
// too. Errors match ErrNotSupported where the kernel or the process does not support it.
func NewProvidedPool(loop *Loop, cfg PoolConfig) (*ProvidedPool, error) {
	return newProvidedPool(context.Background(), loop, cfg, bestConsumption())
}

// newProvidedPool is NewProvidedPool that uses buffers up in the given way, and waits for
// the loop as long as ctx allows.
func newProvidedPool(ctx context.Context, loop *Loop, cfg PoolConfig, how consumption) (*ProvidedPool, error) {
	if cfg.NumBuffers == 0 && cfg.BufferSizeHint == 0 && how.incremental {
		cfg.NumBuffers, cfg.BufferSizeHint = defaultSharedBuffers, defaultSharedSize
	}
	cfg, err := cfg.withDefaults(MaxProvidedBuffers)
	if err != nil {
		return nil, err
	}
	if cfg.Memory == MemoryDMABuf {
		return nil, errors.New("zcrx: a provided pool cannot lie in a dma-buf: the kernel copies into user memory")
	}
	p := &ProvidedPool{loop: loop, numBuffers: cfg.NumBuffers, consumption: how, limitsBundles: limitsBundles(sys.KernelRelease()), owed: make([]int32, cfg.NumBuffers)}
	p.ledger.init(new(sync.Mutex), p, loop.wake)
	p.maxLeases = uint64(cfg.MaxLeases)
	if p.area, err = newArea(cfg.Memory, cfg.NumBuffers, uintptr(bufferSizeFor(cfg.BufferSizeHint)), -1); err != nil {
		return nil, err
	}
	p.bufferSize = p.area.bufferSize
	if p.ring, err = mapProvidedRing(roundUpPow2(uint32(cfg.NumBuffers))); err != nil {
		p.free()
		return nil, err
	}
	for id := range cfg.NumBuffers {
		p.put(uint16(id))
	}
	p.ring.publish()
	err = charges.retry(ctx, uint64(len(p.ring.mem)), func() error {
		return loop.Do(ctx, func(*uring.Ring) error { return p.registerOn(loop.ring) })
	})
	if err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

func (p *ProvidedPool) registerOn(r *zcrxRing) error {
	group, err := p.loop.newBufferGroup()
	if err != nil {
		return err
	}
	var flags uring.BufRingFlags
	if p.consumption.incremental {
		flags = uring.BufRingIncremental
	}
	if err := r.registerBufRing(unsafe.Pointer(unsafe.SliceData(p.ring.mem)), p.ring.entries, group, flags); err != nil {
		p.loop.freeBufferGroup(group)
		return err
	}
	p.group = group
	p.loop.addSource(p)
	return nil
}

// Mode returns Provided.
func (p *ProvidedPool) Mode() Mode { return Provided }

// Reason says why Auto did not choose a better mode; nil if Provided was asked for.
func (p *ProvidedPool) Reason() error { return p.reason }

// Loop returns the loop that owns the pool.
func (p *ProvidedPool) Loop() *Loop { return p.loop }

// NumBuffers returns the number of buffers.
func (p *ProvidedPool) NumBuffers() int { return p.numBuffers }

// BufferSize returns the size of a buffer in bytes.
func (p *ProvidedPool) BufferSize() int { return int(p.bufferSize) }

// Close closes the pool: its receivers end with ErrClosed, and no further buffer is leased.
// Leases that are out stay valid until they are released. Close may be called repeatedly.
func (p *ProvidedPool) Close() error { return p.loop.closeSource(p) }

// Stats returns a snapshot of the pool's counters. CopiedBytes is Bytes, because the kernel
// copies every byte.
func (p *ProvidedPool) Stats() PoolStats {
	s := p.ledger.stats()
	p.receivers.addTo(&s)
	s.CopiedBytes = s.Bytes
	return s
}

func (p *ProvidedPool) returnCount() uint64  { return p.supplies }
func (p *ProvidedPool) starvingChanged(bool) {}

func (p *ProvidedPool) free() {
	p.area.unmap()
	p.ring.unmap()
}

func (p *ProvidedPool) queueWasFull()  {}
func (p *ProvidedPool) size() int      { return p.numBuffers }
func (p *ProvidedPool) window(int) int { return 0 } // what sockets queue lies in the kernel's memory

func (p *ProvidedPool) prepRecv(s *uring.SQE, fd int, bytes uint64) (limit uint64) {
	s.PrepRecvMultishot(fd, p.group, 0)
	if !p.consumption.bundles {
		return 0
	}
	s.Ioprio |= uring.RecvSendBundle
	if !p.limitsBundles {
		return 0
	}
	limit = min(bytes, maxReceive)
	s.LimitMultishot(uint32(limit))
	return limit
}

func (p *ProvidedPool) supplied() supply     { return supply{returns: p.seenReturns()} }
func (p *ProvidedPool) users() *receiverList { return &p.receivers }

func (p *ProvidedPool) failReceivers(err error)  { p.receivers.failAll(err) }
func (p *ProvidedPool) closeReceivers(fn func()) { p.receivers.close(fn) }
func (p *ProvidedPool) abandonReceivers()        { p.receivers.abandon() }
func (p *ProvidedPool) accounts() *ledger        { return &p.ledger }

func (p *ProvidedPool) beforeTurn(l *Loop) {
	p.mu.Lock()
	p.woken = false
	now := supply{returns: p.supplies}
	s := strain{
		out: p.outstandingLocked() - p.moved.leases, size: p.numBuffers, bufferSize: p.bufferSize, moved: p.moved.bytes,
		receivers: len(p.receivers.all),
	}
	p.mu.Unlock()
	p.receivers.relieve(l, &s)
	p.resumePaused()
	p.receivers.feed(now)
	if !p.setStarving(p.receivers.numWaiting() > 0, now.returns) {
		l.again = true
	}
}

func (p *ProvidedPool) detach(r *zcrxRing) {
	if err := r.unregisterBufRing(p.group); err == nil {
		p.loop.freeBufferGroup(p.group)
	}
}

// consumption is how the kernel uses up provided buffers.
type consumption struct {
	incremental bool // a buffer may be filled by several completions, one after the other
	bundles     bool // a completion may fill several buffers, one after the other
}

// inOrder reports whether completions do not say where their bytes lie. They lie behind
// those of the completion before, of any connection.
func (c consumption) inOrder() bool { return c.incremental || c.bundles }

func (c consumption) String() string {
	switch c {
	case consumption{incremental: true, bundles: true}:
		return "incremental bundles"
	case consumption{incremental: true}:
		return "incremental"
	case consumption{bundles: true}:
		return "bundles"
	}
	return "whole"
}

// bestConsumption returns how pools use buffers up on this kernel: in both ways, where the
// kernel does that correctly. Large streams are faster in bundles, and small messages share
// buffers that are filled incrementally (BenchmarkConsumptionStream,
// BenchmarkConsumptionMessages).
func bestConsumption() consumption {
	features, err := ProbeFeatures()
	if err != nil || !completesInOrder(features.Kernel) {
		return consumption{}
	}
	return consumption{
		incremental: features.Have(FeatureIncrementalBuffers) == nil,
		bundles:     features.Have(FeatureBundles) == nil && limitsBundles(features.Kernel),
	}
}

// limitsBundles reports whether a receive in bundles can be given a number of bytes after
// which it ends (Linux 6.17). Without that limit, a single completion may take every buffer
// of the pool, whatever the receiver's share.
func limitsBundles(release string) bool { return !olderKernel(release, 6, 17, 0) }

// completesInOrder reports whether a kernel's completions come in the order in which it
// used up the buffers, and each fills its buffers without a gap. That was tested on
// 6.12.107 and on every series from 6.16 to 7.3. On other kernels the last completion of a
// receive could come after those of others (until 6.15), and a bundle could continue behind
// a buffer that it had filled half, or take too much of an incremental one (until 6.16).
func completesInOrder(release string) bool {
	return !olderKernel(release, 6, 16, 0) ||
		!olderKernel(release, 6, 12, 107) && olderKernel(release, 6, 13, 0)
}
