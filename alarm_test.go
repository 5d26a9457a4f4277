//go:build linux && cgo

package zcrx

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLoopsAreWokenWithoutTheLock checks for each reason to wake a loop that the pool's lock
// is free meanwhile.
func TestLoopsAreWokenWithoutTheLock(t *testing.T) {
	for name, cause := range map[string]func(t *testing.T, k *fakeKernel){
		"release while a receive waits": func(t *testing.T, k *fakeKernel) {
			b := k.completeN(1)
			require.True(t, k.pool.setStarving(true, k.pool.seenReturns()))
			release(t, b...)
		},
		"bytes are moved while a receive waits": func(t *testing.T, k *fakeKernel) {
			r := k.queued(1, 0)
			require.True(t, k.pool.setStarving(true, k.pool.seenReturns()))
			r.moveUnread()
			release(t, r.incoming.takeAll()...)
		},
		"refill queue full": func(t *testing.T, k *fakeKernel) { release(t, k.completeN(3)...) },
		"release that ends a pause": func(t *testing.T, k *fakeKernel) {
			s, b := k.pausedShare(t)
			s.resumeAt = s.earliest
			release(t, b)
		},
		"consumer waits for the end of a pause": func(t *testing.T, k *fakeKernel) {
			s, b := k.pausedShare(t)
			s.limit = 4
			release(t, b)
			k.pool.resumeEarly(s)
		},
		"consumer has caught up": func(t *testing.T, k *fakeKernel) {
			s, b := k.pausedShare(t)
			k.pool.resumeSoon(s)
			release(t, b)
		},
		"pool has grown": func(t *testing.T, k *fakeKernel) {
			a, err := newArea(MemoryAnonymous, 2, pageSize(), -1)
			require.NoError(t, err)
			require.NoError(t, k.pool.memory.addArea(a, func() (uint64, error) { return 1 << areaShift, nil }))
		},
		"member wants more": func(_ *testing.T, k *fakeKernel) { k.pool.memory.wantMore() },
		"every buffer is out": func(t *testing.T, k *fakeKernel) {
			k.pool.leavesAsleep = true
			release(t, k.completeN(4)...)
		},
		"member in need": func(_ *testing.T, k *fakeKernel) { k.pool.memory.askOthers(nil) },
		"another member leaves": func(t *testing.T, k *fakeKernel) {
			other := newFakeMember(k.pool.memory, DeviceLess)
			waitForRoom(t, k)
			k.pool.memory.leave(other)
			other.dropUser()
		},
		"another member cannot flush": func(t *testing.T, k *fakeKernel) {
			other := newFakeMember(k.pool.memory, DeviceLess)
			waitForRoom(t, k)
			k.pool.memory.leaveFlushing(other)
			k.pool.memory.leave(other)
			other.dropUser()
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newPool73(t, 4, 2)
			wakes := 0
			k.pool.wake = func() {
				wakes++
				if assert.True(t, k.pool.mu.TryLock(), "the lock is held") {
					k.pool.mu.Unlock()
				}
			}
			cause(t, k)
			assert.Positive(t, wakes)
			k.pool.dropUser()
		})
	}
}

// pausedShare returns a share of which one lease, the only one, is out.
func (k *fakeKernel) pausedShare(t *testing.T) (*share, Buffer) {
	t.Helper()
	s := &share{limit: 1, receiver: resumeFunc(func() {})}
	b := k.completeN(1)[0]
	b.lease.share = s
	s.taken++
	require.True(t, k.pool.pauseIfExhausted(s))
	return s, b
}

// waitForRoom fills the refill queue of 2, so that returns wait.
func waitForRoom(t *testing.T, k *fakeKernel) {
	t.Helper()
	release(t, k.completeN(3)...)
	k.pool.woken = false
}
