package zcrx

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/nic"
	"github.com/zcrx-go/zcrx/uring"
)

// BufferPool is a pool that a Receiver takes its buffers from: a *Pool, filled by zero
// copy, or a *ProvidedPool, filled by copying. No other type can implement it. All methods
// are safe from any goroutine.
type BufferPool interface {
	// Mode returns how received bytes get into the buffers.
	Mode() Mode
	// Reason says why OpenPool with Auto did not choose a better mode; nil otherwise.
	Reason() error
	// Loop returns the loop that owns the pool.
	Loop() *Loop
	// NumBuffers and BufferSize return what was granted. BufferSize is in bytes.
	NumBuffers() int
	BufferSize() int
	// MaxLeases returns how many leases one receiver may have out.
	MaxLeases() int
	// Stats returns a snapshot of the pool's counters.
	Stats() PoolStats
	// Close closes the pool. See the implementations.
	Close() error

	source
}

// Pool is a buffer area and a refill queue, registered on the ring of a Loop, into which
// the kernel puts received data. An imported Pool shares both with the pool that another
// loop registered (see Export and ImportPool). Pools come from NewPool, NewDeviceLessPool,
// ImportPool and OpenPool.
//
// All methods are safe from any goroutine. The kernel has no call to unregister a pool: its
// registration ends with its loop.
type Pool struct {
	ledger // of this member's leases; its mu is memory.mu
	loop   *Loop
	memory *poolMemory
	id     ZCRXID
	mode   Mode
	owner  bool
	queue  Queue  // the zero Queue for a device-less pool
	napiID uint32 // of the NAPI instance that serves queue; 0 if not known

	grown      atomic.Bool   // buffers were added: arm the receives that wait
	refillFull atomic.Uint64 // returns that found the refill queue full

	// The fields down to flushErr and crowdWarned belong to the loop's thread.
	receivers receiverList
	events    uint64 // user data of the owner's pool events
	canFlush  bool
	flushAt   uint32 // device-less: flush when this many entries are pending
	// nudgeOnSupply: every buffer was out, so a receive may be asleep. Nudge the receives once
	// buffers come; see sleepWatch.
	nudgeOnSupply   bool
	exhaustionsSeen uint32 // memory.exhaustions, as last read
	// nudgeNow: the completion queue was full, so a receive may be asleep. Nudge the receives
	// in the next turn.
	nudgeNow bool
	// leavesAsleep: this kernel (before 7.2.10) leaves a receive asleep instead of ending
	// it with an error.
	leavesAsleep bool
	growth       growth
	rescues      bool      // sockets are read if the kernel cannot copy: see rescue
	nextLook     time.Time // when the running timer looks at the receivers that wait: see lookAgain
	// rescueMemory is what sockets are read into; nil until it is needed.
	rescueMemory []byte
	flushErr     error // the error of a failed flush: this member flushes no more

	crowdWarned bool     // the warning of too many connections was given; of the loop's thread
	warnings    []string // guarded by memory.mu: see PoolConfig.Warnings
	waits       bool     // guarded by memory.mu: a receiver waits for a buffer: see poolMemory.strainOn
	cannotFlush bool     // guarded by memory.mu: a turn of this member's loop would not make room

	rescued, rescuedBytes, stalls atomic.Uint64

	flushes       atomic.Uint64 // system calls
	flushErrors   atomic.Uint64
	allocFailures atomic.Uint64
	copyEvents    atomic.Uint64
}

var _ BufferPool = (*Pool)(nil)

// registerTimeout bounds how long NewPool waits for the kernel to end the registration of
// an earlier owner: that is asynchronous and can take some seconds.
const registerTimeout = 5 * time.Second

// NewPool makes a pool on a hardware queue and registers it on the loop's ring. It needs
// Linux 6.15 and CAP_NET_ADMIN in the initial user namespace. The caller must Close it;
// closing the loop closes it too.
//
// Errors match ErrNotSupported where kernel, process or device do not support it, and name
// the layer and the remedy. NewPool waits up to 5 seconds for a queue whose earlier owner
// has ended, and up to 2 seconds for memlock charges of rings that were closed shortly
// before, both only as long as ctx allows.
func NewPool(ctx context.Context, loop *Loop, queue Queue, cfg PoolConfig) (*Pool, error) {
	if _, err := cfg.withDefaults(MaxNumBuffers); err != nil {
		return nil, err
	}
	ifindex, err := queue.resolve()
	if err != nil {
		return nil, err
	}
	p, err := newPool(ctx, loop, queue, ifindex, cfg, FeatureZeroCopy)
	if err != nil {
		return nil, err
	}
	f := nic.ReadIndex(ifindex, queue.Number)
	p.napiID = f.NAPIID
	for _, text := range misfits(queue.Interface, p.NumBuffers(), p.MaxLeases(), f.RingEntries) {
		p.loop.report("pool", errors.New(text))
		p.warnings = append(p.warnings, text)
	}
	return p, nil
}

// NewDeviceLessPool makes a pool without a hardware queue (Linux 7.1): the kernel copies
// into the buffers. It is for development and tests. Otherwise it is as NewPool.
func NewDeviceLessPool(ctx context.Context, loop *Loop, cfg PoolConfig) (*Pool, error) {
	if _, err := cfg.withDefaults(MaxNumBuffers); err != nil {
		return nil, err
	}
	if cfg.Memory == MemoryDMABuf {
		return nil, errors.New("zcrx: a device-less pool cannot lie in a dma-buf: the kernel copies into user memory")
	}
	return newPool(ctx, loop, Queue{}, 0, cfg, FeatureDeviceLess)
}

// newPool makes the owner of a pool on queue, or of a device-less one if need is
// FeatureDeviceLess. cfg is what the caller gave, which withDefaults accepts.
func newPool(ctx context.Context, loop *Loop, queue Queue, ifindex int, cfg PoolConfig, need Feature) (*Pool, error) {
	if err := Have(need); err != nil {
		return nil, err
	}
	features, err := ProbeFeatures()
	if err != nil {
		return nil, err
	}
	if err := loop.needWideCompletions(); err != nil {
		return nil, err
	}
	mode := ZeroCopy
	if need == FeatureDeviceLess {
		mode = DeviceLess
	}
	p := newMember(loop, mode, features)
	p.owner, p.queue = true, queue
	large := bufferSizeFor(cfg.BufferSizeHint) > int(sys.PageSize())
	if large && (mode == DeviceLess || features.Have(FeatureBufferSize) != nil) {
		cfg, large = cfg.inPages(), false
	}
	err = p.register(ctx, features, cfg, ifindex)
	if large && refusesBufferSize(err) {
		err = p.register(ctx, features, cfg.inPages(), ifindex)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

func refusesBufferSize(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ERANGE) || errors.Is(err, syscall.EOPNOTSUPP)
}

// newMember makes a member of a pool, without memory or ring.
func newMember(loop *Loop, mode Mode, features *Features) *Pool {
	p := &Pool{
		loop: loop, mode: mode, canFlush: features.Have(FeatureFlush) == nil,
		rescues:      mode == ZeroCopy,
		leavesAsleep: olderKernel(features.Kernel, 7, 2, 10),
	}
	p.cannotFlush = !p.canFlush
	p.receivers.sleeps.on = p.leavesAsleep && mode == ZeroCopy
	return p
}

// setMemory makes m the member's memory.
func (p *Pool) setMemory(m *poolMemory) {
	p.memory = m
	p.flushAt = max(1, min(m.entries, uint32(m.numBuffers.Load()))/4)
	p.ledger.init(&m.mu, p, p.loop.wake)
	p.moved = &m.moved
	p.maxLeases = m.maxLeases
}

// register maps the memory and registers it. After an error nothing stays mapped.
func (p *Pool) register(ctx context.Context, features *Features, cfg PoolConfig, ifindex int) error {
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil {
		return err
	}
	bufferSize := bufferSizeFor(cfg.BufferSizeHint)
	m, err := mapPoolMemory(&cfg, cfg.NumBuffers, bufferSize)
	if err != nil {
		return err
	}
	p.setMemory(m)
	p.growth = growth{most: cfg.MaxBuffers, step: cfg.NumBuffers}
	m.mayGrow.Store(cfg.MaxBuffers > cfg.NumBuffers)
	m.growable.Store(m.mayGrow.Load() && Have(FeatureAddArea) == nil)
	req := ifqRequest{
		ifindex: uint32(ifindex), queue: uint32(p.queue.Number), refillEntries: m.entries,
		regionAddr: sliceAddr(m.region), regionSize: uint64(len(m.region)),
	}
	(*m.areas.Load())[0].describe(&req)
	if p.mode == DeviceLess {
		req.flags |= regDeviceLess
	}
	if bufferSize > int(sys.PageSize()) {
		req.bufferSize = uint32(bufferSize)
	}
	if features.Have(FeatureEvents) == nil && features.EventStatsSize >= int(copyStatsSize) {
		req.eventMask = 1<<eventAllocFailed | 1<<eventCopy
		req.statsOffset = uint64(len(m.region)) - uint64(copyStatsSize)
	}
	err = retryExist(ctx, func() error {
		return charges.retry(ctx, req.pinned(), func() error {
			return p.loop.Do(ctx, func(*uring.Ring) error { return p.registerOn(p.loop.ring, req) })
		})
	})
	if err != nil {
		m.unmap()
	}
	return err
}

// retryExist calls register until it returns something other than EEXIST, with growing
// pauses, for registerTimeout or as long as ctx allows.
func retryExist(ctx context.Context, register func() error) error {
	deadline := time.Now().Add(registerTimeout)
	var taken error // what register returned last
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		if err := ctx.Err(); err != nil && taken != nil {
			return errors.Join(err, taken)
		}
		err := register()
		// Attached XDP causes EEXIST as well, and is not going to end by itself.
		if !errors.Is(err, syscall.EEXIST) || errors.Is(err, ErrNotSupported) || time.Now().Add(pause).After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		taken = err
	}
}

// registerOn registers the pool on its loop's ring. It runs on the loop's thread.
func (p *Pool) registerOn(r *zcrxRing, req ifqRequest) error {
	events := p.loop.ops.add((*poolEvents)(p), opPersistent)
	req.eventUserData = events
	a, err := r.registerIfq(req)
	if err != nil {
		p.loop.ops.remove(events)
		return err
	}
	p.id, p.events = a.id, events
	m := p.memory
	if m.refillQueue, err = newRefillQueue(m.region, a.offsets, m.entries); err != nil {
		p.loop.ops.mute(events)
		return err // unmapping is safe: the kernel has pinned the memory
	}
	if req.statsOffset > 0 {
		m.copied = (*copyStats)(unsafe.Pointer(&m.region[req.statsOffset]))
	}
	m.hold()
	m.join(p)
	p.loop.addSource(p)
	return nil
}

// Mode returns ZeroCopy or DeviceLess.
func (p *Pool) Mode() Mode { return p.mode }

// Reason returns nil: there is no better mode.
func (p *Pool) Reason() error { return nil }

// Loop returns the loop that owns the pool.
func (p *Pool) Loop() *Loop { return p.loop }

// ID returns the pool's id for RECV_ZC requests on its loop's ring.
func (p *Pool) ID() ZCRXID { return p.id }

// Queue returns the hardware queue that the pool is registered on; the zero Queue for a
// device-less pool.
func (p *Pool) Queue() Queue { return p.queue }

// NAPIID returns the number of the NAPI instance that served the pool's hardware queue when
// the pool was made (Linux 6.8). The socket option SO_INCOMING_NAPI_ID returns the instance
// that a connection's packets came through. NAPIID is 0 if driver or kernel do not report
// it, and for a device-less pool.
func (p *Pool) NAPIID() int { return int(p.napiID) }

// NumBuffers returns the number of buffers. Grow adds to it.
func (p *Pool) NumBuffers() int { return int(p.memory.numBuffers.Load()) }

// BufferSize returns the size of a buffer in bytes: PoolConfig.BufferSizeHint where it was
// granted, else a page.
func (p *Pool) BufferSize() int { return int(p.memory.bufferSize) }

// RefillEntries returns the size of the refill queue in entries.
func (p *Pool) RefillEntries() int { return int(p.memory.entries) }

// Close closes the pool: its receivers end with ErrClosed, and no further buffer is leased.
// It does not wait for leases that are out: their memory stays until the last is released,
// and Stats().Outstanding counts them. Close may be called repeatedly.
func (p *Pool) Close() error { return p.loop.closeSource(p) }

// The methods of refiller. Called with the lock held.

func (p *Pool) giveBack(run *lease, n int, ended bool) (a alarm) {
	m := p.memory
	if ended {
		m.returns += uint64(n)
	} else {
		m.movedOut += uint64(n)
	}
	if m.waiting.len() > 0 {
		m.drain() // offsets that wait go first
	}
	room := 0
	if m.waiting.len() == 0 {
		room = m.refillQueue.room()
	}
	waited := 0
	for l := run; l != nil; l = l.next {
		switch {
		case l.token == rescuedToken:
			m.rescuedOut--
		case l.token >= outsidePool:
		case room > 0:
			m.refillQueue.write(l.token)
			room--
		default:
			m.waiting.push(l.token)
			waited++
		}
	}
	m.refillQueue.publish()
	if waited > 0 {
		m.refillFull += uint64(waited)
		p.refillFull.Add(uint64(waited))
	}
	if waited > 0 || m.starving > 0 {
		a = m.alert(waited > 0)
	}
	return a
}

func (p *Pool) returnCount() uint64     { return p.memory.returns + p.memory.movedOut }
func (p *Pool) starvingChanged(on bool) { p.memory.starvingChanged(on) }
func (p *Pool) free()                   { p.memory.drop() }

// drain moves waiting offsets into the refill queue, at the beginning of each turn. It
// returns how many still wait.
func (p *Pool) drain() int {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	p.woken = false
	if m.waiting.len() > 0 {
		m.drain()
		m.refillQueue.publish()
	}
	return m.waiting.len()
}

func (p *Pool) take(c *uring.CQE, dst []Buffer) ([]Buffer, error) {
	// The kernel's offset is returned as it is: it contains area and buffer.
	offset, n := c.Big[0], uint64(c.Res)
	areas := *p.memory.areas.Load()
	id := offset >> areaShift
	if id >= uint64(len(areas)) {
		return dst, fmt.Errorf("%w: area %d of %d", errBadCompletion, id, len(areas))
	}
	data := areas[id].at(offset&areaMask, n)
	if data == nil {
		return dst, areas[id].outside(offset&areaMask, n)
	}
	dst = append(dst, p.lease(data, uint32(n), offset))
	if p.leavesAsleep && p.mode == DeviceLess {
		p.memory.countLease()
	}
	return dst, nil
}
