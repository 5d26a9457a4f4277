//go:build linux && cgo

package zcrx

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// queued makes a receiver of k's pool with n leases that were not taken, and that was read
// from takes times.
func (k *fakeKernel) queued(n int, takes uint64) *Receiver {
	p := k.pool
	r := &Receiver{takes: takes, loopSide: loopSide{pool: p, loop: k.loop, share: &share{limit: 1 << 20}}}
	p.receivers.add(r)
	leases := k.completeN(n)
	r.deliver(leases, 0)
	r.incoming.add(leases)
	r.batch = nil
	return r
}

// TestUnreadBytesAreMovedFromWhoHoldsMost checks whose bytes are moved, and when.
func TestUnreadBytesAreMovedFromWhoHoldsMost(t *testing.T) {
	k := newPool73(t, 24, 64)
	some, most, read := k.queued(3, 0), k.queued(5, 0), k.queued(4, 1)
	rl := &k.pool.receivers
	s := &strain{size: 16, othersWait: true} // 5 are to be free
	left := func() []int { return []int{some.incoming.inPool(), most.incoming.inPool(), read.incoming.inPool()} }
	start := time.Now()
	for _, test := range []struct {
		after time.Duration
		more  bool
		left  []int
	}{
		{0, true, []int{3, 5, 4}},
		{unreadPause - 1, true, []int{3, 5, 4}},
		{unreadPause, true, []int{3, 0, 4}}, // some of them are enough
		{unreadPause, true, []int{0, 0, 4}},
		{readPause - 1, true, []int{0, 0, 4}},
		{readPause, false, []int{0, 0, 0}},
	} {
		assert.Equal(t, test.more, rl.moveUnread(s, start.Add(test.after)), "after %v", test.after)
		assert.Equal(t, test.left, left(), "after %v", test.after)
	}
	assert.EqualValues(t, 12*pageSize(), k.pool.Stats().UnreadBytes)
	for _, r := range []*Receiver{some, most, read} {
		require.NoError(t, ReleaseAll(r.incoming.takeAll()))
	}
	k.destroy()
}

// TestReaderThatIsOnlySlowIsLeftAlone has a consumer that takes something now and then.
func TestReaderThatIsOnlySlowIsLeftAlone(t *testing.T) {
	k := newPool73(t, 8, 8)
	r := k.queued(6, 1)
	s := &strain{size: 8, othersWait: true}
	now := time.Now()
	var one [1]Buffer
	for range 5 {
		assert.True(t, k.pool.receivers.moveUnread(s, now))
		now = now.Add(readPause - 1)
		assert.True(t, k.pool.receivers.moveUnread(s, now))
		require.Equal(t, 1, r.incoming.take(one[:]))
		r.takes++
		require.NoError(t, one[0].Release())
		now = now.Add(time.Hour)
	}
	assert.Zero(t, k.pool.Stats().UnreadBytes)
	require.NoError(t, ReleaseAll(r.incoming.takeAll()))
	k.destroy()
}

// TestNobodyIsRelievedWhoWaitsAlone checks that a receiver's own bytes are not moved for its
// own sake.
func TestNobodyIsRelievedWhoWaitsAlone(t *testing.T) {
	k := newPool73(t, 8, 8)
	waits, other := k.queued(3, 0), k.queued(2, 0)
	rl := &k.pool.receivers
	rl.addWaiting(waits)
	now := time.Now()
	s := &strain{size: 32}
	rl.moveUnread(s, now)
	rl.moveUnread(s, now.Add(unreadPause))
	assert.Equal(t, 3, waits.incoming.inPool())
	assert.Zero(t, other.incoming.inPool())
	s.othersWait = true
	rl.moveUnread(s, now.Add(unreadPause))
	assert.Zero(t, waits.incoming.inPool())
	require.NoError(t, ReleaseAll(waits.incoming.takeAll()))
	require.NoError(t, ReleaseAll(other.incoming.takeAll()))
	k.destroy()
}

func TestWhenAPoolIsInNeed(t *testing.T) {
	one, two := []consumer{&Receiver{}}, []consumer{&Receiver{}, &Receiver{}}
	for name, test := range map[string]struct {
		waiting []consumer
		strain  strain
		want    bool
	}{
		"enough":                {nil, strain{receivers: 2, size: 8, out: 8}, false},
		"one waits":             {one, strain{receivers: 2, size: 8}, true},
		"the only one waits":    {one, strain{receivers: 1, size: 8, out: 8}, false},
		"all wait":              {two, strain{receivers: 2, size: 8}, true},
		"another member's":      {nil, strain{receivers: 2, size: 8, othersWait: true}, true},
		"packets are lost soon": {nil, strain{receivers: 2, size: 8, runsLow: true}, true},
		"its own packets":       {nil, strain{receivers: 1, size: 8, runsLow: true}, false},
	} {
		rl := &receiverList{waiting: test.waiting}
		assert.Equal(t, test.want, rl.relieve(&Loop{}, &test.strain), name)
	}
}

// TestUnreadMemoryIsBounded checks when no connection gets further ahead.
func TestUnreadMemoryIsBounded(t *testing.T) {
	const page = 4096
	for _, test := range []struct {
		strain strain
		want   bool
	}{
		{strain{out: 50, size: 100}, false},
		{strain{out: 51, size: 100}, true},
		{strain{size: 100, receivers: 2, bufferSize: page, moved: (50 + 2*64) * page}, false},
		{strain{size: 100, receivers: 2, bufferSize: page, moved: (50+2*64)*page + 1}, true},
	} {
		assert.Equal(t, test.want, test.strain.scarce(), "%+v", test.strain)
	}
}

// TestMovedBytesAreLeases moves unread bytes out of a pool and checks that they are the same
// leases: charged to the share, counted, released once.
func TestMovedBytesAreLeases(t *testing.T) {
	k := newPool73(t, 4, 4)
	r := k.queued(4, 0)
	var before []byte
	for _, b := range r.incoming.first.buffers[:4] {
		before = append(before, b.Bytes()...)
	}
	var one [1]Buffer
	r.incoming.take(one[:])
	assert.Equal(t, 3, r.moveUnread())
	assert.Zero(t, r.moveUnread())
	m := k.pool.memory
	assert.Equal(t, 3, k.pending(), "their buffers go back")
	assert.Equal(t, moved{leases: 3, bytes: uint64(3 * pageSize())}, m.moved)
	assert.Equal(t, 1, m.countUsed())
	s := k.pool.Stats()
	assert.Equal(t, 4, s.Outstanding)
	assert.Zero(t, s.Returned)
	assert.EqualValues(t, 3*pageSize(), s.UnreadBytes)
	assert.EqualValues(t, 4, r.share.taken-r.share.returned)

	taken := append(one[:], r.incoming.takeAll()...)
	k.takeEntries(3)
	for _, b := range k.completeN(3) { // into the same buffers
		clear(b.Bytes())
		require.NoError(t, b.Release())
	}
	var after []byte
	for _, b := range taken {
		assert.Equal(t, b.Len(), cap(b.Bytes()))
		after = append(after, b.Bytes()...)
		require.NoError(t, b.Skip(b.Len()).Release())
		require.ErrorIs(t, b.Release(), ErrReleased)
		assert.Nil(t, b.Bytes())
	}
	assert.Equal(t, before, after)
	assert.Zero(t, m.moved)
	assert.Equal(t, r.share.taken, r.share.returned)
	assert.Zero(t, k.pool.Stats().Outstanding)
	k.takeEntries(4)
	assert.Len(t, k.free, 4, "each buffer is returned once")
	k.destroy()
	assert.False(t, k.mapped())
}

// TestReleaseOvertakesTheMove releases a lease whose bytes were copied before its buffer is
// given back.
func TestReleaseOvertakesTheMove(t *testing.T) {
	k := newPool73(t, 2, 2)
	r := k.queued(2, 0)
	leases, _ := r.incoming.moveOut(r.pool.accounts())
	taken := r.incoming.takeAll()
	require.NoError(t, taken[0].Release())
	k.pool.movedOut(leases)
	assert.Equal(t, 2, k.pending(), "each buffer is returned once")
	assert.Equal(t, 1, k.pool.memory.moved.leases)
	require.NoError(t, taken[1].Release())
	require.ErrorIs(t, ReleaseAll(leases), ErrReleased)
	assert.Zero(t, k.pool.memory.moved)
	k.takeEntries(2)
	k.destroy()
}

// TestMemberInNeedAsksOthers checks that a member whose receivers wait makes the others look
// for unread bytes, once until all is well again.
func TestMemberInNeedAsksOthers(t *testing.T) {
	k := newPool73(t, 4, 4)
	holder := k.pool
	r := k.queued(4, 0)
	needy := newFakeMember(holder.memory, DeviceLess)
	waits := &Receiver{loopSide: loopSide{pool: needy, loop: needy.loop, ended: true, supplySeen: needy.supplied()}}
	needy.receivers.add(waits)
	require.True(t, needy.addUser())
	require.True(t, holder.addUser())

	needy.beforeTurn(needy.loop)
	assert.False(t, holder.loop.kick.Load(), "nobody waits")
	needy.receivers.addWaiting(waits)
	needy.beforeTurn(needy.loop)
	assert.True(t, holder.loop.kick.Swap(false))
	needy.beforeTurn(needy.loop)
	assert.False(t, holder.loop.kick.Load(), "once")

	holder.beforeTurn(holder.loop)
	assert.Equal(t, 4, r.incoming.inPool(), "it is seen for the first time")
	r.idleSince, holder.receivers.unread.next = r.idleSince.Add(-unreadPause), time.Time{}
	needy.loop.kick.Store(false)
	holder.beforeTurn(holder.loop)
	assert.Zero(t, r.incoming.inPool())
	assert.True(t, needy.loop.kick.Load(), "there are buffers")
	needy.receivers.takeWaiting()
	needy.beforeTurn(needy.loop)
	needy.receivers.addWaiting(waits)
	needy.beforeTurn(needy.loop)
	assert.True(t, holder.loop.kick.Load(), "it is in need again")

	require.NoError(t, ReleaseAll(r.incoming.takeAll()))
	for _, p := range []*Pool{needy, needy, holder, holder} {
		p.dropUser()
	}
	assert.False(t, k.mapped())
}

// forget makes it seem that a receiver was not read from for an hour, and lets its loop run.
func forget(t *testing.T, receivers ...*Receiver) {
	t.Helper()
	for range 3 {
		for _, r := range receivers {
			require.NoError(t, r.do(func() error {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.takesSeen, r.idleSince = r.takes, time.Now().Add(-time.Hour)
				r.pool.users().unread.next = time.Time{}
				return nil
			}))
		}
	}
}

// TestSlowReaderAloneIsLeftAlone uses a pool up by a connection that is not read: nobody else
// needs the buffers.
func TestSlowReaderAloneIsLeftAlone(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const buffers = leastReadAhead / 2 // fewer than it may be ahead
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: buffers})
		sender, r := newTestReceiver(t, p)
		want := pattern(4, 4*buffers*int(pageSize()))
		send(t, sender, want)
		eventually(t, "every buffer is out", func() bool {
			// Before 7.2.10 the receive may sleep.
			ended := p.Stats().RearmedNoBuffer > 0 || olderKernel(sys.KernelRelease(), 7, 2, 10) && mode == DeviceLess
			return ended && p.Stats().Outstanding >= buffers
		})
		forget(t, r)
		assert.Zero(t, p.Stats().UnreadBytes)
		assert.True(t, bytes.Equal(want, receiveAll(t, r)))
		assert.Zero(t, p.Stats().UnreadBytes)
	})
}

// TestSlowReadersOfAnAmplePoolAreLeftAlone has several connections that are not read, in a
// pool that is large enough.
func TestSlowReadersOfAnAmplePoolAreLeftAlone(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size = 8 << 20
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 1024})
		s := newStream(4)
		var receivers []*Receiver
		for range 3 {
			sender, r := newTestReceiver(t, p)
			s.Send(t, sender, size)
			receivers = append(receivers, r)
		}
		for _, r := range receivers {
			eventually(t, "it is so far ahead as it may be", r.isPaused.Load)
		}
		forget(t, receivers...)
		for _, r := range receivers {
			s.receiveExactly(t, r, size)
		}
		assert.Zero(t, p.Stats().UnreadBytes)
	})
}

// TestUnreadBytesGoToWhoWaits has a connection that is not read hold what another one waits
// for.
func TestUnreadBytesGoToWhoWaits(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const buffers, size = 16, 1 << 20
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: buffers, MaxLeases: MaxNumBuffers})
		s := newStream(5)
		sender, unread := newTestReceiver(t, p)
		s.Send(t, sender, size)
		eventually(t, "it is so far ahead as it may be", unread.isPaused.Load)
		sender, r := newTestReceiver(t, p)
		s.Send(t, sender, size)
		var held []Buffer
		for p.Stats().UnreadBytes == 0 {
			held = append(held, takeBuffers(t, r, 1)...)
		}
		got := 0
		for _, b := range held {
			assert.True(t, bytes.Equal(s.At(got, b.Len()), b.Bytes()))
			got += b.Len()
			require.NoError(t, b.Release())
		}
		assert.True(t, bytes.Equal(s.At(got, size-got), receiveAll(t, r)))
		s.receiveExactly(t, unread, size)
		assert.Zero(t, p.Stats().Outstanding)
	})
}
