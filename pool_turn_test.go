//go:build linux && cgo

package zcrx

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
)

func TestOwnerFlushesBeforeTheKernelRunsDry(t *testing.T) {
	k := newPool73(t, 16, 8)
	k.pool.flushAt = 4
	b := k.completeN(8)
	release(t, b[:3]...)
	assert.False(t, k.turn(), "3 of 4")
	release(t, b[3])
	assert.True(t, k.turn())
	assert.Zero(t, k.pending())
	release(t, b[4:]...)
	k.destroy()
}

func TestFullRefillQueueWakesOwnerOnce(t *testing.T) {
	k := newPool73(t, 16, 2)
	wakes := 0
	k.pool.wake = func() { wakes++ }
	b := k.completeN(8)
	release(t, b...)
	assert.Equal(t, 1, wakes)
	assert.True(t, k.turn(), "a full refill queue asks for a flush")
	assert.Equal(t, 2, k.pending(), "what waited is drained right after the flush")
	assert.True(t, k.loop.again, "the loop does not sleep on waiting returns")
	for k.loop.again {
		k.loop.again = false
		k.turn()
	}
	assert.Zero(t, k.pool.Stats().Waiting)
	k.destroy()
}

// TestReturnWhileTheLoopFallsAsleep returns a lease after the loop has looked for one and
// before it sets that a receive waits: the loop must look again.
func TestReturnWhileTheLoopFallsAsleep(t *testing.T) {
	k := newPool73(t, 16, 16)
	b := k.completeN(3)
	seen := k.pool.seenReturns()
	release(t, b[0])
	assert.False(t, k.pool.setStarving(true, seen))
	assert.Zero(t, k.pool.memory.starving)
	seen = k.pool.seenReturns()
	assert.True(t, k.pool.setStarving(true, seen))
	assert.False(t, k.loop.kick.Load())
	release(t, b[1])
	assert.True(t, k.loop.kick.Load(), "now the return wakes the loop")
	k.loop.kick.Store(false)
	release(t, b[2])
	assert.False(t, k.loop.kick.Load(), "once a turn")
	k.destroy()
}

// TestOtherMembersFlushWhenOneCannot makes one member's flush fail: the other member
// flushes what waits, now and later.
func TestOtherMembersFlushWhenOneCannot(t *testing.T) {
	k := newPool73(t, 16, 2)
	other := newFakeMember(k.pool.memory, DeviceLess)
	other.canFlush = true
	b := k.completeN(8)
	release(t, b[:4]...)
	assert.True(t, k.loop.kick.Swap(false))
	assert.False(t, other.loop.kick.Load())
	k.pool.beforeTurn(k.loop)
	require.Len(t, k.loop.flushes, 1)
	setFlushError(&k.loop.flushes[0], syscall.EIO)
	k.pool.flushed(k.loop, &k.loop.flushes[0])
	assert.True(t, other.loop.kick.Load(), "2 returns wait")

	other.beforeTurn(other.loop)
	require.Len(t, other.loop.flushes, 1)
	k.takeEntries(2)
	other.flushed(other.loop, &other.loop.flushes[0])
	assert.Zero(t, k.pool.Stats().Waiting)
	other.loop.kick.Store(false)
	release(t, b[4:]...)
	assert.True(t, other.loop.kick.Load())
	assert.False(t, k.loop.kick.Load())
	other.dropUser()
	k.destroy()
	assert.False(t, k.mapped())
}

func TestFailedFlushIsNotRepeated(t *testing.T) {
	k := newPool73(t, 16, 2)
	release(t, k.completeN(4)...)
	k.pool.beforeTurn(k.loop)
	require.Len(t, k.loop.flushes, 1)
	setFlushError(&k.loop.flushes[0], syscall.EIO)
	k.pool.flushed(k.loop, &k.loop.flushes[0])
	assert.Equal(t, uint64(1), k.pool.Stats().FlushErrors)
	assert.ErrorIs(t, k.pool.flushErr, syscall.EIO)
	assert.False(t, k.turn())
	k.destroy()
}

// TestReceiverEndsWhenFlushFails imitates a kernel that refuses to empty the refill queue:
// receives that wait for a buffer end with its error, and no buffer is lost.
func TestReceiverEndsWhenFlushFails(t *testing.T) {
	const buffers = 8
	l, p := newDeviceLessPool(t, PoolConfig{NumBuffers: buffers})
	sender, r := newTestReceiver(t, p)
	data := pattern(1, 64*buffers*int(pageSize()))
	go func() { _, _ = sender.Write(data) }() // the receiver's end ends it
	held := takeBuffers(t, r, buffers)
	var got []byte
	for _, b := range held {
		got = append(got, b.Bytes()...)
	}
	require.True(t, bytes.HasPrefix(data, got))
	require.NoError(t, l.do(func() error {
		f := newFlushRequest(p.id, p.memory.refillQueue.khead, 0)
		setFlushError(&f, syscall.EIO)
		p.flushed(l, &f)
		return nil
	}))
	require.NoError(t, ReleaseAll(held))
	held = nil
	for { // what came before the failure is received first
		b, err := r.Recv(t.Context())
		if err != nil {
			require.ErrorIs(t, err, syscall.EIO)
			break
		}
		held = append(held, b)
	}
	require.NoError(t, ReleaseAll(held))
	s := p.Stats()
	assert.Zero(t, s.Outstanding)
	assert.Equal(t, uint64(1), s.FlushErrors, "it is not tried again and again")
	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	assert.True(t, unmapped(p))
}

// TestLoopSleepsWhileEveryBufferIsHeld holds every buffer while data waits: the loop
// sleeps, and continues when the buffers are released.
func TestLoopSleepsWhileEveryBufferIsHeld(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const buffers = 16
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: buffers, MaxLeases: MaxNumBuffers})
		sender, r := newTestReceiver(t, p)
		want := pattern(4, 4*buffers*int(pageSize()))
		send(t, sender, want)
		var got []byte
		held := takeBuffers(t, r, buffers)
		for _, b := range held {
			got = append(got, b.Bytes()...)
		}
		eventually(t, "the receive ended for want of a buffer, and the loop sleeps", func() bool {
			// Before 7.2.10 the receive may sleep.
			ended := p.Stats().RearmedNoBuffer > 0 || olderKernel(sys.KernelRelease(), 7, 2, 10) && mode == DeviceLess
			return ended && l.asleep.Load()
		})
		before := l.Stats().Turns
		time.Sleep(100 * time.Millisecond) // long enough for thousands of turns if the loop did not sleep
		assert.LessOrEqual(t, l.Stats().Turns, before+10)
		release(t, held...)
		got = append(got, receiveAll(t, r)...)
		assert.True(t, bytes.Equal(want, got))
	})
}
