//go:build linux && cgo

package zcrx

import (
	"bytes"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/uring"
)

// TestEventsAreCountedAndArmedAgain plays the kernel's events on a real pool. The
// kernel's answer to the arming shows that it reached the right instance.
func TestEventsAreCountedAndArmedAgain(t *testing.T) {
	needDeviceLess(t)
	needFeature(t, FeatureEvents)
	var log bytes.Buffer
	l := newTestLoop(t, LoopConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	for i := range uint64(3) {
		require.NoError(t, l.do(func() error {
			assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: int32(eventAllocFailed)}))
			assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: int32(eventCopy)}))
			assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: 77}), "an event of a later kernel")
			assert.False(t, l.ops.dispatch(&uring.CQE{UserData: p.events + 1}), "only the event's user data is an event")
			return nil
		}))
		s := p.Stats()
		assert.Equal(t, i+1, s.AllocFailures)
		assert.Equal(t, i+1, s.CopyEvents)
		assert.Equal(t, s, p.Stats(), "reading changes nothing")
	}
	assert.Equal(t, 3, strings.Count(log.String(), "has not fired"), "%s", log.String())

	// Buffer traffic between events disturbs neither; a real copy event comes.
	sender, r := newTestReceiver(t, p)
	send(t, sender, pattern(1, 100_000))
	assert.Len(t, receiveAll(t, r), 100_000)
	s := p.Stats()
	assert.Equal(t, uint64(3), s.AllocFailures)
	assert.Equal(t, uint64(4), s.CopyEvents)
	assert.Equal(t, uint64(100_000), s.Bytes)

	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	require.NoError(t, l.do(func() error {
		assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: int32(eventAllocFailed)}), "a closed pool's event is no stray")
		return nil
	}))
	assert.Equal(t, uint64(3), p.Stats().AllocFailures)
}

// TestCopiesAreNoticedOnce plays the kernel's word that it copied for a pool that
// should not need that.
func TestCopiesAreNoticedOnce(t *testing.T) {
	var log bytes.Buffer
	k := newFakePool(t, 4, 4, refillLayouts["7.3"])
	k.pool.mode = ZeroCopy
	k.loop.ring = &zcrxRing{Ring: &uring.Ring{}} // a closed one: arming the event again fails, and is reported
	k.loop.logger = slog.New(slog.NewTextHandler(&log, nil))
	for range 3 {
		(*poolEvents)(k.pool).complete(&uring.CQE{Res: int32(eventCopy)})
	}
	assert.Equal(t, uint64(3), k.pool.Stats().CopyEvents)
	assert.Equal(t, 1, strings.Count(log.String(), "the kernel copies what connections receive"), "%s", log.String())
}

// TestMemoryIsKeptFromChildrenAndDumps reads the flags of the mappings: dd is "not in core
// dumps", dc "not in child processes".
func TestMemoryIsKeptFromChildrenAndDumps(t *testing.T) {
	m, err := mapPoolMemory(&PoolConfig{RefillEntries: 16}, 16, int(pageSize()))
	require.NoError(t, err)
	defer m.unmap()
	grown, err := newArea(MemoryAnonymous, 1024, pageSize(), -1) // whole huge pages
	require.NoError(t, err)
	defer grown.unmap()
	for _, mem := range [][]byte{(*m.areas.Load())[0].mem, m.region, grown.mem} {
		flags := mappingFlags(t, mem)
		assert.Contains(t, flags, "dd")
		assert.Contains(t, flags, "dc")
	}
}

// mappingFlags are the flags of the mapping that mem begins in.
func mappingFlags(t *testing.T, mem []byte) []string {
	t.Helper()
	smaps, err := os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	start, inside := sliceAddr(mem), false
	for line := range strings.Lines(string(smaps)) {
		if from, to, ok := mappingRange(line); ok {
			inside = from <= start && start < to
		}
		if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && inside {
			return strings.Fields(flags)
		}
	}
	require.Fail(t, "the memory is not mapped")
	return nil
}

// mappingRange reads the first line of a mapping in smaps.
func mappingRange(line string) (from, to uintptr, ok bool) {
	addresses, _, _ := strings.Cut(line, " ")
	low, high, ok := strings.Cut(addresses, "-")
	if !ok {
		return 0, 0, false
	}
	f, err1 := strconv.ParseUint(low, 16, 64)
	h, err2 := strconv.ParseUint(high, 16, 64)
	return uintptr(f), uintptr(h), err1 == nil && err2 == nil
}

// TestBufferSizeFallsBackToPages: these answers to a large buffer size, and no
// others, lead to page-sized buffers of the same total size.
func TestBufferSizeFallsBackToPages(t *testing.T) {
	cfg := PoolConfig{NumBuffers: 100, BufferSizeHint: 16 * int(pageSize())}
	assert.Equal(t, int(pageSize()), pageSizedInstead(&cfg, cfg.BufferSizeHint))
	assert.Equal(t, 1600, cfg.NumBuffers, "the total stays")
	for errno, falls := range map[syscall.Errno]bool{
		syscall.EINVAL: true, syscall.ERANGE: true, syscall.EOPNOTSUPP: true,
		syscall.EPERM: false, syscall.EBUSY: false, syscall.EEXIST: false, syscall.ENOMEM: false, syscall.ENODEV: false,
	} {
		req := ifqRequest{ifindex: 1 << 30, bufferSize: 16 << 12}
		assert.Equal(t, falls, refusesBufferSize(registerIfqError("register", req, errno)), "%v", errno)
	}
	assert.False(t, refusesBufferSize(nil))
}

// TestLargeBuffersWithoutADevice asks for what device-less pools refuse.
func TestLargeBuffersWithoutADevice(t *testing.T) {
	needDeviceLess(t)
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 8, BufferSizeHint: 4 * int(pageSize())})
	require.NoError(t, err)
	assert.Equal(t, int(pageSize()), p.BufferSize())
	assert.Equal(t, 32, p.NumBuffers())
	sender, r := newTestReceiver(t, p)
	send(t, sender, pattern(2, 1<<18))
	assert.True(t, bytes.Equal(pattern(2, 1<<18), receiveAll(t, r)))
}
