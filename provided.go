package zcrx

import (
	"context"
	"errors"
	"sync"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// ProvidedPool is the copying counterpart of a Pool: buffers in a
// provided-buffer ring (Linux 5.19), into which the kernel copies received data.
// It needs no privilege and no particular interface. Where the kernel does it right
// (Linux 6.16, and 6.12 from 6.12.107 on), small messages share a buffer, which goes
// back to the kernel once all of them are released, and large ones come as several
// buffers at once.
//
// All methods are safe from any goroutine.
type ProvidedPool struct {
	ledger
	loop  *Loop
	group uint16
	area  area // unmapped with the last lease

	numBuffers int
	bufferSize uint64
	// reason is why Auto took no better mode; set before anybody else has the
	// pool.
	reason error

	consumption   consumption
	limitsBundles bool // see limitsBundles
	progress

	// Guarded by ledger.mu:
	ring     providedRing
	owed     []int32 // by buffer: see addOwed
	supplies uint64  // buffers that came back into the ring

	receivers receiverList
}

var _ BufferPool = (*ProvidedPool)(nil)

// MaxProvidedBuffers is the largest number of buffers of a ProvidedPool.
const MaxProvidedBuffers = 32768

// NewProvidedPool makes a pool of cfg.NumBuffers (1 to 32768, by default 16384)
// buffers of cfg.BufferSizeHint bytes (a power of two of at least a page, else a
// page) on the loop's ring. The other fields of cfg do not matter. The caller
// must Close it; closing the loop closes it too. Errors match ErrNotSupported
// where the kernel or the process cannot do it.
func NewProvidedPool(loop *Loop, cfg PoolConfig) (*ProvidedPool, error) {
	return newProvidedPool(context.Background(), loop, cfg, bestConsumption())
}

// newProvidedPool waits for the loop as long as ctx allows.
func newProvidedPool(ctx context.Context, loop *Loop, cfg PoolConfig, how consumption) (*ProvidedPool, error) {
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
	err = charges.await(ctx, uint64(len(p.ring.mem)), func() error {
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

// Mode is Provided.
func (p *ProvidedPool) Mode() Mode { return Provided }

// Reason says why Auto took no better mode; nil if Provided was asked for.
func (p *ProvidedPool) Reason() error { return p.reason }

// Loop is the loop that owns the pool.
func (p *ProvidedPool) Loop() *Loop { return p.loop }

// NumBuffers is the number of buffers.
func (p *ProvidedPool) NumBuffers() int { return p.numBuffers }

// BufferSize is the size of a buffer in bytes.
func (p *ProvidedPool) BufferSize() int { return int(p.bufferSize) }

// Close ends the pool: receivers that use it end with ErrClosed, and no buffer
// is leased any more. Leases that are out stay valid until they are released.
// Close is idempotent.
func (p *ProvidedPool) Close() error { return p.loop.closeSource(p) }

// Stats is a snapshot of the pool's counters. Every byte was copied by the
// kernel.
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

func (p *ProvidedPool) prepRecv(s *uring.SQE, fd int, room uint64) (limit uint64) {
	s.PrepRecvMultishot(fd, p.group, 0)
	if !p.consumption.bundles {
		return 0
	}
	s.Ioprio |= uring.RecvSendBundle
	if !p.limitsBundles {
		return 0
	}
	limit = min(room*p.bufferSize, maxReceive)
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
	p.mu.Unlock()
	p.resumePaused()
	p.receivers.feed(now)
	if !p.setStarving(p.receivers.hungry() > 0, now.returns) {
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
	incremental bool // a buffer is filled by any number of completions, one behind the other
	bundles     bool // a completion may fill any number of buffers, one after the other
}

// inOrder tells whether a completion leaves out where its bytes lie: behind those
// of the completion before, of whichever connection.
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

// bestConsumption is how pools use buffers up on this kernel: in both ways, where it
// does them right. Large streams come faster in bundles, and small messages share
// buffers that are filled incrementally (BenchmarkConsumptionStream and -Messages).
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

// limitsBundles tells whether a receive in bundles can be given the number of bytes
// after which it ends (Linux 6.17). Without, a single completion may take every
// buffer of the pool, whatever the receiver's share.
func limitsBundles(release string) bool { return !olderKernel(release, 6, 17, 0) }

// completesInOrder tells whether a kernel's completions come in the order in which
// it used up the buffers, and each fills these without a gap. Seen to be so on 6.12.107
// and on every series from 6.16 to 7.3. The kernels between and before were being
// mended: the last completion of a receive could be overtaken by those of others
// (until 6.15), and a bundle could go on behind a buffer that it had filled half, or
// take too much of an incremental one (until 6.16).
func completesInOrder(release string) bool {
	return !olderKernel(release, 6, 16, 0) ||
		!olderKernel(release, 6, 12, 107) && olderKernel(release, 6, 13, 0)
}
