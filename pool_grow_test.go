//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/uring"
)

// TestPoolGrowsByItself holds every buffer until the pool has grown as far as it may.
func TestPoolGrowsByItself(t *testing.T) {
	needDeviceLess(t)
	needFeature(t, FeatureAddArea)
	const first, most = 8, 60
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: first, MaxBuffers: most, MaxLeases: MaxNumBuffers})
	require.NoError(t, err)
	sender, r := newTestReceiver(t, p)
	const size = 2 << 20
	s := newStream(60)
	s.Send(t, sender, size)
	var held []Buffer
	got, err := s.receive(t, r, 0, func(b Buffer) {
		if held = append(held, b); len(held) == most {
			require.Equal(t, most, p.NumBuffers(), "all of them are out")
			require.NoError(t, ReleaseAll(held))
			held = nil
		}
	})
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, size, got)
	require.NoError(t, ReleaseAll(held))
	assert.Equal(t, most, p.NumBuffers(), "not one more")
	assert.Zero(t, p.Stats().Outstanding)
}

// TestGrowthThatFails checks that a growth that fails is tried once, logged once, and
// changes nothing.
func TestGrowthThatFails(t *testing.T) {
	var log bytes.Buffer
	k := newFakePool(t, 4, 4, refillLayouts["7.3"])
	k.loop.logger = slog.New(slog.NewTextHandler(&log, nil))
	m := k.pool.memory
	m.mayGrow.Store(true)
	k.pool.growth = growth{most: math.MaxInt, step: math.MaxInt} // no kernel accepts that
	k.pool.growIfLow()
	assert.True(t, m.mayGrow.Load(), "all buffers are free")
	k.pool.growth.allocFailed = true
	k.pool.growIfLow()
	require.False(t, m.mayGrow.Load(), "one at a time")
	k.pool.growIfLow()
	eventually(t, "the growth has failed", func() bool {
		k.loop.runPosted()
		return log.Len() > 0
	})
	k.pool.growth.allocFailed = true
	k.pool.growIfLow()
	assert.False(t, m.mayGrow.Load(), "it is not tried again")
	k.loop.runPosted()
	assert.Equal(t, 4, k.pool.NumBuffers())
	assert.Equal(t, 1, strings.Count(log.String(), "grow pool"), "%s", log.String())
}

func TestMaxBuffersOutOfRange(t *testing.T) {
	for _, n := range []int{-1, 7, MaxNumBuffers + 1} {
		_, err := PoolConfig{NumBuffers: 8, MaxBuffers: n}.withDefaults(MaxNumBuffers)
		assert.ErrorContains(t, err, "PoolConfig.MaxBuffers")
		assert.ErrorContains(t, err, "allowed are 8 to 16777216")
	}
}

// TestGrowWhileOthersReceive grows a shared pool, by one member or by all at once, while
// every member receives into it: no completion may lie in an area that a member does not
// know, and the kernel's numbers must fit.
func TestGrowWhileOthersReceive(t *testing.T) {
	needFeature(t, FeatureAddArea)
	for name, growing := range map[string]int{"one grows": 1, "all grow": 3} {
		t.Run(name, func(t *testing.T) {
			const size, rounds = 12 << 20, 30
			_, members, _ := newSharedPool(t, PoolConfig{NumBuffers: 16, MaxLeases: MaxNumBuffers}, 2)
			var all sync.WaitGroup
			for i, p := range members {
				sender, r := newTestReceiver(t, p)
				s := newStream(int64(20 + i))
				require.NoError(t, sender.SetDeadline(time.Now().Add(patience)))
				all.Go(func() {
					_, err := s.Write(sender, 0, size)
					assert.NoError(t, err)
					assert.NoError(t, sender.CloseWrite())
				})
				all.Go(func() {
					n, err := s.receive(t, r, 0, func(b Buffer) { assert.NoError(t, b.Release()) })
					assert.ErrorIs(t, err, io.EOF)
					assert.Equal(t, size, n)
				})
				if i < growing {
					all.Go(func() {
						for range rounds / growing {
							assert.NoError(t, p.Grow(t.Context(), 8))
						}
					})
				}
			}
			all.Wait()
			assert.Equal(t, 16+8*rounds, members[0].NumBuffers())
			for _, p := range members {
				assert.Zero(t, p.Stats().Outstanding)
			}
		})
	}
}

// TestPoolGrowsForImporters: an importer that holds every buffer, and wants more, has the
// owner grow, before the kernel runs out as well as after.
func TestPoolGrowsForImporters(t *testing.T) {
	needFeature(t, FeatureAddArea)
	const first, most = 16, 64
	_, members, _ := newSharedPool(t, PoolConfig{NumBuffers: first, MaxBuffers: most, MaxLeases: MaxNumBuffers}, 1)
	sender, r := newTestReceiver(t, members[1])
	want := pattern(61, most*int(pageSize()))
	send(t, sender, want)
	var got []byte
	held := takeBuffers(t, r, first-1)
	eventually(t, "the owner has grown", func() bool { return members[0].NumBuffers() > first })
	for _, b := range held {
		got = append(got, b.Bytes()...)
	}
	got = append(got, receiveAll(t, r)...)
	assert.True(t, bytes.Equal(want, got))
	require.NoError(t, ReleaseAll(held))
}

// TestAreaIsKnownBeforeTheKernelHasIt looks a completion up while the kernel adds the
// area, and after it has refused.
func TestAreaIsKnownBeforeTheKernelHasIt(t *testing.T) {
	k := newPool73(t, 4, 4)
	m := k.pool.memory
	const offset = 1 << areaShift
	completion := &uring.CQE{Res: 1, Big: [2]uint64{offset}}
	for _, kernel := range []struct {
		token uint64
		err   error
	}{
		{0, syscall.ENOMEM}, {2 << areaShift, nil}, {offset, nil},
	} {
		a, err := newArea(MemoryAnonymous, 2, pageSize(), -1)
		require.NoError(t, err)
		areas := len(*m.areas.Load())
		err = m.addArea(a, func() (uint64, error) {
			buffers, err := k.pool.take(completion, nil)
			require.NoError(t, err)
			k.pool.count()
			require.NoError(t, ReleaseAll(buffers))
			return kernel.token, kernel.err
		})
		if kernel.token == offset {
			require.NoError(t, err)
			assert.Equal(t, 6, k.pool.NumBuffers())
			return
		}
		require.Error(t, err)
		a.unmap()
		assert.Len(t, *m.areas.Load(), areas)
		assert.Equal(t, 4, k.pool.NumBuffers())
		_, err = k.pool.take(completion, nil)
		require.ErrorIs(t, err, errBadCompletion)
	}
}

// TestGrowFeedsWaitingReceive grows a pool whose buffers are all held, while a receive
// waits for one.
func TestGrowFeedsWaitingReceive(t *testing.T) {
	needFeature(t, FeatureAddArea)
	const size, first, more = 8 << 20, 16, 48
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: first})
	require.NoError(t, err)
	sender, r := newTestReceiver(t, p)
	s := newStream(12)
	s.Send(t, sender, size)

	var held []Buffer
	offset := 0
	take := func(ctx context.Context) (id uint64, err error) {
		b, err := r.Recv(ctx)
		if err != nil {
			return 0, err
		}
		require.True(t, bytes.Equal(s.At(offset, b.Len()), b.Bytes()), "%d bytes at %d differ", b.Len(), offset)
		offset += b.Len()
		held = append(held, b)
		return b.lease.token >> areaShift, nil
	}
	for range first {
		id, err := take(t.Context())
		require.NoError(t, err)
		require.Zero(t, id)
	}
	eventually(t, "every buffer is out and a receive waits", func() bool {
		stats := p.Stats()
		return stats.Outstanding == first && stats.RearmedNoBuffer > 0
	})
	stalled, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = take(stalled)
	require.ErrorIs(t, err, context.DeadlineExceeded, "nothing comes without a buffer")

	require.NoError(t, p.Grow(t.Context(), more))
	assert.Equal(t, first+more, p.NumBuffers())
	for range more {
		id, err := take(t.Context())
		require.NoError(t, err)
		require.Equal(t, uint64(1), id, "the first area's buffers are held")
	}
	require.NoError(t, ReleaseAll(held))

	areas := map[uint64]int{}
	offset, err = s.receive(t, r, offset, func(b Buffer) {
		areas[b.lease.token>>areaShift]++
		assert.NoError(t, b.Release())
	})
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, size, offset)
	// The stream is much longer than the buffers last without returns.
	assert.Greater(t, areas[1], 2*more, "the second area's buffers come back")
	assert.Positive(t, areas[0])
	assert.Zero(t, p.Stats().Outstanding)

	// Several more areas: all of them are used and unmapped.
	for range 3 {
		require.NoError(t, p.Grow(t.Context(), 4))
	}
	assert.Equal(t, first+more+12, p.NumBuffers())
	sender, r = newTestReceiver(t, p)
	s.Send(t, sender, size)
	s.receiveExactly(t, r, size)
	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	require.True(t, unmapped(p))
	for i, a := range areasOf(p) {
		assert.Nil(t, a.mem, "area %d", i)
	}
}

// TestGrowNeedsTheKernel checks the error on kernels that cannot add areas, whatever the
// number of buffers.
func TestGrowNeedsTheKernel(t *testing.T) {
	missing := Have(FeatureAddArea)
	if missing == nil {
		return // see TestGrowFeedsWaitingReceive
	}
	k := newPool73(t, 4, 4)
	for _, n := range []int{1, 0, -1} {
		assert.Equal(t, missing, k.pool.Grow(t.Context(), n))
	}
	assert.ErrorIs(t, missing, ErrNotSupported)
	assert.Equal(t, 4, k.pool.NumBuffers())
	k.destroy()
	if Have(FeatureDeviceLess) == nil {
		p, err := NewDeviceLessPool(t.Context(), newTestLoop(t, LoopConfig{}), PoolConfig{NumBuffers: 4})
		require.NoError(t, err)
		assertLayer(t, p.Grow(t.Context(), 1), LayerKernel)
		assert.Equal(t, 4, p.NumBuffers())
	}
}

// TestGrowRefusesBadNumbers checks that Grow leaves the pool unchanged after an error.
func TestGrowRefusesBadNumbers(t *testing.T) {
	ctx := t.Context()
	needFeature(t, FeatureAddArea)
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	p, err := NewDeviceLessPool(ctx, l, PoolConfig{NumBuffers: 4})
	require.NoError(t, err)
	most := int(maxAreaSize / uint64(p.BufferSize()))
	const tries = 4
	refused := []int{0, -1, -1 << 62, most + 1, 1 << 40, 1<<63 - 1}
	maps := mappings(t)
	for _, n := range slices.Repeat(refused, tries) {
		err := p.Grow(ctx, n)
		assert.ErrorContains(t, err, fmt.Sprintf("%d is out of range: allowed are 1 to %d", n, most))
	}
	assert.Less(t, mappings(t), maps+tries) // the runtime maps on its own now and then
	assert.Equal(t, 4, p.NumBuffers())
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, p.Grow(cancelled, 1), context.Canceled)

	require.NoError(t, p.Close())
	assert.ErrorIs(t, p.Grow(ctx, 1), ErrClosed)
	other, err := NewDeviceLessPool(ctx, l, PoolConfig{NumBuffers: 4})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	assert.ErrorIs(t, other.Grow(ctx, 1), ErrClosed)
	assert.Equal(t, 4, other.NumBuffers())
}
