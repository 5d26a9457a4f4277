//go:build linux && cgo

package zcrx

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPoolConfigRanges(t *testing.T) {
	for name, bad := range map[string]struct {
		cfg  PoolConfig
		want string
	}{
		"no buffers":         {PoolConfig{NumBuffers: -1}, "NumBuffers -1 is out of range: allowed are 1 to 16777216"},
		"too many buffers":   {PoolConfig{NumBuffers: 1 << 40}, "NumBuffers 1099511627776 is out of range"},
		"area over 4 GiB":    {PoolConfig{NumBuffers: 1 << 21}, "allowed are 4 GiB"},
		"negative size":      {PoolConfig{BufferSizeHint: -1}, "BufferSizeHint -1 is out of range: allowed are 0 to 1073741824"},
		"huge size":          {PoolConfig{BufferSizeHint: 1 << 31}, "BufferSizeHint 2147483648 is out of range"},
		"negative refill":    {PoolConfig{RefillEntries: -1}, "RefillEntries -1 is out of range: allowed are 1 to 32768"},
		"too large a refill": {PoolConfig{RefillEntries: 40000}, "RefillEntries 40000 is out of range"},
	} {
		_, err := bad.cfg.withDefaults(MaxNumBuffers)
		assert.ErrorContains(t, err, bad.want, name)
	}
	got, err := PoolConfig{NumBuffers: 100, RefillEntries: 65}.withDefaults(MaxNumBuffers)
	require.NoError(t, err)
	assert.Equal(t, 128, got.RefillEntries, "as the kernel rounds it")
}

// TestCopyingPoolsRefuseDMABuf checks that pools that the kernel copies into refuse a
// dma-buf, because the kernel copies into user memory only.
func TestCopyingPoolsRefuseDMABuf(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	fds := openFDs(t)
	for _, fd := range []int{0, 1} {
		_, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 4, Memory: MemoryDMABuf, DMABuf: fd})
		assert.ErrorContains(t, err, "a device-less pool cannot lie in a dma-buf")
		_, err = NewProvidedPool(l, PoolConfig{NumBuffers: 4, Memory: MemoryDMABuf, DMABuf: fd})
		assert.ErrorContains(t, err, "a provided pool cannot lie in a dma-buf")
	}
	_, err := NewProvidedPool(l, PoolConfig{NumBuffers: 4, DMABuf: 1})
	assert.ErrorContains(t, err, "goes with MemoryDMABuf")
	assert.Equal(t, fds, openFDs(t))
}

func TestWarningsOfNumbersThatDoNotFit(t *testing.T) {
	for name, test := range map[string]struct {
		maxLeases     int
		buffers, ring int
		want          []string
	}{
		"all fits":         {4096, 16384, 8192, nil},
		"unknown ring":     {64, 128, 0, nil},
		"the ring is all":  {64, 256, 256, []string{"eth0 posts up to 256 buffers of a queue, which leaves 0 of the pool's 256 for data on its way: give the pool at least 512 (NumBuffers), or run ethtool -G eth0 rx 128"}},
		"the ring is more": {64, 128, 8192, []string{"eth0 posts up to 8192 buffers of a queue, which leaves 0 of the pool's 128 for data on its way: give the pool at least 16384 (NumBuffers), or run ethtool -G eth0 rx 64"}},
		"the share is all": {300, 512, 64, []string{"a single connection may have 300 leases out (MaxLeases) of 512 buffers, and hold the pool nearly alone: give the pool at least 1200 (NumBuffers), or lower MaxLeases"}},
	} {
		assert.Equal(t, test.want, misfits("eth0", test.buffers, test.maxLeases, test.ring), name)
	}
	lo := Queue{Interface: "lo"}
	assert.Empty(t, PoolConfig{}.Warnings(lo), "it has no ring")
	assert.Empty(t, PoolConfig{NumBuffers: 1}.Warnings(Queue{}))
	assert.Empty(t, PoolConfig{}.Warnings(Queue{Interface: "no such"}))
	assert.Len(t, PoolConfig{NumBuffers: 8}.Warnings(lo), 1)
}

// TestTooManyConnectionsAreWarnedOfOnce checks that a pool with too many connections gives
// one warning.
func TestTooManyConnectionsAreWarnedOfOnce(t *testing.T) {
	var log bytes.Buffer
	p := newRescuePool(t, 3*buffersEach)
	p.loop.logger = slog.New(slog.NewTextHandler(&log, nil))
	crowd := func(n int) []string {
		t.Helper()
		require.NoError(t, p.loop.do(func() error {
			p.receivers.all = make([]consumer, n)
			p.warnOfCrowd()
			p.receivers.all = nil
			return nil
		}))
		return p.Stats().Warnings
	}
	assert.Empty(t, crowd(3))
	want := []string{"4 connections share 48 buffers: if none were read they could hold all. Give the pool at least 16 for each (NumBuffers), or use more queues"}
	assert.Equal(t, want, crowd(4))
	assert.Equal(t, want, crowd(5))
	assert.Contains(t, log.String(), want[0])
	require.NoError(t, p.loop.Close())
	assert.Equal(t, want, p.Stats().Warnings)
}
