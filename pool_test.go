//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// fakeKernel plays the kernel's side of a pool: it takes refill entries lazily and in
// order, holds one reference for each completion, and fails the test for an entry that it
// did not hand out.
type fakeKernel struct {
	t          *testing.T
	pool       *Pool
	loop       *Loop
	references []int // for each buffer, its completions that are out
	free       []int // buffers that have no reference, in the order of their return
}

// newFakePool makes a pool for which the test plays the kernel, with the refill queue laid
// out at offsets.
func newFakePool(t *testing.T, buffers, entries int, offsets refillOffsets) *fakeKernel {
	t.Helper()
	p := newFakeMember(newFakeMemory(t, buffers, entries, offsets), DeviceLess)
	p.owner, p.canFlush, p.flushAt = true, true, uint32(entries)
	k := &fakeKernel{t: t, pool: p, loop: p.loop, references: make([]int, buffers)}
	for i := range buffers {
		k.free = append(k.free, i)
	}
	return k
}

// newFakeMemory maps the memory that the members of a pool share.
func newFakeMemory(t *testing.T, buffers, entries int, offsets refillOffsets) *poolMemory {
	t.Helper()
	a, err := newArea(MemoryAnonymous, buffers, pageSize(), -1)
	require.NoError(t, err)
	region, err := sys.MapAnonymous(refillRegionSize(uint32(entries), pageSize()), pageSize())
	require.NoError(t, err)
	return fakeMemory(t, a, region, offsets, entries)
}

// newFakeMember makes a member on a loop that has no ring, as a registration or an
// import does.
func newFakeMember(m *poolMemory, mode Mode) *Pool {
	p := &Pool{loop: &Loop{}, mode: mode}
	p.setMemory(m)
	m.hold()
	m.join(p)
	return p
}

// fakeMemory makes a poolMemory of area and region, as a registration does.
func fakeMemory(t testing.TB, a area, region []byte, offsets refillOffsets, entries int) *poolMemory {
	t.Helper()
	m := &poolMemory{bufferSize: a.bufferSize, region: region, entries: uint32(entries)}
	m.areas.Store(&[]area{a})
	m.numBuffers.Store(int64(a.buffers()))
	var err error
	m.refillQueue, err = newRefillQueue(region, offsets, m.entries)
	require.NoError(t, err)
	return m
}

// The three layouts of refill queues in kernels: up to 6.17, 6.18 to 7.2, and 7.3.
var refillLayouts = map[string]refillOffsets{
	"6.15": {head: 0, tail: 4, entries: 8},
	"6.18": {head: 0, tail: 4, entries: 64},
	"7.3":  {head: 0, tail: 64, entries: 128},
}

func newPool73(t *testing.T, buffers, entries int) *fakeKernel {
	return newFakePool(t, buffers, entries, refillLayouts["7.3"])
}

// complete makes a completion of length bytes at offset in a buffer, and the
// pool's Buffer for it.
func (k *fakeKernel) complete(buffer, offset, length int) Buffer {
	k.t.Helper()
	k.references[buffer]++
	c := uring.CQE{Res: int32(length), Flags: uring.CQEMore, Big: [2]uint64{uint64(buffer)*uint64(pageSize()) + uint64(offset)}}
	b, err := takeOne(k.pool, &c)
	require.NoError(k.t, err)
	k.pool.count()
	return b
}

// takeOne is take for a completion that fills one Buffer.
func takeOne(s source, c *uring.CQE) (Buffer, error) {
	var room [1]Buffer
	got, err := s.take(c, room[:0])
	if err != nil {
		return Buffer{}, err
	}
	if len(got) != 1 {
		return Buffer{}, fmt.Errorf("%d buffers", len(got))
	}
	return got[0], nil
}

// completeN fills n whole free buffers.
func (k *fakeKernel) completeN(n int) []Buffer {
	k.t.Helper()
	var out []Buffer
	for range n {
		require.NotEmpty(k.t, k.free, "the kernel has no free buffer")
		buffer := k.free[0]
		k.free = k.free[1:]
		out = append(out, k.complete(buffer, 0, int(pageSize())))
	}
	return out
}

// takeEntries consumes up to n refill entries and returns how many there were.
func (k *fakeKernel) takeEntries(n int) int {
	k.t.Helper()
	q := &k.pool.memory.refillQueue
	taken := 0
	for head := atomic.LoadUint32(q.khead); taken < n && head != q.published(); taken++ {
		e := (*refillEntry)(unsafe.Add(q.entries, uintptr(head&q.mask)*unsafe.Sizeof(refillEntry{})))
		require.Zero(k.t, e.length, "length is the kernel's")
		buffer := int(e.offset / uint64(pageSize()))
		require.Less(k.t, buffer, len(k.references), "entry %#x is outside the area", e.offset)
		require.Positive(k.t, k.references[buffer], "buffer %d was returned more often than handed out", buffer)
		k.references[buffer]--
		if k.references[buffer] == 0 {
			k.free = append(k.free, buffer)
		}
		head++
		atomic.StoreUint32(q.khead, head)
	}
	return taken
}

func (k *fakeKernel) pending() int { return int(k.pool.memory.refillQueue.pending()) }

// turn plays the loop's part: it drains, and flushes if the pool asks for it.
func (k *fakeKernel) turn() (flushed bool) {
	k.t.Helper()
	k.loop.flushes, k.loop.flushers = nil, nil
	k.pool.beforeTurn(k.loop)
	if len(k.loop.flushes) == 0 {
		return false
	}
	k.takeEntries(len(k.references))
	k.pool.flushed(k.loop, &k.loop.flushes[0])
	return true
}

func (k *fakeKernel) destroy() { k.pool.dropUser() }

func (k *fakeKernel) mapped() bool { return (*k.pool.memory.areas.Load())[0].mem != nil }

func release(t *testing.T, buffers ...Buffer) {
	t.Helper()
	for _, b := range buffers {
		require.NoError(t, b.Release())
	}
}

func TestSeveralCompletionsInOneBuffer(t *testing.T) {
	for _, entries := range []int{4, 2} { // 2: one waits, then is drained
		k := newPool73(t, 4, entries)
		base := uintptr(unsafe.Pointer(unsafe.SliceData((*k.pool.memory.areas.Load())[0].mem)))
		b := []Buffer{k.complete(0, 0, 1600), k.complete(0, 1600, 1000), k.complete(1, 0, 100)}
		for i, offset := range []uintptr{0, 1600, pageSize()} {
			assert.Equal(t, base+offset, uintptr(unsafe.Pointer(unsafe.SliceData(b[i].Bytes()))))
		}
		release(t, b...)
		assert.Equal(t, min(3, entries), k.pending())
		assert.Equal(t, 3-min(3, entries), k.pool.Stats().Waiting)
		k.takeEntries(2)
		k.turn()
		k.takeEntries(2)
		assert.Zero(t, k.references[0])
		assert.Zero(t, k.references[1])
		k.destroy()
	}
}

func TestBadCompletionsAreRefused(t *testing.T) {
	k := newPool73(t, 4, 4)
	page := uint64(pageSize())
	for name, c := range map[string]uring.CQE{
		"behind the area":     {Res: 1, Big: [2]uint64{4 * page}},
		"far behind the area": {Res: 1, Big: [2]uint64{areaMask}},
		"over the end":        {Res: 2, Big: [2]uint64{4*page - 1}},
		"over a buffer's end": {Res: 2, Big: [2]uint64{page - 1}},
		"longer than buffer":  {Res: int32(page) + 1},
		"unknown area":        {Res: 1, Big: [2]uint64{1 << areaShift}},
		"no bytes":            {Res: 0},
	} {
		_, err := takeOne(k.pool, &c)
		assert.ErrorIs(t, err, errBadCompletion, name)
	}
	assert.Zero(t, k.pool.Stats().Outstanding)
	k.destroy()
}

// FuzzCompletion looks for a completion that becomes bytes outside the areas, of which
// there are two.
func FuzzCompletion(f *testing.F) {
	f.Add(uint64(0), int32(4096))
	f.Add(uint64(1)<<areaShift, int32(1))
	f.Add(uint64(1)<<areaShift|4*4096-1, int32(2))
	f.Add(uint64(2)<<areaShift, int32(1))
	f.Add(^uint64(0), int32(1<<31-1))
	var areas []area
	for _, buffers := range []int{8, 4} {
		a, err := newArea(MemoryAnonymous, buffers, pageSize(), -1)
		require.NoError(f, err)
		areas = append(areas, a)
	}
	m := &poolMemory{bufferSize: areas[0].bufferSize}
	m.areas.Store(&areas)
	p := &Pool{memory: m}
	p.ledger.init(&m.mu, p, func() {})
	f.Fuzz(func(t *testing.T, offset uint64, res int32) {
		if res < 0 {
			return // not a completion with data
		}
		b, err := takeOne(p, &uring.CQE{Res: res, Big: [2]uint64{offset}})
		if err != nil {
			require.ErrorIs(t, err, errBadCompletion)
			return
		}
		mem := areas[offset>>areaShift].mem
		start, data := sliceAddr(mem), sliceAddr(b.Bytes())
		require.GreaterOrEqual(t, data, start)
		require.LessOrEqual(t, data+uintptr(b.Len()), start+uintptr(len(mem)))
	})
}

// TestNewPoolRefusesBadArguments compares what the kernel refuses with the layer and the
// remedy in the error.
func TestNewPoolRefusesBadArguments(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	fds, maps := openFDs(t), mappings(t)
	ctx := t.Context()
	lo := Queue{Interface: "lo"}
	for want, queue := range map[string]Queue{
		`interface "nosuch0": no such interface`:                           {Interface: "nosuch0"},
		`receive queue of "lo", -1 is out of range: allowed are 0 to 0`:    {Interface: "lo", Number: -1},
		`receive queue of "lo", 99999 is out of range: allowed are 0 to 0`: {Interface: "lo", Number: 99999},
		"Queue.Interface is empty: name an interface":                      {},
	} {
		_, err := NewPool(ctx, l, queue, PoolConfig{})
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, ProbeQueue(queue), want)
	}
	for want, cfg := range map[string]PoolConfig{
		"out of range: allowed are 1 to 16777216":                     {NumBuffers: 1 << 40},
		"RefillEntries 40000 is out of range: allowed are 1 to 32768": {RefillEntries: 40000},
	} {
		_, err := NewPool(ctx, l, lo, cfg)
		assert.ErrorContains(t, err, want)
		_, err = NewDeviceLessPool(ctx, l, cfg)
		assert.ErrorContains(t, err, want)
	}
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	if fs.Have(FeatureZeroCopy) == nil {
		for _, size := range []int{0, 64 << 10} { // the large one is tried again as pages
			_, err := NewPool(ctx, l, lo, PoolConfig{NumBuffers: 16, BufferSizeHint: size})
			assertLayer(t, err, LayerDevice)
			assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
		}
	}
	if err := fs.Have(FeatureDeviceLess); err != nil {
		_, got := NewDeviceLessPool(ctx, l, PoolConfig{})
		assert.Equal(t, err, got, "refused before it is tried")
	}
	narrow := newTestLoop(t, LoopConfig{CompletionSize: Completion16})
	if fs.Have(FeatureZeroCopy) == nil {
		_, err = NewPool(ctx, narrow, lo, PoolConfig{})
		assert.ErrorContains(t, err, "completions have 16 bytes")
	}
	require.NoError(t, narrow.Close())
	assert.Equal(t, fds, openFDs(t))
	assert.LessOrEqual(t, mappings(t), maps+8) // the runtime maps on its own now and then
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = NewPool(cancelled, l, lo, PoolConfig{})
	assert.Error(t, err)
}

// TestRegistrationIsRetried imitates an earlier owner whose teardown takes a while.
func TestRegistrationIsRetried(t *testing.T) {
	tries := 0
	err := retryExist(t.Context(), func() error {
		if tries++; tries < 4 {
			return &KernelError{Op: "register", Errno: syscall.EEXIST}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 4, tries)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err = retryExist(ctx, func() error { return syscall.EEXIST })
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, syscall.EEXIST)
}

// TestBufferSizeFallsBackToPages checks which errors for a large buffer size lead to
// page-sized buffers of the same total size.
func TestBufferSizeFallsBackToPages(t *testing.T) {
	for _, test := range []struct{ given, want PoolConfig }{
		{
			PoolConfig{NumBuffers: 64, MaxBuffers: 256, BufferSizeHint: 256 * int(pageSize())},
			PoolConfig{NumBuffers: 16384, MaxBuffers: 65536, MaxLeases: 4096, RefillEntries: maxRefillEntries},
		},
		{
			PoolConfig{NumBuffers: 100, MaxLeases: 10, RefillEntries: 128, BufferSizeHint: 16 * int(pageSize())},
			PoolConfig{NumBuffers: 1600, MaxLeases: 160, RefillEntries: 2048},
		},
		{
			PoolConfig{MaxBuffers: MaxNumBuffers, BufferSizeHint: 2 * int(pageSize())},
			PoolConfig{NumBuffers: 2 * DefaultNumBuffers, MaxBuffers: MaxNumBuffers, MaxLeases: DefaultNumBuffers / 2, RefillEntries: maxRefillEntries},
		},
	} {
		_, err := test.given.withDefaults(MaxNumBuffers)
		require.NoError(t, err)
		got, err := test.given.inPages().withDefaults(MaxNumBuffers)
		require.NoError(t, err)
		assert.Equal(t, test.want, got, "every number that counts buffers or leases grows alike")
	}
	for errno, falls := range map[syscall.Errno]bool{
		syscall.EINVAL: true, syscall.ERANGE: true, syscall.EOPNOTSUPP: true,
		syscall.EPERM: false, syscall.EBUSY: false, syscall.EEXIST: false, syscall.ENOMEM: false, syscall.ENODEV: false,
	} {
		req := ifqRequest{ifindex: 1 << 30, bufferSize: 16 << 12}
		assert.Equal(t, falls, refusesBufferSize(registerIfqError("register", req, errno)), "%v", errno)
	}
	assert.False(t, refusesBufferSize(nil))
}

// TestLargeBuffersWithoutADevice asks a device-less pool for large buffers, which it
// refuses.
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
