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
	// MaxLeases is how many leases one receiver may have out.
	MaxLeases() int
	// Stats is a snapshot.
	Stats() PoolStats
	// Close ends the pool. See the implementations.
	Close() error

	source
}

// Pool is a buffer area and a refill queue that the kernel puts received data
// into, registered on the ring of a Loop; or an importer's share in one that
// another loop registered (see Export and ImportPool).
//
// All methods are safe from any goroutine. The kernel has no call to unregister
// a pool: its registration ends with its loop.
type Pool struct {
	ledger // of this member's leases; its lock is memory's
	loop   *Loop
	memory *poolMemory
	id     ZCRXID
	mode   Mode
	owner  bool
	queue  Queue  // the zero Queue: device-less
	napiID uint32 // of the NAPI instance that serves queue; 0 if the kernel does not tell

	grown      atomic.Bool   // buffers were added: receives that wait may be armed
	refillFull atomic.Uint64 // returns that found the refill queue full

	// Of the loop's thread:
	receivers receiverList
	events    uint64 // user data of the owner's events
	canFlush  bool
	flushAt   uint32 // device-less: flush when so many entries are pending
	dry       bool   // every buffer is out, and a receive may sleep on it: see sleepWatch
	dryEpoch  uint32 // of memory, as last seen
	stuck     bool   // a receive may sleep for want of room for its completion
	// stopsAsleep: on this kernel a receive sleeps instead of ending with an error.
	stopsAsleep bool
	growth      growth
	rescues     bool      // it reads what the kernel cannot copy: see rescue
	nextLook    time.Time // at receivers that wait, by a timer that runs: see lookAgain
	// rescueMemory takes in what is read from a socket; nil until that is needed.
	rescueMemory []byte
	flushErr     error // a failed flush: the kernel gets no buffers from here any more

	crowded     bool     // it was said that there are too many connections; of the loop's thread
	warnings    []string // guarded by memory.mu: see PoolConfig.Warnings
	flushFailed bool     // guarded by memory.mu: flushErr is set, others must flush

	rescued, rescuedBytes, stalls atomic.Uint64

	flushes       atomic.Uint64 // system calls
	flushErrors   atomic.Uint64
	allocFailures atomic.Uint64
	copyEvents    atomic.Uint64
}

var _ BufferPool = (*Pool)(nil)

// registerPatience bounds how long NewPool waits for the kernel to end an
// earlier owner's registration: its teardown is asynchronous and takes up to
// some seconds.
const registerPatience = 5 * time.Second

// NewPool makes a pool on a hardware queue and registers it on the loop's ring. It
// needs CAP_NET_ADMIN in the initial user namespace. The caller must Close it; closing
// the loop closes it too.
//
// Errors match ErrNotSupported where kernel, process or device cannot do it;
// they name the layer and the remedy. A queue that is still being given up by
// an earlier owner is waited for, up to 5 seconds or as long as ctx allows, and so is
// a memlock limit that rings closed just before still fill, up to 2 seconds.
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

// NewDeviceLessPool is NewPool without a hardware queue: the kernel copies into the
// buffers. It is for development and tests (Linux 7.1).
func NewDeviceLessPool(ctx context.Context, loop *Loop, cfg PoolConfig) (*Pool, error) {
	if _, err := cfg.withDefaults(MaxNumBuffers); err != nil {
		return nil, err
	}
	if cfg.Memory == MemoryDMABuf {
		return nil, errors.New("zcrx: a device-less pool cannot lie in a dma-buf: the kernel copies into user memory")
	}
	return newPool(ctx, loop, Queue{}, 0, cfg, FeatureDeviceLess)
}

// newPool makes the owner of a pool on queue, or of a device-less one, as need says. cfg
// is what the caller gave, which withDefaults accepts.
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

// newMember makes a member that has neither memory nor ring.
func newMember(loop *Loop, mode Mode, features *Features) *Pool {
	p := &Pool{
		loop: loop, mode: mode, canFlush: features.Have(FeatureFlush) == nil,
		rescues:     mode == ZeroCopy,
		stopsAsleep: olderKernel(features.Kernel, 7, 2, 10),
	}
	p.receivers.sleeps.on = p.stopsAsleep && mode == ZeroCopy
	return p
}

// use makes m the member's memory.
func (p *Pool) use(m *poolMemory) {
	p.memory = m
	p.flushAt = max(1, min(m.entries, uint32(m.numBuffers.Load()))/4)
	p.ledger.init(&m.mu, p, p.loop.wake)
	p.maxLeases = m.maxLeases
}

// register maps the memory and registers it. On failure nothing stays mapped.
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
	p.use(m)
	p.growth = growth{most: cfg.MaxBuffers, step: cfg.NumBuffers}
	m.mayGrow.Store(cfg.MaxBuffers > cfg.NumBuffers)
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
		return charges.await(ctx, req.pinned(), func() error {
			return p.loop.Do(ctx, func(*uring.Ring) error { return p.registerOn(p.loop.ring, req) })
		})
	})
	if err != nil {
		m.unmap()
	}
	return err
}

// retryExist calls register until it returns something else than EEXIST, with
// growing pauses, for registerPatience or as long as ctx allows.
func retryExist(ctx context.Context, register func() error) error {
	deadline := time.Now().Add(registerPatience)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		err := register()
		// Attached XDP gives EEXIST as well, and does not go away by itself.
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
		return err // the kernel has pinned the memory: unmapping it is safe
	}
	if req.statsOffset > 0 {
		m.copied = (*copyStats)(unsafe.Pointer(&m.region[req.statsOffset]))
	}
	m.hold()
	m.join(p)
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

// Queue is the hardware queue that the pool is registered on; the zero Queue for a
// device-less pool.
func (p *Pool) Queue() Queue { return p.queue }

// NAPIID is the number of the NAPI instance that served the pool's hardware queue
// when the pool was made (Linux 6.8; SO_INCOMING_NAPI_ID of a socket tells whose
// packets came through it). It is 0 if driver or kernel do not tell, and for a
// device-less pool.
func (p *Pool) NAPIID() int { return int(p.napiID) }

// NumBuffers is the number of buffers; Grow adds to it.
func (p *Pool) NumBuffers() int { return int(p.memory.numBuffers.Load()) }

// BufferSize is the size of a buffer in bytes: the hint's where it was granted,
// else a page.
func (p *Pool) BufferSize() int { return int(p.memory.bufferSize) }

// RefillEntries is the size of the refill queue.
func (p *Pool) RefillEntries() int { return int(p.memory.entries) }

// Close ends the pool: receivers that use it end with ErrClosed, and no buffer
// is leased any more. It does not wait for leases that are out: their memory
// stays until the last is released, and Stats().Outstanding tells how many there
// are. Close is idempotent.
func (p *Pool) Close() error { return p.loop.closeSource(p) }

// The refiller's part, called with the lock held.

func (p *Pool) giveBack(run *lease, n int) {
	m := p.memory
	m.returns += uint64(n)
	if m.waiting.len() > 0 {
		m.drain() // nothing overtakes what waits already
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
		m.alert(waited > 0)
	}
}

func (p *Pool) returnCount() uint64     { return p.memory.returns }
func (p *Pool) starvingChanged(on bool) { p.memory.starvingChanged(on) }
func (p *Pool) free()                   { p.memory.drop() }

// drain is a member's part in every turn of its loop. It returns how many
// offsets still wait.
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
	// The kernel's own offset goes back verbatim: area and buffer are in it.
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
	if p.stopsAsleep && p.mode == DeviceLess {
		p.memory.noteLease()
	}
	return dst, nil
}
