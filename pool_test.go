//go:build linux && cgo

package zcrx

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// fakeKernel is the kernel's side of a pool, kept honest: it takes refill
// entries lazily and in order, holds one reference per completion, and fails the
// test for an entry that it did not hand out.
type fakeKernel struct {
	t          *testing.T
	pool       *Pool
	loop       *Loop
	references []int // per buffer: completions that are out
	free       []int // buffers that have no reference, in the order of their return
}

// newFakePool makes a pool whose kernel is the test, with the refill queue's
// header laid out as offsets say.
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

// newFakeMemory maps what the members of a pool have in common.
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
	p.use(m)
	m.hold()
	m.join(p)
	return p
}

// fakeMemory puts area and region together, as a registration does.
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

// The three layouts that kernels have had: up to 6.17, 6.18 to 7.2, and 7.3.
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

// turn is the loop's part: drain, and flush if the pool asks for it.
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

func TestBufferHasLengthAndCapacityOfCompletion(t *testing.T) {
	k := newPool73(t, 4, 4)
	b := k.complete(0, 0, 2048)
	bytes := b.Bytes()
	assert.Len(t, bytes, 2048)
	assert.Equal(t, 2048, cap(bytes))
	grown := append(bytes, 1) //nolint:gocritic // that it does not land in bytes is the point
	assert.NotSame(t, unsafe.SliceData(bytes), unsafe.SliceData(grown), "append must copy")
	release(t, b)
	k.destroy()
}

func TestMemoryLivesUntilLastRelease(t *testing.T) {
	k := newPool73(t, 4, 4)
	b := k.completeN(2)
	release(t, b[0])
	k.destroy()
	require.True(t, k.mapped())
	assert.Equal(t, byte(0), b[1].Bytes()[0], "the memory can be read")
	assert.Equal(t, 1, k.pool.Stats().Outstanding)
	release(t, b[1])
	assert.False(t, k.mapped())
	assert.ErrorIs(t, b[1].Release(), ErrReleased, "also after the memory has gone")
	assert.Nil(t, b[1].Bytes())
}

func TestReturnsWaitForRoom(t *testing.T) {
	k := newPool73(t, 8, 2)
	b := k.completeN(4)
	release(t, b[:3]...)
	assert.Equal(t, 2, k.pending())
	assert.Equal(t, 1, k.pool.Stats().Waiting)
	k.takeEntries(2)
	assert.Equal(t, 1, k.pool.Stats().Waiting, "nobody has drained yet")
	release(t, b[3])
	assert.Equal(t, 2, k.pending())
	assert.Equal(t, 0, k.pool.Stats().Waiting)
	k.destroy()
}

func TestManyReturnsIntoSmallRefillQueue(t *testing.T) {
	k := newPool73(t, 200, 8)
	b := k.completeN(200)
	release(t, b[:150]...)
	assert.Equal(t, 8, k.pending())
	assert.Equal(t, 142, k.pool.Stats().Waiting)
	require.Equal(t, 8, k.takeEntries(8))
	release(t, b[150])
	assert.Equal(t, 135, k.pool.Stats().Waiting)
	require.Equal(t, 8, k.takeEntries(8))
	release(t, b[151:161]...)
	assert.Equal(t, 137, k.pool.Stats().Waiting)
	release(t, b[161:]...)
	for k.pool.Stats().Waiting > 0 {
		require.Positive(t, k.takeEntries(8))
		k.pool.drain()
	}
	k.takeEntries(8)
	assert.Len(t, k.free, 200)
	k.destroy()
	assert.False(t, k.mapped())
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

func TestBufferSizeHints(t *testing.T) {
	page := int(pageSize())
	for hint, want := range map[int]int{0: page, 512: page, 6000: page, page: page, 2 * page: 2 * page, 3 * page: page, 65536: 65536} {
		assert.Equal(t, want, bufferSizeFor(hint), "hint %d", hint)
	}
}

// TestCopyStatisticsOfTheFakeKernel: what the kernel counted is shown as it stands,
// however often it is read, by the owner alone, and to the end.
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

func TestDestroyWithWaitingReturnsLeaksNothing(t *testing.T) {
	k := newPool73(t, 16, 2)
	b := k.completeN(10)
	release(t, b[:8]...)
	assert.Equal(t, 6, k.pool.Stats().Waiting)
	k.takeEntries(2)
	release(t, b[8:]...)
	assert.Equal(t, 6, k.pool.Stats().Waiting)
	k.destroy()
	assert.False(t, k.mapped(), "waiting returns hold no memory")
}

func TestEntriesAndIndexesWrapAround(t *testing.T) {
	for kernel, layout := range refillLayouts {
		t.Run(kernel, func(t *testing.T) {
			k := newFakePool(t, 8, 4, layout)
			// Start right before the indexes overflow 32 bits.
			q := &k.pool.memory.refillQueue
			q.tail = ^uint32(0) - 5
			atomic.StoreUint32(q.khead, q.tail)
			q.publish()
			for range 20 {
				b := k.completeN(3)
				release(t, b...)
				require.Equal(t, 3, k.pending())
				require.Equal(t, 3, k.takeEntries(8))
			}
			k.destroy()
		})
	}
}

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

// TestReturnWhileTheLoopFallsAsleep has a return come after the loop looked for one
// and before it says that a receive waits: the loop must look again.
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

// TestOtherMembersFlushWhenOneCannot fails one member's flush: what waits, and what
// will wait, is brought to the other.
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

// FuzzCompletion looks for a completion that leads out of the areas, of which there
// are two.
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
			return // no data completion
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

func TestDoubleReleaseIsDetectedByAnyone(t *testing.T) {
	k := newPool73(t, 64, 64)
	b := k.completeN(1)[0]
	var wins, losses atomic.Int32
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			if b.Release() == nil {
				wins.Add(1)
			} else {
				losses.Add(1)
			}
		})
	}
	wg.Wait()
	assert.Equal(t, int32(1), wins.Load())
	assert.Equal(t, int32(31), losses.Load())
	assert.Equal(t, uint64(31), k.pool.Stats().DoubleReleases)
	assert.Equal(t, 1, k.takeEntries(64), "one entry reached the refill queue")

	// The record is used again: the old handle must not end the new lease.
	again := k.completeN(leaseChunk / 8)
	assert.ErrorIs(t, b.Release(), ErrReleased)
	assert.Nil(t, b.Bytes())
	assert.Equal(t, uint64(1), k.pool.Stats().UsesAfterRelease)
	release(t, again...)
	k.destroy()
}

func TestReleaseAll(t *testing.T) {
	k, other := newPool73(t, 64, 64), newPool73(t, 64, 64)
	mixed := slices.Concat(k.completeN(5), other.completeN(5), []Buffer{{}}, k.completeN(1))
	release(t, mixed[2], mixed[7])
	assert.ErrorIs(t, ReleaseAll(mixed), ErrReleased)
	for _, k := range []*fakeKernel{k, other} {
		s := k.pool.Stats()
		assert.Zero(t, s.Outstanding)
		assert.Equal(t, uint64(1), s.DoubleReleases)
		k.destroy()
		assert.False(t, k.mapped())
	}
}

// TestReleasesFromManyGoroutines runs producers against the owner's turns and a
// kernel that takes entries lazily, in ever changing order.
func TestReleasesFromManyGoroutines(t *testing.T) {
	const buffers, rounds, goroutines = 256, 2000, 8
	k := newPool73(t, buffers, 16)
	work := make(chan []Buffer, goroutines)
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for run := range work {
				if len(run)%2 == 0 {
					assert.NoError(t, ReleaseAll(run))
					continue
				}
				for _, b := range run {
					assert.NoError(t, b.Release())
				}
			}
		})
	}
	rng := rand.New(rand.NewSource(1))
	for range rounds {
		if n := min(len(k.free), 1+rng.Intn(32)); n > 0 {
			work <- k.completeN(n)
		}
		k.turn()
		k.takeEntries(rng.Intn(8))
		if len(k.free) == 0 {
			runtime.Gosched()
		}
	}
	close(work)
	wg.Wait()
	for k.pool.drain() > 0 || k.pending() > 0 {
		k.takeEntries(buffers)
	}
	s := k.pool.Stats()
	assert.Len(t, k.free, buffers, "every buffer came back once")
	assert.Equal(t, s.Completions, s.Returned)
	assert.Zero(t, s.Outstanding)
	assert.Zero(t, s.DoubleReleases)
	k.destroy()
	assert.False(t, k.mapped())
}

func TestOffsetQueueKeepsOrder(t *testing.T) {
	var q offsetQueue
	rng := rand.New(rand.NewSource(2))
	in, out := uint64(0), uint64(0)
	for in < 10_000 {
		for range rng.Intn(100) {
			q.push(in)
			in++
		}
		for n := rng.Intn(100); n > 0 && q.len() > 0; n-- {
			require.Equal(t, out, q.first())
			q.drop()
			out++
		}
	}
	require.Equal(t, int(in-out), q.len())
}

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

func TestRefillQueueRefusesBadOffsets(t *testing.T) {
	region := make([]byte, 4096)
	for _, off := range []refillOffsets{{head: 4093}, {tail: 1 << 20}, {entries: 4000}, {entries: ^uint32(0)}} {
		_, err := newRefillQueue(region, off, 16)
		assert.Error(t, err, "%+v", off)
	}
	_, err := newRefillQueue(region, refillOffsets{tail: 4, entries: 64}, 12)
	assert.Error(t, err, "12 is no power of two")
}

func TestAreaIsAlignedForHugePages(t *testing.T) {
	a, err := newArea(MemoryAnonymous, 1024, pageSize(), -1)
	require.NoError(t, err)
	defer a.unmap()
	assert.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(a.mem)))%hugePageSize)
	assert.Len(t, a.mem, 1024*os.Getpagesize())
}
