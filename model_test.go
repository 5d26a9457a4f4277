//go:build linux && cgo

package zcrx

import (
	"bytes"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx/uring"
)

// model is a pool for which the test plays the kernel, together with the expected state of
// every part of the pool. The pool has up to three members, each with a loop of its own
// that has no ring. The model identifies each completion by its token: the offset that the
// kernel gave it, which is returned unchanged. The kernel reuses a buffer only when it has
// no reference left, so the tokens in use all differ.
//
// model_actions_test.go has the actions, model_check_test.go the checks, and
// model_concurrent_test.go runs them on many goroutines.
type model struct {
	memory  *poolMemory
	mode    Mode
	flushes bool // the kernel can flush; one that can share a pool can
	handle  bool // a PoolHandle is open

	members []*modelMember // the owner, then importers; also closed ones
	buffers []modelBuffer  // of all areas
	free    []int          // buffers that the kernel may fill, oldest return first

	out   []modelLease // leases that are out
	gone  []modelLease // released leases, whose Buffers are stale
	given []uint64     // tokens that the kernel has not taken back, oldest first
	// queued is how many of given are in the refill queue; the others wait.
	queued   int
	taken    uint64 // tokens that the kernel took back
	rescued  uint64 // leases of bytes that were never in the areas, ever
	movedOut uint64 // leases whose bytes were moved out of the areas, ever
	returned uint64 // leases given back, to all members
	stamp    byte

	// kernel stands for the kernel's own lock where members run concurrently: it guards all
	// of the above.
	kernel sync.Mutex
}

// modelMember is the owner or an importer.
type modelMember struct {
	pool *Pool
	loop *Loop

	users    int // the pool itself and its receivers
	closed   bool
	canFlush bool
	hungry   []supply // receives that wait for a buffer, each with the supply when it was armed
	grown    bool     // buffers came since the last turn
	woken    bool     // the loop was woken and has not begun a turn since
	wakes    int      // expected wake-ups
	want     PoolStats

	woke atomic.Int64 // actual wake-ups
	due  atomic.Bool  // the loop will run a turn
}

type modelBuffer struct {
	token      uint64 // of its first byte
	mem        []byte
	used       int // bytes handed out since it was free
	references int // the kernel's references: completions whose return it has not seen
}

type modelLease struct {
	Buffer
	member *modelMember
	buffer int
	token  uint64
	// rescued: the bytes lie outside the areas, and nothing is returned to the kernel. moved:
	// they do now, and what is to be returned was.
	rescued, moved bool
	at             []byte // where the bytes must lie
	stamp          byte   // the value of each byte
}

// newModel draws a pool. entries and flushAt are drawn small: the refill queue is
// full again and again.
func newModel(t *testing.T, rt *rapid.T) *model {
	buffers := rapid.IntRange(1, 24).Draw(rt, "buffers")
	entries := 1 << rapid.IntRange(0, 4).Draw(rt, "log2 of refill entries")
	layout := rapid.SampledFrom(slices.Sorted(maps.Keys(refillLayouts))).Draw(rt, "layout of kernel")
	m := &model{
		memory:  newFakeMemory(t, buffers, entries, refillLayouts[layout]),
		mode:    rapid.SampledFrom([]Mode{DeviceLess, ZeroCopy}).Draw(rt, "mode"),
		flushes: rapid.Bool().Draw(rt, "kernel can flush"),
	}
	m.addMember(rapid.IntRange(1, entries).Draw(rt, "flush at"))
	m.addBuffers(0)
	// The indexes may pass 2³² on the way.
	q := &m.memory.refillQueue
	q.tail = rapid.SampledFrom([]uint32{0, ^uint32(0) - 6}).Draw(rt, "first index")
	atomic.StoreUint32(q.khead, q.tail)
	q.publish()
	return m
}

// addMember does what a registration or an import does, but for the ring.
func (m *model) addMember(flushAt int) {
	p := newFakeMember(m.memory, m.mode)
	p.owner = len(m.members) == 0
	p.canFlush, p.flushAt = m.flushes, uint32(flushAt)
	p.loop.ring = &zcrxRing{Ring: &uring.Ring{}} // a closed one: arming an event fails, and is only reported
	p.loop.addSource(p)
	mm := &modelMember{pool: p, loop: p.loop, users: 1, canFlush: m.flushes}
	p.wake = func() {
		mm.woke.Add(1)
		mm.due.Store(true)
	}
	mm.due.Store(true) // it joins in a function that its loop runs in a turn
	m.members = append(m.members, mm)
}

// open lists the members that have a ring, in the order in which they came.
func (m *model) open() (list []*modelMember) {
	for _, mm := range m.members {
		if !mm.closed {
			list = append(list, mm)
		}
	}
	return list
}

// outOf returns the number of a member's leases that are out.
func (m *model) outOf(mm *modelMember) (n int) {
	for _, l := range m.out {
		if l.member == mm {
			n++
		}
	}
	return n
}

// freed reports whether the member no longer needs the memory.
func (m *model) freed(mm *modelMember) bool { return mm.users == 0 && m.outOf(mm) == 0 }

// holders returns the number of members and handles that need the memory.
func (m *model) holders() (n int) {
	for _, mm := range m.members {
		if !m.freed(mm) {
			n++
		}
	}
	if m.handle {
		n++
	}
	return n
}

func (m *model) areas() []area { return *m.memory.areas.Load() }

// addBuffers adds the buffers of an area to the kernel's side.
func (m *model) addBuffers(id int) {
	a, page := &m.areas()[id], int(pageSize())
	for i := range a.buffers() {
		m.free = append(m.free, len(m.buffers))
		m.buffers = append(m.buffers, modelBuffer{
			token: uint64(id)<<areaShift + uint64(i*page), mem: a.mem[i*page:][:page],
		})
	}
}

// room returns the number of bytes that the kernel may still put into a buffer.
func (m *model) room(buffer int) int { return int(pageSize()) - m.buffers[buffer].used }

// roomy returns the buffers that the kernel may put bytes into: free ones and partly filled
// ones. A page pool continues in the buffer that it filled last; the model does not depend
// on which one that is.
func (m *model) roomy() []int {
	list := slices.Clone(m.free)
	for i := range m.buffers {
		if m.buffers[i].references > 0 && m.room(i) > 0 {
			list = append(list, i)
		}
	}
	return list
}

// fill makes the kernel put n bytes into a buffer that has room, and the member lease them.
func (m *model) fill(t require.TestingT, mm *modelMember, buffer, n int) {
	b := &m.buffers[buffer]
	if b.references == 0 {
		m.free = slices.DeleteFunc(m.free, func(i int) bool { return i == buffer })
	}
	m.stamp++
	l := modelLease{member: mm, buffer: buffer, token: b.token + uint64(b.used), at: b.mem[b.used:][:n:n], stamp: m.stamp}
	b.references++
	b.used += n
	for i := range l.at {
		l.at[i] = l.stamp
	}
	var err error
	l.Buffer, err = takeOne(mm.pool, &uring.CQE{Res: int32(n), Flags: uring.CQEMore, Big: [2]uint64{l.token}})
	require.NoError(t, err)
	mm.want.Completions++
	mm.want.Bytes += uint64(n)
	// Few spare records, so that stale Buffers meet a record that is used again.
	if mm.pool.spare != nil {
		mm.pool.spare.next = nil
	}
	m.out = append(m.out, l)
}

// kernelTakes makes the kernel take up to n refill entries, which must be ones that it
// handed out.
func (m *model) kernelTakes(t require.TestingT, n int) (tokens []uint64) {
	q := &m.memory.refillQueue
	for head := atomic.LoadUint32(q.khead); len(tokens) < n && head != q.published(); {
		e := refillEntryAt(q, head)
		require.Zero(t, e.length)
		b := &m.buffers[m.bufferOf(t, e.offset)]
		require.Positive(t, b.references, "entry %#x was returned more often than handed out", e.offset)
		if b.references--; b.references == 0 {
			b.used = 0
			m.free = append(m.free, m.bufferOf(t, e.offset))
		}
		m.taken++
		tokens = append(tokens, e.offset)
		head++
		atomic.StoreUint32(q.khead, head)
	}
	return tokens
}

func refillEntryAt(q *refillQueue, index uint32) refillEntry {
	return *(*refillEntry)(unsafe.Add(q.entries, uintptr(index&q.mask)*unsafe.Sizeof(refillEntry{})))
}

// bufferOf returns the buffer that a token lies in.
func (m *model) bufferOf(t require.TestingT, token uint64) int {
	i := slices.IndexFunc(m.buffers, func(b modelBuffer) bool { return token-b.token < uint64(pageSize()) })
	require.NotEqual(t, -1, i, "%#x lies in no area", token)
	return i
}

// forget removes tokens that the kernel took. They must be the oldest in the queue.
func (m *model) forget(rt *rapid.T, tokens []uint64) {
	require.LessOrEqual(rt, len(tokens), m.queued)
	require.True(rt, slices.Equal(m.given[:len(tokens)], tokens), "in the order of their return")
	m.given = m.given[len(tokens):]
	m.queued -= len(tokens)
}

func (m *model) drain() { m.queued = min(len(m.given), int(m.memory.entries)) }

func (m *model) waiting() int { return len(m.given) - m.queued }

// giveBack is what the release of a lease that was out must do to the model.
func (m *model) giveBack(l modelLease) {
	l.member.want.Returned++
	m.returned++
	m.gone = append(m.gone, l)
	if l.outside() {
		m.drain()
		return
	}
	m.giveToken(l)
}

// giveToken returns the buffer of a lease to the kernel.
func (m *model) giveToken(l modelLease) {
	m.given = append(m.given, l.token)
	m.drain()
	if m.waiting() > 0 {
		l.member.want.RefillFull++
	}
}

func (l *modelLease) outside() bool { return l.rescued || l.moved }

// moveOut makes the i-th lease that is out one of bytes outside the areas.
func (m *model) moveOut(i int) {
	l := &m.out[i]
	as := l.Buffer
	l.at = bytes.Clone(l.Bytes())
	l.data, l.moved = unsafe.Pointer(unsafe.SliceData(l.at)), true
	m.movedOut++
	m.giveToken(*l)
	m.alert(m.waiting() > 0)
	l.member.pool.movedOut([]Buffer{as})
}

// rescue makes the member lease n bytes that it read from a socket.
func (m *model) rescue(mm *modelMember, n int) {
	m.stamp++
	l := modelLease{member: mm, rescued: true, at: bytes.Repeat([]byte{m.stamp}, n), stamp: m.stamp}
	l.Buffer = mm.pool.leaseRescued(l.at)
	mm.want.Completions++
	mm.want.Bytes += uint64(n)
	mm.want.Rescues++
	mm.want.RescuedBytes += uint64(n)
	mm.want.CopiedBytes += uint64(n)
	m.rescued++
	m.out = append(m.out, l)
}

// alert wakes the members that returns concern: every member that waits for one, and at
// least one that can flush if the queue is full. A member is woken once for each turn.
func (m *model) alert(full bool) {
	for _, mm := range m.open() {
		needed := full && (mm.canFlush || !m.flushes)
		if !needed && len(mm.hungry) == 0 {
			continue
		}
		full = full && !needed
		if !mm.woken {
			mm.woken = true
			mm.wakes++
		}
	}
}

// turn is a turn of a member's loop. fails makes its flush fail.
func (m *model) turn(rt *rapid.T, mm *modelMember, fails bool) {
	now := supply{returns: m.returned + m.movedOut, taken: atomic.LoadUint32(m.memory.refillQueue.khead)}
	m.drain()
	mm.woken = false
	// On a hardware queue the kernel takes entries by itself, as long as none wait.
	early := m.mode == DeviceLess && m.queued >= int(mm.pool.flushAt)
	wantFlush := mm.canFlush && m.queued > 0 && (m.waiting() > 0 || len(mm.hungry) > 0 || early)
	coming := mm.grown || mm.canFlush && m.queued > 0
	broken := m.flushes && !mm.canFlush // then receivers end
	mm.hungry = slices.DeleteFunc(mm.hungry, func(seen supply) bool { return broken || coming || seen != now })
	mm.grown = false

	flush := mm.beforeTurn()
	require.Len(rt, mm.pool.receivers.waiting, len(mm.hungry), "receives that wait")
	require.Equal(rt, wantFlush, flush != nil, "flush with %d queued, %d waiting", m.queued, m.waiting())
	if flush == nil {
		mm.rest()
		return
	}
	setFlushCalls(flush, 2)
	mm.want.Flushes += 2
	if fails {
		m.forget(rt, m.kernelTakes(rt, m.queued/2))
		setFlushError(flush, syscall.EIO)
		mm.want.FlushErrors++
		mm.canFlush = false
		m.alert(m.waiting() > 0)
	} else {
		m.forget(rt, m.kernelTakes(rt, m.queued))
		m.drain()
	}
	mm.pool.flushed(mm.loop, flush)
	mm.rest()
}

// beforeTurn is what a loop does before it enters the kernel. It returns the flush to make
// there.
func (mm *modelMember) beforeTurn() *flushRequest {
	mm.due.Store(false)
	mm.loop.again, mm.loop.flushes, mm.loop.flushers = false, nil, nil
	mm.pool.beforeTurn(mm.loop)
	if len(mm.loop.flushes) == 0 {
		return nil
	}
	return &mm.loop.flushes[0]
}

// rest is the end of a turn: the loop sleeps unless there is more to do.
func (mm *modelMember) rest() {
	if mm.loop.again {
		mm.due.Store(true)
	}
}

// starve makes n receives end for want of a buffer, as a completion would.
func (mm *modelMember) starve(n int) {
	for range n {
		r := &Receiver{loopSide: loopSide{pool: mm.pool, loop: mm.loop, ended: true, supplySeen: mm.pool.supplied()}} // ended: nothing arms it
		mm.hungry = append(mm.hungry, r.supplySeen)
		mm.pool.receivers.addWaiting(r)
	}
}

// close gives a member up, as its loop does.
func (mm *modelMember) close() {
	mm.pool.receivers.waiting, mm.hungry = nil, nil
	mm.closed = true
	mm.users--
	mm.loop.dropSource(mm.pool)
}

func (mm *modelMember) dropUser() {
	mm.users--
	mm.pool.dropUser()
}

// export opens a handle, closeHandle closes it.
func (m *model) export() {
	m.memory.hold()
	m.handle = true
}

func (m *model) closeHandle() {
	exported{fd: -1, memory: m.memory}.giveUp()
	m.handle = false
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt)
		rt.Repeat(map[string]func(*rapid.T){"": m.check, "step": m.step})
		m.finish(rt)
	})
}

// finish ends everything that is left, in any order, and checks that nothing remains.
func (m *model) finish(rt *rapid.T) {
	for m.holders() > 0 {
		m.check(rt)
		var ends []func()
		for _, mm := range m.members {
			if !mm.closed {
				ends = append(ends, func() { m.close(mm) })
			} else if mm.users > 0 {
				ends = append(ends, mm.dropUser)
			}
		}
		if m.handle {
			ends = append(ends, m.closeHandle)
		}
		if len(m.out) > 0 {
			ends = append(ends, func() { m.release(rt, len(m.out)-1) })
		}
		ends[rapid.IntRange(0, len(ends)-1).Draw(rt, "end")]()
	}
	m.check(rt)
	for _, mm := range m.members {
		require.True(rt, mm.pool.freed)
	}
}
