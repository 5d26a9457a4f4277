//go:build linux && cgo

package zcrx

import (
	"reflect"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/skip"
)

func TestCopyStatisticsComeFromTheKernel(t *testing.T) {
	needDeviceLess(t)
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	skip.Unless(t, FeatureEvents.String(), FeatureEvents.MinKernel(), fs.Have(FeatureEvents))
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	require.NotNil(t, p.memory.copied)
	sender, r := newTestReceiver(t, p)
	send(t, sender, pattern(1, 1<<20))
	receiveAll(t, r)
	// Nearly all: what comes out of a packet's linear part is not counted.
	counted := atomic.LoadUint64(&p.memory.copied.bytes)
	assert.LessOrEqual(t, counted, uint64(1<<20))
	assert.Greater(t, counted, uint64(1<<19))
	s := p.Stats()
	assert.Positive(t, s.CopiedFragments)
	assert.Equal(t, uint64(1<<20), s.CopiedBytes)
	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	assert.Equal(t, s.CopiedFragments, p.Stats().CopiedFragments, "also after the memory has gone")
}

// TestCopyStatisticsOfTheFakeKernel checks that Stats shows what the kernel counted,
// however often it is read, only for the owner, and also after the pool has closed.
func TestCopyStatisticsOfTheFakeKernel(t *testing.T) {
	k := newPool73(t, 4, 4)
	k.pool.mode = ZeroCopy
	importer := newFakeMember(k.pool.memory, ZeroCopy)
	// They lie at the end of the region, as in a registration.
	region := k.pool.memory.region
	counted := (*copyStats)(unsafe.Pointer(&region[len(region)-int(copyStatsSize)]))
	k.pool.memory.copied = counted
	for _, more := range []copyStats{{5, 65536}, {}, {20, 131072}} {
		atomic.AddUint64(&counted.fragments, more.fragments)
		atomic.AddUint64(&counted.bytes, more.bytes)
		want := *counted
		for range 2 {
			s, shared := k.pool.Stats(), importer.SharedStats()
			assert.Equal(t, want, copyStats{s.CopiedFragments, s.CopiedBytes})
			assert.Equal(t, want, copyStats{shared.CopiedFragments, shared.CopiedBytes})
			assert.Zero(t, importer.Stats().CopiedBytes)
		}
	}
	importer.dropUser()
	k.destroy()
	require.False(t, k.mapped())
	assert.Equal(t, uint64(25), k.pool.Stats().CopiedFragments)
	assert.Equal(t, uint64(196608), importer.SharedStats().CopiedBytes)
}

// TestPoolStatsAdd checks that add adds every counter and every warning.
func TestPoolStatsAdd(t *testing.T) {
	var one, sum PoolStats
	fields := reflect.ValueOf(&one).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(uint64(i + 1))
		case reflect.Int:
			f.SetInt(int64(i + 1))
		default:
			f.Set(reflect.ValueOf([]string{"a warning"}))
		}
	}
	sum.add(&one)
	sum.add(&one)
	for i := range fields.NumField() {
		f := reflect.ValueOf(sum).Field(i)
		name := fields.Type().Field(i).Name
		switch f.Kind() {
		case reflect.Uint64:
			assert.Equal(t, uint64(2*i+2), f.Uint(), name)
		case reflect.Int:
			assert.Equal(t, int64(2*i+2), f.Int(), name)
		default:
			assert.Equal(t, []string{"a warning"}, f.Interface(), name)
		}
	}
}
