package zcrx

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// poolMemory is what the members of a pool share: the owner, which registered it, and the
// importers. The kernel shares one refill queue between their rings and serialises its own
// side; mu serialises the producers.
//
// It lives until no member has a user or a lease any more and every handle is closed, in
// whatever order that happens.
type poolMemory struct {
	kind       Memory
	bufferSize uint64
	entries    uint32
	maxLeases  uint64 // that one receiver may have out
	tcpWindow  int64  // bytes that the kernel by itself lets a socket queue
	numBuffers atomic.Int64

	// areas is replaced as a whole when the pool grows, so that members look completions up
	// without a lock. The upper bits of an offset are the index.
	areas atomic.Pointer[[]area]
	// growing is held while an area is added. Only loops' threads take it.
	growing sync.Mutex
	// mayGrow says that the owner is on its loop, has not grown as far as it may, and is
	// not about to. moreWanted has it grow.
	mayGrow, moreWanted atomic.Bool
	growable            atomic.Bool // mayGrow, or growing just now
	asked               atomic.Bool // the members look for unread bytes: see askOthers

	// mu guards what follows, and every member's ledger.
	mu          sync.Mutex
	region      []byte // refill queue and statistics
	refillQueue refillQueue
	waiting     offsetQueue
	members     []*Pool   // those that are on a ring
	starving    int       // how many members wait for a return
	returns     uint64    // leases ended so far, of all members
	movedOut    uint64    // leases so far whose bytes were moved out of the areas
	moved       moved     // those that are out
	refillFull  uint64    // returns that found the refill queue full
	rescuedOut  int       // leases out whose bytes lie outside the areas
	refs        int       // members that have not freed it, and open handles
	left        PoolStats // counters of the members that have left
	copied      *copyStats
	lastCopied  copyStats // the value of copied when region was unmapped

	// Used on kernels that may leave receives asleep when every buffer is out: leased
	// counts the leases of all members, exhaustions how often every buffer was out.
	leased      atomic.Uint32
	exhaustions atomic.Uint32
}

// mapPoolMemory maps n buffers of size bytes, and a refill queue.
func mapPoolMemory(cfg *PoolConfig, n, size int) (*poolMemory, error) {
	dmabuf := -1
	if cfg.DMABuf > 0 {
		dmabuf = cfg.DMABuf
	}
	a, err := newArea(cfg.Memory, n, uintptr(size), dmabuf)
	if err != nil {
		return nil, err
	}
	a.populate()
	m := &poolMemory{kind: cfg.Memory, bufferSize: a.bufferSize, entries: uint32(cfg.RefillEntries), maxLeases: uint64(cfg.MaxLeases), tcpWindow: sys.ReceiveBufferLimit()}
	m.areas.Store(&[]area{a})
	m.numBuffers.Store(int64(a.buffers()))
	if m.region, err = sys.MapAnonymous(refillRegionSize(m.entries, sys.PageSize()), sys.PageSize()); err != nil {
		m.unmap()
		return nil, fmt.Errorf("zcrx: map refill queue of %d entries: %w", m.entries, err)
	}
	sys.AdviseReceive(m.region)
	return m, nil
}

// addArea makes an area known to every member, and then has add give it to the kernel,
// which may put data into it for any member before add returns. add returns the token
// that the area's offsets carry. If it fails, nothing has changed. addArea runs on the
// thread of a member's loop, which waits for another member that adds an area.
func (m *poolMemory) addArea(a area, add func() (token uint64, err error)) error {
	m.growing.Lock()
	defer m.growing.Unlock()
	areas := *m.areas.Load()
	id := uint64(len(areas)) // the kernel counts up
	if id >= maxAreas {
		return rangeError("number of areas", maxAreas+1, 1, maxAreas)
	}
	bigger := append(slices.Clip(areas), a)
	m.areas.Store(&bigger)
	token, err := add()
	if err == nil && token>>areaShift != id {
		err = fmt.Errorf("zcrx: the kernel numbered area %d as %d", id, token>>areaShift)
	}
	if err != nil {
		m.areas.Store(&areas)
		return err
	}
	m.numBuffers.Add(int64(a.buffers()))
	for _, p := range m.currentMembers() {
		p.grown.Store(true)
		p.wake()
	}
	return nil
}

// currentMembers returns the members, for callers that wake them: that may take a system
// call, and is not done under the lock.
func (m *poolMemory) currentMembers() []*Pool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.members)
}

// wantMore asks the owner to grow the pool, for a member that found no buffer. Only owners
// grow by themselves.
func (m *poolMemory) wantMore() {
	if m.moreWanted.Swap(true) {
		return
	}
	for _, p := range m.currentMembers() {
		if p.owner {
			p.wake()
		}
	}
}

// countUsed returns how many leases of all members lie in the areas.
func (m *poolMemory) countUsed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used()
}

// used is countUsed for callers that hold mu.
func (m *poolMemory) used() int { return max(0, m.outstanding()-m.moved.leases-m.rescuedOut) }

// strainOn returns how much of the memory is in use, for the member p. waits says whether a
// receiver of p waits for a buffer, which the other members see.
func (m *poolMemory) strainOn(p *Pool, waits bool) strain {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.waits = waits
	s := strain{out: m.used(), size: p.NumBuffers(), bufferSize: m.bufferSize, moved: m.moved.bytes}
	for _, member := range m.members {
		s.receivers += member.ledger.users - 1
		s.othersWait = s.othersWait || member.waits && member != p
	}
	s.runsLow = p.mode == ZeroCopy && s.out > s.size-(s.size+7)/8
	return s
}

// askOthers makes the other members look, once, for unread bytes that they can move, because
// p has seen that the pool is in need of buffers. calmed lets that be done again.
func (m *poolMemory) askOthers(p *Pool) {
	if m.asked.Swap(true) {
		return
	}
	for _, member := range m.currentMembers() {
		if member != p {
			member.wake()
		}
	}
}

func (m *poolMemory) calmed() { m.asked.Store(false) }

// outstanding returns how many leases all members have out. It is called with mu held.
func (m *poolMemory) outstanding() int {
	made := m.left.Completions
	for _, p := range m.members {
		made += p.completions.Load()
	}
	return max(0, int(made-m.returns))
}

// drain moves waiting offsets into the refill queue, as many as have room. Called with mu
// held.
func (m *poolMemory) drain() {
	for n := min(m.refillQueue.room(), m.waiting.len()); n > 0; n-- {
		m.refillQueue.write(m.waiting.first())
		m.waiting.drop()
	}
}

// alert returns the members that wait for a return and, if the refill queue is full, any one
// member that can flush. Called with mu held.
func (m *poolMemory) alert(full bool) (a alarm) {
	for _, p := range m.members {
		needed := full && !p.cannotFlush
		if p.alertLocked(needed, &a) && needed {
			full = false
		}
	}
	return a
}

// starvingChanged counts the members that wait for a return. Called with mu held.
func (m *poolMemory) starvingChanged(on bool) {
	if on {
		m.starving++
	} else {
		m.starving--
	}
}

// countLease counts a lease, and wakes every member when no buffer is left.
func (m *poolMemory) countLease() {
	out := m.leased.Add(1) - atomic.LoadUint32(m.refillQueue.khead)
	if int64(out) < m.numBuffers.Load() {
		return
	}
	m.exhaustions.Add(1)
	for _, p := range m.currentMembers() {
		p.wake()
	}
}

// join adds p to the members with a ring.
func (m *poolMemory) join(p *Pool) {
	m.mu.Lock()
	m.members = append(m.members, p)
	m.mu.Unlock()
}

// leave removes p, whose ring is going to be closed. The other members flush what waits.
func (m *poolMemory) leave(p *Pool) {
	m.mu.Lock()
	if i := slices.Index(m.members, p); i >= 0 {
		m.members = slices.Delete(m.members, i, i+1)
		if p.owner {
			m.mayGrow.Store(false)
			m.growable.Store(false)
		}
		c := p.counters()
		m.left.add(&c)
	}
	if p.starving {
		p.starving = false
		m.starving--
	}
	a := m.alert(m.waiting.len() > 0)
	m.mu.Unlock()
	a.raise()
}

// leaveFlushing records that p can flush no more. The other members flush what waits.
func (m *poolMemory) leaveFlushing(p *Pool) {
	m.mu.Lock()
	p.cannotFlush = true
	a := m.alert(m.waiting.len() > 0)
	m.mu.Unlock()
	a.raise()
}

// hold counts one more member or handle that needs the memory.
func (m *poolMemory) hold() {
	m.mu.Lock()
	m.refs++
	m.mu.Unlock()
}

// drop undoes a hold. The last one unmaps the memory. Called with mu held.
func (m *poolMemory) drop() {
	if m.refs--; m.refs == 0 {
		m.lastCopied, m.copied = m.readCopied(), nil
		m.waiting = offsetQueue{} // no longer needed
		m.unmap()
	}
}

// inUse reports whether a member or a handle still needs the memory.
func (m *poolMemory) inUse() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.refs > 0
}

// readCopied returns the kernel's copy statistics. Called with mu held, which keeps the
// region mapped.
func (m *poolMemory) readCopied() copyStats {
	if m.copied == nil {
		return m.lastCopied
	}
	return copyStats{fragments: atomic.LoadUint64(&m.copied.fragments), bytes: atomic.LoadUint64(&m.copied.bytes)}
}

// unmap unmaps areas and region. Pages that the kernel still uses stay pinned.
func (m *poolMemory) unmap() {
	areas := *m.areas.Load()
	for i := range areas {
		areas[i].unmap()
	}
	if m.region != nil {
		_ = sys.Unmap(m.region)
		m.region = nil
	}
}

// offsetQueue holds the offsets of buffers that wait for room in the refill queue, first in
// first out. It grows as needed and never shrinks.
type offsetQueue struct {
	ring []uint64 // its length is a power of two
	head uint64   // index of the oldest
	tail uint64   // index after the newest
}

func (q *offsetQueue) len() int { return int(q.tail - q.head) }

func (q *offsetQueue) push(offset uint64) {
	if q.len() == len(q.ring) {
		q.grow()
	}
	q.ring[q.tail&uint64(len(q.ring)-1)] = offset
	q.tail++
}

// first returns the oldest offset. The queue must not be empty.
func (q *offsetQueue) first() uint64 { return q.ring[q.head&uint64(len(q.ring)-1)] }

// drop removes the oldest offset.
func (q *offsetQueue) drop() { q.head++ }

func (q *offsetQueue) grow() {
	bigger := make([]uint64, max(64, 2*len(q.ring)))
	n := q.len()
	for i := range n {
		bigger[i] = q.ring[(q.head+uint64(i))&uint64(len(q.ring)-1)]
	}
	q.ring, q.head, q.tail = bigger, 0, uint64(n)
}
