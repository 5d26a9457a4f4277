//go:build linux && cgo

package zcrx

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHundredGoroutinesProbeOnce(t *testing.T) {
	cache := &featureCache{}
	probes := 0
	want := &Features{Kernel: "x"}
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			fs, err := cache.get(func() (*Features, error) { probes++; return want, nil })
			assert.NoError(t, err)
			assert.Same(t, want, fs)
		})
	}
	wg.Wait()
	assert.Equal(t, 1, probes)
}

func TestInconclusiveProbeIsNotKept(t *testing.T) {
	cache := &featureCache{}
	passing := errors.New("no file descriptor")
	_, err := cache.get(func() (*Features, error) { return &Features{}, passing })
	require.ErrorIs(t, err, passing)
	fs, err := cache.get(func() (*Features, error) { return &Features{Kernel: "now"}, nil })
	require.NoError(t, err)
	assert.Equal(t, "now", fs.Kernel)
}

func TestProbeLeaksNothing(t *testing.T) {
	fds, maps := openFDs(t), mappings(t)
	for range 50 {
		fs, err := probeFeatures()
		require.NoError(t, err)
		assert.NoError(t, fs.Have(FeatureProvidedBuffers))
	}
	assert.Equal(t, fds, openFDs(t))
	assert.Less(t, mappings(t), maps+20) // the runtime maps on its own now and then
}

func TestHaveAgreesWithFeatures(t *testing.T) {
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	for _, f := range AllFeatures() {
		assert.Equal(t, fs.Have(f), Have(f), "%s", f)
	}
	assert.ErrorContains(t, Have(numFeatures), "out of range")
	if fs.Have(FeatureFlush) == nil {
		assert.Positive(t, fs.RefillHeaderSize, "a kernel with flush tells")
	}
	if fs.Have(FeatureEvents) == nil {
		assert.Equal(t, 2, fs.EventTypes)
		assert.Equal(t, 16, fs.EventStatsSize)
		assert.Equal(t, 8, fs.EventStatsAlign)
	}
}

// BenchmarkProbe measures a whole probe, without the cache.
func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := probeFeatures(); err != nil {
			b.Fatal(err)
		}
	}
}
