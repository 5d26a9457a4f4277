//go:build linux && cgo

package zcrx

import (
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// check holds the pool against the model.
func (m *model) check(rt *rapid.T) {
	m.checkMembers(rt)
	m.checkMemory(rt)
	if m.holders() == 0 {
		return
	}
	queue, waiting := m.wayBack()
	require.True(rt, slices.Equal(m.given[:m.queued], queue), "refill queue is %#x, must be %#x", queue, m.given[:m.queued])
	require.True(rt, slices.Equal(m.given[m.queued:], waiting), "waiting is %#x, must be %#x", waiting, m.given[m.queued:])
	m.checkPlaces(rt, slices.Concat(queue, waiting))
	m.checkNobodySleeps(rt, len(queue), len(waiting))
	for _, l := range m.out {
		b := l.Bytes()
		require.Same(rt, unsafe.SliceData(l.at), unsafe.SliceData(b))
		require.Len(rt, b, len(l.at))
		require.Equal(rt, len(l.at), cap(b))
		require.True(rt, b[0] == l.stamp && b[len(b)-1] == l.stamp, "nobody writes into a lease that is out")
	}
}

// checkMembers looks at each member's counters, and at the whole pool's.
func (m *model) checkMembers(rt *rapid.T) {
	waiting := m.waiting()
	if m.holders() == 0 {
		waiting = 0 // no longer needed
	}
	var sum PoolStats
	for i, mm := range m.members {
		mm.want.Outstanding, mm.want.Waiting = m.outOf(mm), waiting
		if m.mode == DeviceLess {
			mm.want.CopiedBytes = mm.want.Bytes
		}
		s := mm.pool.Stats()
		require.Equal(rt, mm.want, s, "member %d", i)
		require.Equal(rt, s, mm.pool.Stats(), "reading changes nothing")
		require.Equal(rt, m.freed(mm), mm.pool.freed, "member %d", i)
		require.Equal(rt, int64(mm.wakes), mm.woke.Load(), "wake-ups of member %d", i)
		sum.add(&s)
	}
	got := m.members[0].pool.SharedStats()
	require.LessOrEqual(rt, got.DoubleReleases, sum.DoubleReleases, "those of members that have gone count up to then")
	require.LessOrEqual(rt, got.UsesAfterRelease, sum.UsesAfterRelease)
	sum.DoubleReleases, sum.UsesAfterRelease = got.DoubleReleases, got.UsesAfterRelease
	sum.Waiting, sum.Returned, sum.Outstanding = waiting, m.returned, len(m.out)
	want := SharedStats{
		PoolStats: sum, Members: len(m.open()), Holders: m.holders(), RefillEntries: int(m.memory.entries), RefillPending: m.queued,
	}
	if m.holders() == 0 {
		want.RefillPending = 0
	}
	require.Equal(rt, want, got)
}

// checkMemory: it is there as long as somebody needs it, and no longer.
func (m *model) checkMemory(rt *rapid.T) {
	require.Equal(rt, m.holders(), m.memory.refs)
	for i, a := range m.areas() {
		require.Equal(rt, m.holders() > 0, a.mem != nil, "area %d is mapped as long as it has users", i)
	}
	require.Equal(rt, m.holders() > 0, m.memory.region != nil)
	open, starving := m.open(), 0
	require.Len(rt, m.memory.members, len(open))
	for i, mm := range open {
		require.Same(rt, mm.pool, m.memory.members[i])
		// A return that came meanwhile is a reason to try again, not to wait.
		require.True(rt, len(mm.hungry) > 0 == mm.pool.starving || !mm.pool.starving && mm.due.Load(), "member %d", i)
		if mm.pool.starving {
			starving++
		}
	}
	require.Equal(rt, starving, m.memory.starving)
}

// checkNobodySleeps: a loop that has something to do for its returns has a turn.
func (m *model) checkNobodySleeps(rt *rapid.T, queued, waiting int) {
	able, awake := 0, 0
	for i, mm := range m.open() {
		if !mm.canFlush {
			continue
		}
		able++
		if mm.due.Load() {
			awake++
			continue
		}
		require.False(rt, len(mm.hungry) > 0 && queued+waiting > 0,
			"member %d waits for a buffer while %d are on their way back, and will have no turn", i, queued+waiting)
	}
	require.False(rt, waiting > 0 && able > 0 && awake == 0, "%d returns wait, and nobody will flush", waiting)
}

// wayBack reads the tokens that were returned, from the places where they wait.
func (m *model) wayBack() (queue, waiting []uint64) {
	q, w := &m.memory.refillQueue, &m.memory.waiting
	for head := atomic.LoadUint32(q.khead); head != q.published(); head++ {
		queue = append(queue, refillEntryAt(q, head).offset)
	}
	for i := w.head; i != w.tail; i++ {
		waiting = append(waiting, w.ring[i&uint64(len(w.ring)-1)])
	}
	return queue, waiting
}

// checkPlaces makes sure that each completion is in one place, and each buffer
// free or in use. wayBack are the tokens on their way to the kernel.
func (m *model) checkPlaces(rt *rapid.T, wayBack []uint64) {
	dispensed := uint64(0)
	for _, mm := range m.members {
		dispensed += mm.want.Completions
	}
	rescued := 0 // leases out
	var outside moved
	for _, l := range m.out {
		if l.rescued {
			rescued++
		}
		if l.moved {
			outside.leases++
			outside.bytes += uint64(len(l.at))
		}
	}
	require.Equal(rt, rescued, m.memory.rescuedOut)
	require.Equal(rt, outside, m.memory.moved)
	require.Equal(rt, dispensed-m.rescued, m.taken+uint64(len(wayBack)+len(m.inside())),
		"dispensed is what the kernel took, what is on its way to it, and what is out")
	places := map[uint64]int{}
	references := make([]int, len(m.buffers))
	for _, token := range wayBack {
		places[token]++
		references[m.bufferOf(rt, token)]++
	}
	for _, l := range m.out {
		if l.outside() {
			continue
		}
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
