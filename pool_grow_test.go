//go:build linux && cgo

package zcrx

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestPoolGrowsByItself holds everything until the pool has grown as far as it may.
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

// TestGrowthThatFails is tried once, told once, and changes nothing.
func TestGrowthThatFails(t *testing.T) {
	var log bytes.Buffer
	k := newFakePool(t, 4, 4, refillLayouts["7.3"])
	k.loop.logger = slog.New(slog.NewTextHandler(&log, nil))
	k.pool.growth = growth{most: 8, step: -1} // no kernel takes that
	k.pool.growIfLow()
	assert.False(t, k.pool.growth.underWay, "all buffers are free")
	k.pool.growth.allocFailed = true
	k.pool.growIfLow()
	require.True(t, k.pool.growth.underWay)
	k.pool.growIfLow() // one at a time
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
