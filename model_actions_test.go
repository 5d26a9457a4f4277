//go:build linux && cgo

package zcrx

import (
	"slices"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx/uring"
)

// The bounds of a model: members with a ring at the same time, and in total.
const (
	modelOpenMembers = 3
	modelMembers     = 6
)

// action is something that can happen to a pool.
type action struct {
	name     string
	possible bool
	do       func(*rapid.T)
}

// step lets one thing happen, of those that can.
func (m *model) step(rt *rapid.T) {
	var possible []action
	for _, a := range slices.Concat(m.kernelActions(), m.holderActions(), m.ownerActions(), m.memberActions()) {
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

// pick draws one of several members.
func pick(rt *rapid.T, of []*modelMember) *modelMember {
	return of[rapid.IntRange(0, len(of)-1).Draw(rt, "member")]
}

// fillAny completes a piece of any length in any buffer with room.
func (m *model) fillAny(rt *rapid.T, mm *modelMember) {
	buffer := rapid.SampledFrom(m.roomy()).Draw(rt, "buffer")
	m.fill(rt, mm, buffer, rapid.IntRange(1, m.room(buffer)).Draw(rt, "length"))
}

// inside returns the indexes of the leases that are out and lie in the areas.
func (m *model) inside() (list []int) {
	for i := range m.out {
		if !m.out[i].outside() {
			list = append(list, i)
		}
	}
	return list
}

func (m *model) kernelActions() []action {
	open := m.open()
	return []action{
		{"complete whole buffers", len(open) > 0 && len(m.free) > 0, func(rt *rapid.T) {
			mm := pick(rt, open)
			for range rapid.IntRange(1, len(m.free)).Draw(rt, "buffers") {
				m.fill(rt, mm, m.free[0], m.room(m.free[0]))
			}
			mm.pool.count()
		}},
		{"complete pieces", len(open) > 0 && len(m.roomy()) > 0, func(rt *rapid.T) {
			mm := pick(rt, open)
			for range rapid.IntRange(1, 6).Draw(rt, "pieces") {
				if len(m.roomy()) > 0 {
					m.fillAny(rt, mm)
				}
			}
			mm.pool.count()
		}},
		{"complete for a receiver that has ended", len(open) > 0 && len(m.roomy()) > 0, func(rt *rapid.T) {
			mm := pick(rt, open)
			m.fillAny(rt, mm)
			m.release(rt, len(m.out)-1) // before the lease was counted
			mm.pool.count()
		}},
		{"rescue", len(open) > 0 && m.mode == ZeroCopy, func(rt *rapid.T) {
			mm := pick(rt, open)
			m.rescue(mm, rapid.IntRange(1, int(pageSize())).Draw(rt, "bytes"))
			mm.pool.count()
		}},
		{"move out", len(m.inside()) > 0, func(rt *rapid.T) {
			m.moveOut(rapid.SampledFrom(m.inside()).Draw(rt, "lease"))
		}},
		{"move out what was released", len(m.gone) > 0, func(rt *rapid.T) {
			l := rapid.SampledFrom(m.gone).Draw(rt, "lease")
			l.member.pool.movedOut([]Buffer{l.Buffer})
		}},
		{"take entries", m.holders() > 0 && m.queued > 0, func(rt *rapid.T) {
			m.forget(rt, m.kernelTakes(rt, rapid.IntRange(1, m.queued).Draw(rt, "entries")))
		}},
	}
}

func (m *model) holderActions() []action {
	var stale []modelLease // leases whose records are used again
	for _, l := range m.gone {
		if slices.ContainsFunc(m.out, func(o modelLease) bool { return o.lease == l.lease }) {
			stale = append(stale, l)
		}
	}
	draw := func(rt *rapid.T, from []modelLease) modelLease {
		return from[rapid.IntRange(0, len(from)-1).Draw(rt, "lease")]
	}
	releaseAgain := func(rt *rapid.T, from []modelLease) {
		l := draw(rt, from)
		require.ErrorIs(rt, l.Release(), ErrReleased)
		l.member.want.DoubleReleases++
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
			l := draw(rt, m.gone)
			require.Nil(rt, l.Bytes())
			l.member.want.UsesAfterRelease++
		}},
	}
}

// release ends the i-th lease that is out.
func (m *model) release(rt *rapid.T, i int) {
	l := m.out[i]
	m.out = slices.Delete(m.out, i, i+1)
	m.giveBack(l)
	m.alert(!l.outside() && m.waiting() > 0)
	require.NoError(rt, l.Release())
}

// releaseAll gives the picked leases to ReleaseAll: some twice, some that were released
// before, and empty Buffers (-1). ReleaseAll takes the lock once for each run of leases of
// one member, and wakes members at the end of each run.
func (m *model) releaseAll(rt *rapid.T, all []modelLease, picks []int) {
	out := len(m.out)
	var batch []Buffer
	var run *modelMember
	released := map[int]bool{}
	doubles, inRun, full := 0, 0, false
	endRun := func(next *modelMember) {
		if inRun > 0 {
			m.alert(full)
		}
		run, inRun, full = next, 0, false
	}
	for _, i := range picks {
		if i < 0 {
			batch = append(batch, Buffer{})
			endRun(nil)
			continue
		}
		l := all[i]
		batch = append(batch, l.Buffer)
		if l.member != run {
			endRun(l.member)
		}
		if i >= out || released[i] {
			l.member.want.DoubleReleases++
			doubles++
			continue
		}
		released[i] = true
		m.giveBack(l)
		inRun++
		full = full || !l.outside() && m.waiting() > 0
	}
	endRun(nil)
	m.out = m.out[:0]
	for i, l := range all[:out] {
		if !released[i] {
			m.out = append(m.out, l)
		}
	}
	err := ReleaseAll(batch)
	if doubles > 0 {
		require.ErrorIs(rt, err, ErrReleased)
	} else {
		require.NoError(rt, err)
	}
}

// ownerActions are the actions of loops that have a pool, of which one is the owner.
func (m *model) ownerActions() []action {
	open := m.open()
	owner := m.members[0]
	var used []*modelMember // members that have a receiver
	for _, mm := range m.members {
		if mm.users > 1 || mm.closed && mm.users > 0 {
			used = append(used, mm)
		}
	}
	return []action{
		{"turn", len(open) > 0, func(rt *rapid.T) {
			m.turn(rt, pick(rt, open), rapid.IntRange(0, 19).Draw(rt, "flush succeeds unless 19") == 19)
		}},
		{"receives run out of buffers", len(open) > 0, func(rt *rapid.T) {
			mm := pick(rt, open)
			mm.starve(rapid.IntRange(1, 3).Draw(rt, "receives"))
			m.turn(rt, mm, false) // a completion is followed by one
		}},
		{"allocation failure", !owner.closed, func(rt *rapid.T) {
			(*poolEvents)(owner.pool).complete(&uring.CQE{Res: int32(eventAllocFailed)})
			owner.want.AllocFailures++
			m.turn(rt, owner, false)
		}},
		{"copy", !owner.closed, func(*rapid.T) {
			(*poolEvents)(owner.pool).complete(&uring.CQE{Res: int32(eventCopy)})
			owner.want.CopyEvents++
		}},
		{"grow", len(open) > 0 && len(m.areas()) < 3, func(rt *rapid.T) {
			a, err := newArea(MemoryAnonymous, rapid.IntRange(1, 8).Draw(rt, "buffers"), pageSize(), -1)
			require.NoError(rt, err)
			id := len(m.areas())
			require.NoError(rt, m.memory.addArea(a, func() (uint64, error) { return uint64(id) << areaShift, nil }))
			m.addBuffers(id)
			for _, mm := range open {
				mm.grown = true
				mm.wakes++
			}
		}},
		{"a receiver comes", len(open) > 0, func(rt *rapid.T) {
			if mm := pick(rt, open); mm.users < 4 {
				require.True(rt, mm.pool.addUser())
				mm.users++
			}
		}},
		{"a receiver goes", len(used) > 0, func(rt *rapid.T) { pick(rt, used).dropUser() }},
	}
}

// memberActions are the joining and leaving of members.
func (m *model) memberActions() []action {
	open := m.open()
	return []action{
		{"export", m.flushes && !m.handle && !m.members[0].closed, func(*rapid.T) { m.export() }},
		{"close the handle", m.handle, func(*rapid.T) { m.closeHandle() }},
		{"import", m.handle && len(open) < modelOpenMembers && len(m.members) < modelMembers, func(rt *rapid.T) {
			m.addMember(rapid.IntRange(1, int(m.memory.entries)).Draw(rt, "flush at"))
		}},
		{"close a member", len(open) > 0, func(rt *rapid.T) {
			// The last one only rarely: without it little happens.
			if len(open) == 1 && rapid.IntRange(0, 3).Draw(rt, "close if 3") != 3 {
				return
			}
			mm := pick(rt, open)
			m.close(mm)
			require.Equal(rt, mm.users > 0, mm.pool.addUser(), "nobody comes in once all have gone")
			if mm.users > 0 {
				mm.pool.dropUser()
			}
		}},
	}
}

// close ends a member; what waits is the others' to flush.
func (m *model) close(mm *modelMember) {
	mm.closed = true // returns no longer matter to it
	m.alert(m.waiting() > 0)
	mm.close()
}
