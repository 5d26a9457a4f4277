//go:build linux && cgo

package zcrx

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
	want := pattern(60, 2<<20)
	send(t, sender, want)
	var held []Buffer
	got := 0
	for {
		b, err := r.Recv(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[got:got+b.Len()], b.Bytes()))
		got += b.Len()
		if held = append(held, b); len(held) == most {
			require.Equal(t, most, p.NumBuffers(), "all of them are out")
			require.NoError(t, ReleaseAll(held))
			held = nil
		}
	}
	require.Equal(t, len(want), got)
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
	k.pool.growth = growth{most: 8, step: -1} // no kernel accepts that
	k.pool.growIfLow()
	assert.False(t, k.pool.growth.underWay, "all buffers are free")
	k.pool.growth.allocFailed = true
	k.pool.growIfLow()
	require.True(t, k.pool.growth.underWay)
	k.pool.growIfLow() // only one growth at a time
	eventually(t, "the growth has failed", func() bool {
		k.loop.runPosted()
		return !k.pool.growth.underWay
	})
	k.pool.growth.allocFailed = true
	k.pool.growIfLow()
	assert.False(t, k.pool.growth.underWay, "it is not tried again")
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
	for _, n := range []int{0, -1, -1 << 62, most + 1, 1 << 40, 1<<63 - 1} {
		maps := mappings(t)
		err := p.Grow(ctx, n)
		assert.ErrorContains(t, err, fmt.Sprintf("%d is out of range: allowed are 1 to %d", n, most))
		assert.LessOrEqual(t, mappings(t), maps+1) // the runtime maps on its own now and then
	}
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
