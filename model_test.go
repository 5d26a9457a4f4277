//go:build linux && cgo

package zcrx

import (
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// model is a pool whose kernel is the test, and beside it what every part of the
// pool must hold. It knows each completion by its token: the offset that the
// kernel gave it, which goes back verbatim. As the kernel hands a buffer out
// again only once nobody refers to it, the tokens that are under way differ.
type model struct {
	pool    *Pool
	loop    *Loop
	page    int
	buffers []modelBuffer // of all areas
	free    []int         // buffers that the kernel may fill, oldest return first

	out   []modelLease // leases that somebody holds
	gone  []modelLease // released ones: their handles are stale
	given []uint64     // tokens that the kernel has not taken back, oldest first
	// queued is how many of given are in the refill queue; the others wait.
	queued int
	taken  uint64 // tokens that the kernel took back

	users  int // the pool itself and its receivers
	closed bool
	failed bool // a flush failed: there are no more
	woken  bool // the loop was woken and had no turn since
	wakes  int
	want   PoolStats
	stamp  byte
}

type modelBuffer struct {
	token      uint64 // of its first byte
	mem        []byte
	used       int // bytes handed out since it was free
	references int // the kernel's: completions whose return it did not see
}

type modelLease struct {
	Buffer
	buffer int
	token  uint64
	at     []byte // where the bytes must lie
	stamp  byte   // what they all are
}

// newModel draws a pool. entries and flushAt are drawn small: the refill queue is
// full again and again.
func newModel(t *testing.T, rt *rapid.T) *model {
	buffers := rapid.IntRange(1, 24).Draw(rt, "buffers")
	entries := 1 << rapid.IntRange(0, 4).Draw(rt, "log2 of refill entries")
	layout := rapid.SampledFrom(slices.Sorted(maps.Keys(refillLayouts))).Draw(rt, "layout of kernel")
	k := newFakePool(t, buffers, entries, refillLayouts[layout])
	m := &model{pool: k.pool, loop: k.loop, page: int(pageSize()), users: 1}
	m.loop.ring = &Ring{} // a closed one: arming an event fails, and is only reported
	m.pool.flushAt = uint32(rapid.IntRange(1, entries).Draw(rt, "flush at"))
	m.pool.mode = rapid.SampledFrom([]Mode{DeviceLess, ZeroCopy}).Draw(rt, "mode")
	m.pool.canFlush = rapid.Bool().Draw(rt, "kernel can flush")
	m.pool.wake = func() { m.wakes++ }
	m.addBuffers(0)
	// The indexes may pass 2³² on the way.
	q := &m.pool.memory.refillQueue
	q.tail = rapid.SampledFrom([]uint32{0, ^uint32(0) - 6}).Draw(rt, "first index")
	atomic.StoreUint32(q.khead, q.tail)
	q.publish()
	return m
}

func (m *model) areas() []area { return *m.pool.memory.areas.Load() }

// addBuffers lets the kernel know the buffers of an area.
func (m *model) addBuffers(id int) {
	a := &m.areas()[id]
	for i := range a.buffers() {
		m.free = append(m.free, len(m.buffers))
		m.buffers = append(m.buffers, modelBuffer{
			token: uint64(id)<<areaShift + uint64(i*m.page), mem: a.mem[i*m.page:][:m.page],
		})
	}
}

// fill has the kernel put n bytes into a buffer that has room, and the pool make
// a lease of them.
func (m *model) fill(rt *rapid.T, buffer, n int) modelLease {
	b := &m.buffers[buffer]
	if b.references == 0 {
		m.free = slices.DeleteFunc(m.free, func(i int) bool { return i == buffer })
	}
	m.stamp++
	l := modelLease{buffer: buffer, token: b.token + uint64(b.used), at: b.mem[b.used:][:n:n], stamp: m.stamp}
	b.references++
	b.used += n
	for i := range l.at {
		l.at[i] = l.stamp
	}
	var err error
	l.Buffer, err = takeOne(m.pool, &CQE{Res: int32(n), Flags: CQEMore, Big: [2]uint64{l.token}})
	require.NoError(rt, err)
	m.want.Completions++
	m.want.Bytes += uint64(n)
	// Few spare records, so that stale handles meet a record used again.
	if m.pool.spare != nil {
		m.pool.spare.next = nil
	}
	return l
}

// roomy lists the buffers that the kernel may put bytes into: free ones and those
// begun. A page pool goes on in the buffer that it began; which does not matter.
func (m *model) roomy() []int {
	list := slices.Clone(m.free)
	for i := range m.buffers {
		if b := &m.buffers[i]; b.references > 0 && b.used < m.page {
			list = append(list, i)
		}
	}
	return list
}

// giveBack is what the release of a lease that was out does.
func (m *model) giveBack(token uint64) {
	m.want.Returned++
	m.given = append(m.given, token)
	m.drain()
	if m.waiting() > 0 {
		m.want.RefillFull++
	}
}

// published is what the end of a release, or of a batch, does: it wakes the owner
// once if the queue is full, as long as there is an owner.
func (m *model) published(full bool) (wakes int) {
	if full && !m.woken && m.users > 0 {
		m.woken = true
		return 1
	}
	return 0
}

func (m *model) drain() { m.queued = min(len(m.given), int(m.pool.memory.entries)) }

func (m *model) waiting() int { return len(m.given) - m.queued }

func (m *model) freed() bool { return m.users == 0 && len(m.out) == 0 }

// kernelTakes has the kernel take up to n refill entries, which it must have
// handed out.
func (m *model) kernelTakes(rt *rapid.T, n int) (tokens []uint64) {
	q := &m.pool.memory.refillQueue
	for head := atomic.LoadUint32(q.khead); len(tokens) < n && head != q.published(); {
		e := refillEntryAt(q, head)
		require.Zero(rt, e.length)
		i := slices.IndexFunc(m.buffers, func(b modelBuffer) bool { return e.offset-b.token < uint64(m.page) })
		require.NotEqual(rt, -1, i, "entry %#x lies in no area", e.offset)
		b := &m.buffers[i]
		require.Positive(rt, b.references, "buffer %d was returned more often than handed out", i)
		if b.references--; b.references == 0 {
			b.used = 0
			m.free = append(m.free, i)
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

// turn is the owner's part. fails has a flush fail on its way.
func (m *model) turn(rt *rapid.T, fails bool) {
	m.loop.again, m.loop.flushes, m.loop.flushers = false, nil, nil
	m.pool.beforeTurn(m.loop)
	m.drain()
	m.woken = false
	// A hardware queue's kernel takes entries by itself, as long as none wait.
	early := m.pool.mode == DeviceLess && m.queued >= int(m.pool.flushAt)
	wantFlush := m.pool.canFlush && m.queued > 0 && (m.waiting() > 0 || early)
	require.Equal(rt, wantFlush, len(m.loop.flushes) == 1, "flush with %d queued, %d waiting", m.queued, m.waiting())
	if !wantFlush {
		return
	}
	flush := &m.loop.flushes[0]
	setFlushCalls(flush, 2)
	m.want.Flushes += 2
	if fails {
		m.forget(rt, m.kernelTakes(rt, m.queued/2))
		setFlushError(flush, syscall.EIO)
		m.pool.flushed(m.loop, flush)
		m.want.FlushErrors++
		m.failed = true
		return
	}
	m.forget(rt, m.kernelTakes(rt, m.queued))
	m.pool.flushed(m.loop, flush)
	m.drain()
	require.True(rt, m.waiting() == 0 || m.loop.again, "the loop must not sleep on %d waiting returns", m.waiting())
}

// setFlushCalls writes how many system calls a flush took, as setFlushError does
// its error.
func setFlushCalls(f *flushRequest, n uint32) {
	*(*uint32)(unsafe.Pointer(reflect.ValueOf(f).Elem().FieldByName("calls").UnsafeAddr())) = n
}

// forget notes that the kernel took these, which must be the oldest in the queue.
func (m *model) forget(rt *rapid.T, tokens []uint64) {
	require.LessOrEqual(rt, len(tokens), m.queued)
	require.True(rt, slices.Equal(m.given[:len(tokens)], tokens), "in the order of their return")
	m.given = m.given[len(tokens):]
	m.queued -= len(tokens)
}

// close gives the pool up, as its loop does.
func (m *model) close() {
	m.pool.count()
	m.closed = true
	m.dropUser()
}

func (m *model) dropUser() {
	m.users--
	m.pool.dropUser()
}

// release ends the i-th lease that is out.
func (m *model) release(rt *rapid.T, i int) {
	l := m.out[i]
	m.out = slices.Delete(m.out, i, i+1)
	m.gone = append(m.gone, l)
	m.giveBack(l.token)
	wakes := m.wakes + m.published(m.waiting() > 0)
	require.NoError(rt, l.Release())
	require.Equal(rt, wakes, m.wakes, "wake-ups")
}

// check holds the pool against the model.
func (m *model) check(rt *rapid.T) {
	s := m.pool.Stats()
	require.Equal(rt, s, m.pool.Stats(), "reading changes nothing")
	m.want.Outstanding, m.want.Waiting = len(m.out), m.waiting()
	if m.freed() {
		m.want.Waiting = 0 // for nobody any more
	}
	if m.pool.mode == DeviceLess {
		m.want.CopiedBytes = m.want.Bytes
	}
	require.Equal(rt, m.want, s)
	for i, a := range m.areas() {
		require.Equal(rt, !m.freed(), a.mem != nil, "area %d is mapped as long as it has users", i)
	}
	require.Equal(rt, !m.freed(), m.pool.memory.region != nil)
	if m.freed() {
		return
	}
	queue, waiting := m.returned()
	require.True(rt, slices.Equal(m.given[:m.queued], queue), "refill queue is %#x, must be %#x", queue, m.given[:m.queued])
	require.True(rt, slices.Equal(m.given[m.queued:], waiting), "waiting is %#x, must be %#x", waiting, m.given[m.queued:])
	m.checkPlaces(rt, slices.Concat(queue, waiting))
	for _, l := range m.out {
		b := l.Bytes()
		require.Same(rt, unsafe.SliceData(l.at), unsafe.SliceData(b))
		require.Len(rt, b, len(l.at))
		require.Equal(rt, len(l.at), cap(b))
		require.True(rt, b[0] == l.stamp && b[len(b)-1] == l.stamp, "nobody writes into a lease that is out")
	}
}

// returned reads where the tokens are that were given back.
func (m *model) returned() (queue, waiting []uint64) {
	q, w := &m.pool.memory.refillQueue, &m.pool.memory.waiting
	for head := atomic.LoadUint32(q.khead); head != q.published(); head++ {
		queue = append(queue, refillEntryAt(q, head).offset)
	}
	for i := w.head; i != w.tail; i++ {
		waiting = append(waiting, w.ring[i&uint64(len(w.ring)-1)])
	}
	return queue, waiting
}

// checkPlaces makes sure that each completion is in one place, and each buffer
// free or in use.
func (m *model) checkPlaces(rt *rapid.T, returned []uint64) {
	require.Equal(rt, m.want.Completions, m.taken+uint64(len(returned))+uint64(len(m.out)),
		"dispensed is what the kernel took, what is on its way to it, and what is out")
	places := map[uint64]int{}
	references := make([]int, len(m.buffers))
	for _, token := range returned {
		places[token]++
		i := slices.IndexFunc(m.buffers, func(b modelBuffer) bool { return token-b.token < uint64(m.page) })
		require.NotEqual(rt, -1, i, "%#x lies in no area", token)
		references[i]++
	}
	for _, l := range m.out {
		require.Equal(rt, l.token, l.lease.token)
		places[l.token]++
		references[l.buffer]++
	}
	for token, n := range places {
		require.Equal(rt, 1, n, "completion %#x is in %d places", token, n)
	}
	free := map[int]bool{}
	for _, i := range m.free {
		require.False(rt, free[i], "buffer %d is free twice", i)
		free[i] = true
	}
	for i := range m.buffers {
		require.Equal(rt, references[i], m.buffers[i].references, "buffer %d", i)
		require.Equal(rt, references[i] == 0, free[i], "buffer %d", i)
	}
}

// action is something that may happen to a pool.
type action struct {
	name     string
	possible bool
	do       func(*rapid.T)
}

// step lets one thing happen, of those that can.
func (m *model) step(rt *rapid.T) {
	var possible []action
	for _, a := range slices.Concat(m.kernelActions(), m.holderActions(), m.ownerActions()) {
		if a.possible {
			possible = append(possible, a)
		}
	}
	if len(possible) > 0 {
		names := make([]string, len(possible))
		for i, a := range possible {
			names[i] = a.name
		}
		name := rapid.SampledFrom(names).Draw(rt, "step")
		possible[slices.Index(names, name)].do(rt)
	}
}

// fillAny completes a piece of any length in any buffer with room.
func (m *model) fillAny(rt *rapid.T) modelLease {
	buffer := rapid.SampledFrom(m.roomy()).Draw(rt, "buffer")
	return m.fill(rt, buffer, rapid.IntRange(1, m.page-m.buffers[buffer].used).Draw(rt, "length"))
}

func (m *model) kernelActions() []action {
	return []action{
		{"complete whole buffers", m.users > 0 && len(m.free) > 0, func(rt *rapid.T) {
			for range rapid.IntRange(1, len(m.free)).Draw(rt, "buffers") {
				m.out = append(m.out, m.fill(rt, m.free[0], m.page))
			}
			m.pool.count()
		}},
		{"complete pieces", m.users > 0 && len(m.roomy()) > 0, func(rt *rapid.T) {
			for range rapid.IntRange(1, 6).Draw(rt, "pieces") {
				if len(m.roomy()) > 0 {
					m.out = append(m.out, m.fillAny(rt))
				}
			}
			m.pool.count()
		}},
		{"complete for a receiver that has ended", m.users > 0 && len(m.roomy()) > 0, func(rt *rapid.T) {
			m.out = append(m.out, m.fillAny(rt))
			m.release(rt, len(m.out)-1) // before it was counted
			m.pool.count()
		}},
		{"take entries", !m.freed() && m.queued > 0, func(rt *rapid.T) {
			m.forget(rt, m.kernelTakes(rt, rapid.IntRange(1, m.queued).Draw(rt, "entries")))
		}},
	}
}

func (m *model) holderActions() []action {
	var stale []modelLease // whose records are out again
	for _, l := range m.gone {
		if slices.ContainsFunc(m.out, func(o modelLease) bool { return o.lease == l.lease }) {
			stale = append(stale, l)
		}
	}
	releaseAgain := func(rt *rapid.T, from []modelLease) {
		require.ErrorIs(rt, rapid.SampledFrom(from).Draw(rt, "lease").Release(), ErrReleased)
		m.want.DoubleReleases++
	}
	return []action{
		{"release", len(m.out) > 0, func(rt *rapid.T) {
			m.release(rt, rapid.IntRange(0, len(m.out)-1).Draw(rt, "lease"))
		}},
		{"release many", len(m.out)+len(m.gone) > 0, func(rt *rapid.T) {
			all := slices.Concat(m.out, m.gone)
			m.releaseAll(rt, all, rapid.SliceOfN(rapid.IntRange(-1, len(all)-1), 1, 40).Draw(rt, "leases"))
		}},
		{"release again", len(m.gone) > 0, func(rt *rapid.T) { releaseAgain(rt, m.gone) }},
		{"release by a stale handle", len(stale) > 0, func(rt *rapid.T) { releaseAgain(rt, stale) }},
		{"use after release", len(m.gone) > 0, func(rt *rapid.T) {
			require.Nil(rt, rapid.SampledFrom(m.gone).Draw(rt, "lease").Bytes())
			m.want.UsesAfterRelease++
		}},
	}
}

func (m *model) ownerActions() []action {
	receivers := m.users
	if !m.closed {
		receivers--
	}
	return []action{
		{"turn", !m.closed, func(rt *rapid.T) {
			m.turn(rt, rapid.IntRange(0, 19).Draw(rt, "flush succeeds unless 19") == 19)
		}},
		{"allocation failure", !m.closed, func(rt *rapid.T) {
			(*poolEvents)(m.pool).complete(&CQE{Res: int32(EventAllocFailed)})
			m.want.AllocFailures++
			m.turn(rt, false)
		}},
		{"copy", !m.closed, func(*rapid.T) {
			(*poolEvents)(m.pool).complete(&CQE{Res: int32(EventCopy)})
			m.want.CopyEvents++
		}},
		{"grow", !m.closed && len(m.areas()) < 3, func(rt *rapid.T) {
			a, err := newArea(MemoryAnonymous, rapid.IntRange(1, 8).Draw(rt, "buffers"), pageSize(), -1)
			require.NoError(rt, err)
			areas := append(slices.Clip(m.areas()), a)
			m.pool.memory.areas.Store(&areas)
			m.pool.memory.numBuffers.Add(int64(a.buffers()))
			m.addBuffers(len(areas) - 1)
		}},
		{"a receiver comes", !m.closed && m.users < 4, func(rt *rapid.T) {
			require.True(rt, m.pool.addUser())
			m.users++
		}},
		{"a receiver goes", receivers > 0, func(*rapid.T) { m.dropUser() }},
		{"close", !m.closed, func(rt *rapid.T) {
			// Seldom early: a closed pool does little.
			if rapid.IntRange(0, 3).Draw(rt, "close if 3") != 3 {
				return
			}
			m.close()
			require.Equal(rt, m.users > 0, m.pool.addUser(), "nobody comes in once all have gone")
			if m.users > 0 {
				m.pool.dropUser()
			}
		}},
	}
}

// releaseAll gives the picked leases to ReleaseAll: some twice, some that were
// released before, and empty ones (-1).
func (m *model) releaseAll(rt *rapid.T, all []modelLease, picks []int) {
	out := len(m.out)
	var batch []Buffer
	released := map[int]bool{}
	doubles, full := 0, false
	wakes := m.wakes
	for _, i := range picks {
		if i < 0 {
			// It ends the run that takes the lock once.
			batch = append(batch, Buffer{})
			wakes += m.published(full)
			full = false
			continue
		}
		batch = append(batch, all[i].Buffer)
		if i >= out || released[i] {
			doubles++
			continue
		}
		released[i] = true
		m.gone = append(m.gone, all[i])
		m.giveBack(all[i].token)
		full = full || m.waiting() > 0
	}
	wakes += m.published(full)
	m.out = slices.DeleteFunc(m.out, func(l modelLease) bool {
		return slices.ContainsFunc(slices.Collect(maps.Keys(released)), func(i int) bool { return all[i].token == l.token })
	})
	m.want.DoubleReleases += uint64(doubles)
	err := ReleaseAll(batch)
	if doubles > 0 {
		require.ErrorIs(rt, err, ErrReleased)
	} else {
		require.NoError(rt, err)
	}
	require.Equal(rt, wakes, m.wakes, "wake-ups")
}

// finish ends what is left, and nothing may be.
func (m *model) finish(rt *rapid.T) {
	for m.users > 0 {
		if !m.closed {
			m.close()
		} else {
			m.dropUser()
		}
	}
	for len(m.out) > 0 {
		m.check(rt)
		m.release(rt, len(m.out)-1)
	}
	m.check(rt)
	require.True(rt, m.pool.freed)
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt)
		rt.Repeat(map[string]func(*rapid.T){"": m.check, "step": m.step})
		m.finish(rt)
	})
}

// releaser is what one goroutine does in a round: release these, one by one or as
// a batch.
type releaser struct {
	leases []int
	batch  bool
}

// TestModelConcurrently has goroutines release at once, some of them the same
// leases, while the owner turns, leases and takes entries. What must hold is
// checked whenever all are done.
func TestModelConcurrently(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt)
		var wakes atomic.Int64
		m.pool.wake = func() { wakes.Add(1) }
		rounds := rapid.IntRange(1, 5).Draw(rt, "rounds")
		for round := range rounds {
			m.fillSome(rt)
			m.round(rt, rapid.Bool().Draw(rt, "close") && round == rounds-1)
		}
		m.concurrentEnd(rt)
	})
}

// fillSome completes buffers, whole and in pieces.
func (m *model) fillSome(rt *rapid.T) {
	for _, n := range rapid.SliceOfN(rapid.IntRange(1, m.page), 0, 24).Draw(rt, "lengths") {
		roomy := m.roomy()
		if len(roomy) == 0 {
			break
		}
		m.out = append(m.out, m.fill(rt, roomy[0], min(n, m.page-m.buffers[roomy[0]].used)))
	}
	m.pool.count()
}

func (m *model) round(rt *rapid.T, closes bool) {
	leases := slices.Clone(m.out)
	var plan []releaser
	if len(leases) > 0 {
		plan = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) releaser {
			return releaser{
				leases: rapid.SliceOfN(rapid.IntRange(0, len(leases)-1), 0, 2*len(leases)).Draw(rt, "leases"),
				batch:  rapid.Bool().Draw(rt, "batch"),
			}
		}), 2, 6).Draw(rt, "goroutines")
	}
	owner := rapid.SliceOfN(rapid.IntRange(0, 5), 0, 20).Draw(rt, "owner")

	wins := make([]atomic.Int32, len(leases))
	var attempts, doubles atomic.Uint64
	start := make(chan struct{})
	var wg sync.WaitGroup
	for _, r := range plan {
		wg.Go(func() {
			<-start
			if r.batch {
				batch := make([]Buffer, len(r.leases))
				for i, l := range r.leases {
					batch[i] = leases[l].Buffer
				}
				_ = ReleaseAll(batch) // which of them were released before is counted by the pool
				return
			}
			for _, l := range r.leases {
				attempts.Add(1)
				if leases[l].Release() == nil {
					wins[l].Add(1)
				} else {
					doubles.Add(1)
				}
				_ = m.pool.Stats()
			}
		})
	}
	close(start)
	before := m.want.Completions
	for _, what := range owner {
		switch what {
		case 0, 1:
			m.kernelTakes(rt, 1+what*3)
		case 2:
			m.concurrentTurn(rt)
		case 3:
			m.fillSome(rt)
		default:
			runtime.Gosched()
		}
	}
	if closes {
		m.close() // from here on the memory may go at any moment
	}
	wg.Wait()

	picked := map[int]bool{}
	batched := map[int]bool{}
	total := 0
	for _, r := range plan {
		total += len(r.leases)
		for _, l := range r.leases {
			picked[l] = true
			batched[l] = batched[l] || r.batch
		}
	}
	for l := range picked {
		n := wins[l].Load()
		require.True(rt, n == 1 || n == 0 && batched[l], "lease %d was released %d times", l, n)
	}
	m.want.DoubleReleases += uint64(total - len(picked))
	m.want.Returned += uint64(len(picked))
	tokens := map[uint64]bool{}
	for l := range picked {
		tokens[leases[l].token] = true
	}
	// A token may have come round in this round: those leased since are others.
	since := m.out[len(m.out)-int(m.want.Completions-before):]
	held := slices.DeleteFunc(slices.Clone(leases), func(l modelLease) bool { return tokens[l.token] })
	m.out = slices.Concat(held, since)
	m.checkAtRest(rt)
}

// concurrentTurn is a turn of which the model cannot foresee whether it flushes.
func (m *model) concurrentTurn(rt *rapid.T) {
	m.loop.again, m.loop.flushes, m.loop.flushers = false, nil, nil
	m.pool.beforeTurn(m.loop)
	if len(m.loop.flushes) == 0 {
		return
	}
	setFlushCalls(&m.loop.flushes[0], 1)
	m.kernelTakes(rt, int(m.pool.memory.entries))
	m.pool.flushed(m.loop, &m.loop.flushes[0])
}

// checkAtRest is check without what depends on the order of the goroutines.
func (m *model) checkAtRest(rt *rapid.T) {
	s := m.pool.Stats()
	require.Equal(rt, s, m.pool.Stats())
	require.Equal(rt, m.want.Completions, s.Completions)
	require.Equal(rt, m.want.Bytes, s.Bytes)
	require.Equal(rt, m.want.Returned, s.Returned)
	require.Equal(rt, m.want.DoubleReleases, s.DoubleReleases)
	require.Equal(rt, len(m.out), s.Outstanding)
	require.Equal(rt, m.freed(), m.pool.freed)
	if m.freed() {
		return
	}
	queue, waiting := m.returned()
	require.Len(rt, waiting, s.Waiting)
	require.True(rt, len(waiting) == 0 || m.closed || m.pool.woken || m.loop.again || !m.pool.canFlush,
		"%d returns wait, and no turn is due", len(waiting))
	m.checkPlaces(rt, slices.Concat(queue, waiting))
	for _, l := range m.out {
		require.True(rt, l.Bytes()[0] == l.stamp && l.Bytes()[l.Len()-1] == l.stamp)
	}
}

// concurrentEnd releases what is left on one goroutine each, and closes meanwhile.
func (m *model) concurrentEnd(rt *rapid.T) {
	var wg sync.WaitGroup
	for _, l := range m.out {
		wg.Go(func() { assert.NoError(rt, l.Release()) })
	}
	if !m.closed {
		m.close()
	}
	wg.Wait()
	m.want.Returned += uint64(len(m.out))
	m.out = nil
	m.checkAtRest(rt)
}
