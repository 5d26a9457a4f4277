package zcrx

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// BufferPool is what a Receiver takes its buffers from: a *Pool, filled by zero
// copy, or a *ProvidedPool, filled by copying.
type BufferPool interface {
	// Mode is how received bytes come into the buffers.
	Mode() Mode
	// Reason says why OpenPool took no better mode for Auto; nil else.
	Reason() error
	// Loop is the loop that owns the pool.
	Loop() *Loop
	// NumBuffers and BufferSize are what was really granted; BufferSize is in
	// bytes.
	NumBuffers() int
	BufferSize() int
	// Stats is a snapshot.
	Stats() PoolStats
	// Close ends the pool. See the implementations.
	Close() error

	source
}

// Pool is a buffer area and a refill queue that the kernel puts received data
// into, registered on the ring of a Loop.
//
// All methods are safe from any goroutine. The kernel has no call to unregister
// a pool: its registration ends with its loop.
type Pool struct {
	ledger
	loop    *Loop
	id      ZCRXID
	mode    Mode
	region  []byte // refill queue and statistics
	entries uint32

	bufferSize uint64
	memory     Memory
	numBuffers atomic.Int64

	// refill and waiting are guarded by ledger.mu: producers write them from
	// any goroutine.
	refillQueue refillQueue
	waiting     offsetQueue
	refillFull  atomic.Uint64 // returns that found the refill queue full

	// Of the loop's thread:
	areas     []area // by the id in the upper bits of an offset
	grown     bool   // buffers were added: receives that wait may be armed
	receivers receiverList
	events    uint64 // user data of the pool's events
	canFlush  bool
	flushAt   uint32 // device-less: flush when so many entries are pending
	dry       bool   // every buffer is out, and a receive may sleep on it: see noteDry
	sleepsDry bool   // the kernel does that
	flushErr  error  // a failed flush: the kernel gets no buffers any more

	flushes       atomic.Uint64 // system calls
	flushErrors   atomic.Uint64
	allocFailures atomic.Uint64
	copyEvents    atomic.Uint64
	copied        *copyStats // in region, written by the kernel; nil before 7.2
	lastCopied    copyStats  // what copied said when region was unmapped; guarded by ledger.mu
}

var _ BufferPool = (*Pool)(nil)

// registerPatience bounds how long NewPool waits for the kernel to end an
// earlier owner's registration: its teardown is asynchronous and takes up to
// some seconds.
const registerPatience = 5 * time.Second

// NewPool makes a pool and registers it on the loop's ring: on a hardware queue,
// or device-less. It needs CAP_NET_ADMIN in the initial user namespace. The
// caller must Close it; closing the loop closes it too.
//
// Errors match ErrNotSupported where kernel, process or device cannot do it;
// they name the layer and the remedy. A queue that is still being given up by
// an earlier owner is waited for, up to 5 seconds or as long as ctx allows.
func NewPool(ctx context.Context, loop *Loop, cfg PoolConfig) (*Pool, error) {
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil {
		return nil, err
	}
	mode, need := ZeroCopy, FeatureZeroCopy
	if cfg.DeviceLess {
		mode, need = DeviceLess, FeatureDeviceLess
	}
	ifindex, err := cfg.resolveInterface()
	if err != nil {
		return nil, err
	}
	if err := have(need); err != nil {
		return nil, err
	}
	features, err := ProbeFeatures()
	if err != nil {
		return nil, err
	}
	if !loop.wideCompletions() {
		return nil, fmt.Errorf("zcrx: the loop's completions have 16 bytes: a pool needs LoopConfig.CompletionSize CompletionAuto, Completion32 or CompletionMixed")
	}
	p := &Pool{loop: loop, mode: mode, canFlush: features.Have(FeatureFlush) == nil}
	p.sleepsDry = mode == DeviceLess && olderKernel(features.Kernel, 7, 2, 10)
	p.ledger.init(p, loop.wake)
	size := bufferSizeFor(cfg.BufferSizeHint)
	if size > int(pageSize()) && (mode == DeviceLess || features.Have(FeatureBufferSize) != nil) {
		size = p.pageSizedInstead(&cfg, size)
	}
	err = p.register(ctx, features, cfg, ifindex, size)
	if size > int(pageSize()) && refusesBufferSize(err) {
		err = p.register(ctx, features, cfg, ifindex, p.pageSizedInstead(&cfg, size))
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// pageSizedInstead asks for page-sized buffers of the same total size.
func (p *Pool) pageSizedInstead(cfg *PoolConfig, size int) int {
	page := int(pageSize())
	cfg.NumBuffers *= size / page
	return page
}

func refusesBufferSize(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ERANGE) || errors.Is(err, syscall.EOPNOTSUPP)
}

// register maps the memory and registers it. On failure nothing stays mapped.
func (p *Pool) register(ctx context.Context, features *Features, cfg PoolConfig, ifindex, bufferSize int) (err error) {
	p.entries = uint32(cfg.RefillEntries)
	p.flushAt = max(1, min(p.entries, uint32(cfg.NumBuffers))/4)
	dmabuf := -1
	if cfg.DMABuf > 0 {
		dmabuf = cfg.DMABuf
	}
	a, err := newArea(cfg.Memory, cfg.NumBuffers, uintptr(bufferSize), dmabuf)
	if err != nil {
		return err
	}
	p.areas, p.bufferSize, p.memory = []area{a}, a.bufferSize, cfg.Memory
	p.numBuffers.Store(int64(a.buffers()))
	page := pageSize()
	if p.region, err = mapAnonymous(refillRegionSize(p.entries, page), page); err != nil {
		p.unmap()
		return fmt.Errorf("zcrx: map refill queue of %d entries: %w", p.entries, err)
	}
	adviseReceive(p.region)
	req := ifqRequest{
		ifindex: uint32(ifindex), queue: uint32(cfg.Queue), refillEntries: p.entries,
		regionAddr: sliceAddr(p.region), regionSize: uint64(len(p.region)),
	}
	a.describe(&req)
	if p.mode == DeviceLess {
		req.flags |= regDeviceLess
	}
	if bufferSize > int(page) {
		req.bufferSize = uint32(bufferSize)
	}
	if features.Have(FeatureEvents) == nil && features.EventStatsSize >= int(copyStatsSize) {
		req.eventMask = 1<<EventAllocFailed | 1<<EventCopy
		req.statsOffset = uint64(len(p.region)) - uint64(copyStatsSize)
	}
	err = retryExist(ctx, func() error {
		return p.loop.Do(ctx, func(r *Ring) error { return p.registerOn(r, req) })
	})
	if err != nil {
		p.unmap()
	}
	return err
}

// retryExist calls register until it answers something else than EEXIST, with
// growing pauses, for registerPatience or as long as ctx allows.
func retryExist(ctx context.Context, register func() error) error {
	deadline := time.Now().Add(registerPatience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := register()
		// Attached XDP answers EEXIST as well, and does not go away by itself.
		if !errors.Is(err, syscall.EEXIST) || errors.Is(err, ErrNotSupported) || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// registerOn registers the pool on its loop's ring. It runs on the loop.
func (p *Pool) registerOn(r *Ring, req ifqRequest) error {
	events := p.loop.ops.add((*poolEvents)(p), opPersistent)
	req.eventUserData = events
	a, err := r.registerIfq(req)
	if err != nil {
		p.loop.ops.remove(events)
		return err
	}
	p.id, p.events = a.id, events
	if p.refillQueue, err = newRefillQueue(p.region, a.offsets, p.entries); err != nil {
		return err // the kernel has pinned the memory: unmapping it is safe
	}
	if req.statsOffset > 0 {
		p.copied = (*copyStats)(unsafe.Pointer(&p.region[req.statsOffset]))
	}
	p.loop.addSource(p)
	return nil
}

// Mode is ZeroCopy or DeviceLess.
func (p *Pool) Mode() Mode { return p.mode }

// Reason is nil: there is no better mode.
func (p *Pool) Reason() error { return nil }

// Loop is the loop that owns the pool.
func (p *Pool) Loop() *Loop { return p.loop }

// ID names the pool in RECV_ZC requests on its loop's ring.
func (p *Pool) ID() ZCRXID { return p.id }

// NumBuffers is the number of buffers; Grow adds to it.
func (p *Pool) NumBuffers() int { return int(p.numBuffers.Load()) }

// BufferSize is the size of a buffer in bytes: the hint's where it was granted,
// else a page.
func (p *Pool) BufferSize() int { return int(p.bufferSize) }

// RefillEntries is the size of the refill queue.
func (p *Pool) RefillEntries() int { return int(p.entries) }

// Close ends the pool: receivers that use it end with ErrClosed, and no buffer
// is leased any more. It does not wait for leases that are out: their memory
// stays until the last is released, and Stats().Outstanding tells how many there
// are. Close is idempotent.
func (p *Pool) Close() error { return p.loop.closeSource(p) }

// refill is called with the ledger's lock held: the offset goes into the refill
// queue, or waits until there is room.
func (p *Pool) refill(offset uint64) (ownerNeeded bool) {
	// Nothing overtakes what waits already.
	if p.waiting.len() == 0 && p.refillQueue.push(offset) {
		return false
	}
	p.waiting.push(offset)
	p.drainLocked()
	if p.waiting.len() == 0 {
		return false
	}
	p.refillFull.Add(1)
	return true
}

// drainLocked moves waiting offsets into the refill queue as far as there is
// room.
func (p *Pool) drainLocked() {
	for p.waiting.len() > 0 && p.refillQueue.push(p.waiting.first()) {
		p.waiting.drop()
	}
}

func (p *Pool) publish() { p.refillQueue.publish() }

func (p *Pool) free() {
	p.lastCopied = p.readCopied()
	p.copied = nil
	p.unmap()
}

// unmap gives the memory back. The kernel, should it still hold pages, has
// pinned them.
func (p *Pool) unmap() {
	for i := range p.areas {
		p.areas[i].unmap()
	}
	if p.region != nil {
		_ = unmap(p.region)
		p.region = nil
	}
}

// drain is the owner's part in every turn. It answers how many offsets still
// wait.
func (p *Pool) drain() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.woken = false
	p.drainLocked()
	p.refillQueue.publish()
	return p.waiting.len()
}

// take turns a data completion into a Buffer.
func (p *Pool) take(c *CQE) (Buffer, error) {
	offset := c.Big[0]
	id := offset >> areaShift
	if id >= uint64(len(p.areas)) {
		return Buffer{}, fmt.Errorf("%w: area %d of %d", errBadCompletion, id, len(p.areas))
	}
	data, err := p.areas[id].locate(offset&areaMask, uint64(c.Res))
	if err != nil {
		return Buffer{}, err
	}
	// The kernel's own offset goes back verbatim: area and buffer are in it.
	b := p.lease(data, uint32(c.Res), offset)
	p.noteDry()
	return b, nil
}
