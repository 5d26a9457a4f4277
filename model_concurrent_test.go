//go:build linux && cgo

package zcrx

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// releaser is what one goroutine does in a round: release leases, one by one or as a batch.
type releaser struct {
	leases []int
	batch  bool
}

// duty is one thing that a member's loop does in a round.
type duty struct {
	what    string
	entries int   // refill entries to take
	lengths []int // completions to make
	flushAt int   // flushAt of a new member
}

var duties = []string{"take entries", "take entries", "turn", "turn", "complete", "run out", "yield", "yield", "import"}

// round is what happens at the same time: releases, some of them of the same leases, while
// every member's loop does its duties and some members close.
type round struct {
	releasers []releaser
	members   []memberRound
	close     bool // the handle closes
}

type memberRound struct {
	duties []duty
	close  bool
}

func drawRound(rt *rapid.T, leases, members int, last bool) (r round) {
	if leases > 0 {
		r.releasers = rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) releaser {
			return releaser{
				leases: rapid.SliceOfN(rapid.IntRange(0, leases-1), 0, 2*leases).Draw(rt, "leases"),
				batch:  rapid.Bool().Draw(rt, "batch"),
			}
		}), 2, 6).Draw(rt, "goroutines")
	}
	for range members {
		r.members = append(r.members, memberRound{
			duties: rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) duty {
				return duty{
					what:    rapid.SampledFrom(duties).Draw(rt, "what"),
					entries: rapid.IntRange(1, 4).Draw(rt, "entries"),
					lengths: rapid.SliceOfN(rapid.IntRange(1, int(pageSize())), 0, 8).Draw(rt, "lengths"),
					flushAt: rapid.IntRange(1, 16).Draw(rt, "flush at"),
				}
			}), 0, 20).Draw(rt, "duties"),
			// Before the last round, one stays.
			close: rapid.Bool().Draw(rt, "close") && (last || len(r.members) > 0),
		})
	}
	r.close = rapid.IntRange(0, 3).Draw(rt, "close the handle if 3") == 3
	return r
}

// TestModelConcurrently releases on many goroutines while the members' loops, each on a
// goroutine of its own, run turns, lease, take entries, join and leave. The pool is checked
// whenever all have finished.
func TestModelConcurrently(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newModel(t, rt)
		if m.flushes && rapid.Bool().Draw(rt, "shared") {
			m.export()
			for range rapid.IntRange(0, modelOpenMembers-1).Draw(rt, "importers") {
				m.addMember(1)
			}
		}
		rounds := rapid.IntRange(1, 5).Draw(rt, "rounds")
		for i := range rounds {
			for _, mm := range m.open() {
				m.fillSome(rt, mm, rapid.SliceOfN(rapid.IntRange(1, int(pageSize())), 0, 24).Draw(rt, "lengths"))
			}
			m.round(rt, drawRound(rt, len(m.out), len(m.open()), i == rounds-1))
			m.checkAtRest(rt)
		}
		m.concurrentEnd(rt)
	})
}

// fillSome completes buffers, whole and in pieces.
func (m *model) fillSome(t require.TestingT, mm *modelMember, lengths []int) {
	for _, n := range lengths {
		roomy := m.roomy()
		if len(roomy) == 0 {
			break
		}
		m.fill(t, mm, roomy[0], min(n, m.room(roomy[0])))
	}
	mm.pool.count()
}

func (m *model) round(rt *rapid.T, r round) {
	leases, open := slices.Clone(m.out), m.open()
	wins := make([]atomic.Int32, len(leases))
	var found findings
	start := make(chan struct{})
	var wg sync.WaitGroup
	for _, rel := range r.releasers {
		wg.Go(func() {
			<-start
			rel.run(leases, wins)
		})
	}
	for i, mm := range open {
		wg.Go(func() {
			<-start
			for _, d := range r.members[i].duties {
				m.onDuty(&found, mm, d)
			}
			if r.members[i].close {
				m.kernel.Lock()
				defer m.kernel.Unlock()
				mm.close() // from here on the memory may be unmapped at any moment
			}
		})
	}
	if r.close && m.handle {
		wg.Go(func() {
			<-start
			m.kernel.Lock()
			defer m.kernel.Unlock()
			m.closeHandle()
		})
	}
	close(start)
	wg.Wait()
	require.Empty(rt, found.list)
	m.settle(rt, r.releasers, leases, wins)
}

func (r releaser) run(leases []modelLease, wins []atomic.Int32) {
	if r.batch {
		batch := make([]Buffer, len(r.leases))
		for i, l := range r.leases {
			batch[i] = leases[l].Buffer
		}
		_ = ReleaseAll(batch) // which of them were released before is counted by the pool
		return
	}
	for _, l := range r.leases {
		if leases[l].Release() == nil {
			wins[l].Add(1)
		}
		_, _ = leases[l].member.pool.Stats(), leases[l].member.pool.SharedStats()
	}
}

// onDuty runs on the goroutine that is the member's loop.
func (m *model) onDuty(t require.TestingT, mm *modelMember, d duty) {
	switch d.what {
	case "take entries":
		m.kernel.Lock()
		defer m.kernel.Unlock()
		m.kernelTakes(t, d.entries)
	case "turn":
		m.concurrentTurn(t, mm)
	case "complete":
		m.kernel.Lock()
		defer m.kernel.Unlock()
		m.fillSome(t, mm, d.lengths)
	case "run out":
		mm.starve(1)
		m.concurrentTurn(t, mm)
	case "import":
		m.kernel.Lock()
		defer m.kernel.Unlock()
		if m.handle && len(m.open()) < modelOpenMembers && len(m.members) < modelMembers {
			m.addMember(d.flushAt)
		}
	default:
		runtime.Gosched()
	}
}

// concurrentTurn is a turn of which the model cannot predict whether it flushes.
func (m *model) concurrentTurn(t require.TestingT, mm *modelMember) {
	if flush := mm.beforeTurn(); flush != nil {
		setFlushCalls(flush, 1)
		m.kernelFlushes(t)
		mm.pool.flushed(mm.loop, flush)
	}
	mm.rest()
}

func (m *model) kernelFlushes(t require.TestingT) {
	m.kernel.Lock()
	defer m.kernel.Unlock()
	m.kernelTakes(t, int(m.memory.entries))
}

// settle has the model hold what the releases of a round came to.
func (m *model) settle(rt *rapid.T, releasers []releaser, leases []modelLease, wins []atomic.Int32) {
	picked, batched := map[int]int{}, map[int]bool{}
	for _, r := range releasers {
		for _, l := range r.leases {
			picked[l]++
			batched[l] = batched[l] || r.batch
		}
	}
	for l, times := range picked {
		n := wins[l].Load()
		require.True(rt, n == 1 || n == 0 && batched[l], "lease %d was released %d times", l, n)
		mm := leases[l].member
		mm.want.DoubleReleases += uint64(times - 1)
		mm.want.Returned++
		m.returned++
	}
	// Leases made since then follow these.
	var held []modelLease
	for i, l := range leases {
		if picked[i] == 0 {
			held = append(held, l)
		}
	}
	m.out = append(held, m.out[len(leases):]...)
}

// checkAtRest is check without what depends on the order of the goroutines.
func (m *model) checkAtRest(rt *rapid.T) {
	for i, mm := range m.members {
		s := mm.pool.Stats()
		require.Equal(rt, s, mm.pool.Stats())
		require.Equal(rt, mm.want.Completions, s.Completions, "member %d", i)
		require.Equal(rt, mm.want.Bytes, s.Bytes, "member %d", i)
		require.Equal(rt, mm.want.Returned, s.Returned, "member %d", i)
		require.Equal(rt, mm.want.DoubleReleases, s.DoubleReleases, "member %d", i)
		require.Equal(rt, m.outOf(mm), s.Outstanding, "member %d", i)
		require.Equal(rt, m.freed(mm), mm.pool.freed, "member %d", i)
		mm.hungry = slices.Repeat([]supply{{}}, len(mm.pool.receivers.waiting))
	}
	s := m.members[0].pool.SharedStats()
	require.Equal(rt, m.returned, s.Returned)
	require.Equal(rt, len(m.out), s.Outstanding)
	m.checkMemory(rt)
	if m.holders() == 0 {
		return
	}
	queue, waiting := m.wayBack()
	require.Len(rt, waiting, s.Waiting)
	require.Len(rt, queue, s.RefillPending)
	m.checkPlaces(rt, slices.Concat(queue, waiting))
	m.checkNobodySleeps(rt, len(queue), len(waiting))
	for _, l := range m.out {
		require.True(rt, l.Bytes()[0] == l.stamp && l.Bytes()[l.Len()-1] == l.stamp)
	}
}

// concurrentEnd releases what is left on one goroutine each, while members and
// handle close.
func (m *model) concurrentEnd(rt *rapid.T) {
	var wg sync.WaitGroup
	for _, l := range m.out {
		wg.Go(func() { assert.NoError(rt, l.Release()) })
		l.member.want.Returned++
		m.returned++
	}
	if m.handle {
		wg.Go(func() { exported{fd: -1, memory: m.memory}.giveUp() })
	}
	for _, mm := range m.open() {
		wg.Go(mm.close)
	}
	wg.Wait()
	m.out, m.handle = nil, false
	m.checkAtRest(rt)
	require.Zero(rt, m.holders())
}

// findings collects what goroutines find wrong: rapid's own failures must be reported on
// the goroutine that runs the test.
type findings struct {
	mu   sync.Mutex
	list []string
}

func (f *findings) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, fmt.Sprintf(format, args...))
}

// FailNow ends the goroutine, which unlocks what it holds.
func (f *findings) FailNow() { runtime.Goexit() }
