//go:build linux && cgo

package zcrx

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// guard is how much before and behind guarded memory cannot be touched: more than
// a length or an offset that is wrong by a few buffers.
const guard = 16 << 12

// guarded maps size bytes, whole pages, between memory that faults when touched.
// Whoever gets the bytes unmaps them; the guards stay until the test ends.
func guarded(t *testing.T, size uintptr) []byte {
	t.Helper()
	whole, err := unix.MmapPtr(-1, 0, nil, size+2*guard, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	inside := unsafe.Add(whole, guard)
	mem := unsafe.Slice((*byte)(inside), size)
	require.NoError(t, unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE))
	t.Cleanup(func() {
		assert.NoError(t, unix.MunmapPtr(whole, guard))
		assert.NoError(t, unix.MunmapPtr(unsafe.Add(inside, size), guard))
	})
	return mem
}

// faults tells whether reading the byte faults.
func faults(at unsafe.Pointer) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() != nil }()
	readByte(at)
	return false
}

//go:noinline
func readByte(at unsafe.Pointer) byte { return *(*byte)(at) }

// mappedBytes adds up how much of the size bytes at start /proc/self/maps names.
func mappedBytes(t *testing.T, start uintptr, size int) int {
	t.Helper()
	f, err := os.Open("/proc/self/maps")
	require.NoError(t, err)
	defer f.Close()
	end, mapped := start+uintptr(size), 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		_, err := fmt.Sscanf(lines.Text(), "%x-%x", &from, &to)
		require.NoError(t, err)
		if from, to = max(from, start), min(to, end); from < to {
			mapped += int(to - from)
		}
	}
	require.NoError(t, lines.Err())
	return mapped
}

// newGuardedPool makes a pool of two areas whose memory lies between guards, as do
// the entries of its refill queue: these end where the region ends.
func newGuardedPool(t *testing.T, buffers int, bufferSize uintptr, entries uint32) *Pool {
	t.Helper()
	region := guarded(t, pageSize())
	var areas []area
	for range 2 {
		areas = append(areas, area{mem: guarded(t, uintptr(buffers)*bufferSize), bufferSize: uint64(bufferSize), dmabuf: -1})
	}
	last := uint32(len(region)) - entries*uint32(unsafe.Sizeof(refillEntry{}))
	m := fakeMemory(t, areas[0], region, refillOffsets{head: last - 128, tail: last - 64, entries: last}, int(entries))
	m.areas.Store(&areas)
	m.numBuffers.Store(int64(2 * buffers))
	p := &Pool{loop: &Loop{}, mode: DeviceLess, memory: m}
	p.ledger.init(&m.mu, p, func() {})
	m.hold()
	return p
}

// areasOf lists the pool's areas.
func areasOf(p *Pool) []area { return *p.memory.areas.Load() }

// sum reads every byte, and so faults if one lies outside.
func sum(b []byte) (s int) {
	for _, c := range b {
		s += int(c)
	}
	return s
}

func TestGuardsFault(t *testing.T) {
	mem := guarded(t, pageSize())
	start := unsafe.Pointer(unsafe.SliceData(mem))
	assert.True(t, faults(unsafe.Add(start, -1)))
	assert.False(t, faults(start))
	assert.False(t, faults(unsafe.Add(start, len(mem)-1)))
	assert.True(t, faults(unsafe.Add(start, len(mem))))
	require.NoError(t, sys.Unmap(mem))
	assert.True(t, faults(start))
}

// TestGuardedBuffers reaches every byte of every buffer, returns each through a
// refill queue that it goes around several times, and nothing else is touched.
func TestGuardedBuffers(t *testing.T) {
	for _, pages := range []uintptr{1, 4} {
		const buffers = 8
		size := int(pages * pageSize())
		p := newGuardedPool(t, buffers, pages*pageSize(), 4)
		for id := range areasOf(p) {
			for i := range areasOf(p)[id].mem {
				areasOf(p)[id].mem[i] = 1
			}
		}
		for range 3 {
			for id := range areasOf(p) {
				reached := 0
				for i := range buffers {
					b, err := takeOne(p, &uring.CQE{Res: int32(size), Big: [2]uint64{uint64(id)<<areaShift + uint64(i*size)}})
					require.NoError(t, err)
					p.count()
					reached += sum(b.Bytes())
					require.NoError(t, b.Release())
					p.takeAll()
				}
				assert.Equal(t, len(areasOf(p)[id].mem), reached)
			}
		}
		p.dropUser()
	}
}

// TestGuardedLifetime looks at the memory itself: it is there to the last release,
// and then it is not.
func TestGuardedLifetime(t *testing.T) {
	p := newGuardedPool(t, 8, pageSize(), 4)
	var parts [][]byte
	for i := range areasOf(p) {
		parts = append(parts, areasOf(p)[i].mem)
	}
	parts = append(parts, p.memory.region)
	var leases []Buffer
	for id := range uint64(2) {
		for i := range uint64(8) {
			b, err := takeOne(p, &uring.CQE{Res: 100, Big: [2]uint64{id<<areaShift + i*uint64(pageSize())}})
			require.NoError(t, err)
			leases = append(leases, b)
		}
	}
	p.count()
	p.dropUser()
	for i, l := range leases {
		for _, part := range parts {
			assert.Equal(t, len(part), mappedBytes(t, sliceAddr(part), len(part)), "before release %d", i)
		}
		for _, other := range leases[i:] {
			assert.Zero(t, sum(other.Bytes()))
		}
		require.NoError(t, l.Release())
	}
	for _, part := range parts {
		assert.Zero(t, mappedBytes(t, sliceAddr(part), len(part)), "after the last release")
		assert.True(t, faults(unsafe.Pointer(unsafe.SliceData(part))))
	}
	for _, l := range leases {
		assert.ErrorIs(t, l.Release(), ErrReleased)
		assert.Nil(t, l.Bytes())
	}
}

// near draws a number on, right before or right behind a multiple of unit, or any.
func near(rt *rapid.T, unit, n uint64, label string) uint64 {
	if rapid.IntRange(0, 3).Draw(rt, label+": any if 3") == 3 {
		return rapid.Uint64().Draw(rt, label)
	}
	return rapid.Uint64Range(0, n).Draw(rt, label+": buffers")*unit +
		uint64(rapid.Int64Range(-3, 3).Draw(rt, label+": beside")) // may go below 0, round to the top
}

// TestGuardAgainstAnyCompletion gives a pool completions as no kernel should make
// them: each is an error, or a slice inside the area.
func TestGuardAgainstAnyCompletion(t *testing.T) {
	const buffers = 8
	var pools []*Pool
	for _, pages := range []uintptr{1, 4} {
		pools = append(pools, newGuardedPool(t, buffers, pages*pageSize(), 16))
	}
	accepted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		for range 20 {
			p := rapid.SampledFrom(pools).Draw(rt, "pool")
			size := p.memory.bufferSize
			offset := near(rt, size, buffers+1, "offset")&areaMask | rapid.Uint64Range(0, 3).Draw(rt, "area")<<areaShift
			if rapid.IntRange(0, 7).Draw(rt, "any area if 7") == 7 {
				offset |= rapid.Uint64().Draw(rt, "area bits") &^ areaMask
			}
			n := int32(near(rt, size, 2, "length") & (1<<31 - 1)) // a completion with an error never comes here
			b, err := takeOne(p, &uring.CQE{Res: n, Big: [2]uint64{offset}})
			p.count()
			id, inside, length := offset>>areaShift, offset&areaMask, uint64(n)
			good := id < 2 && n > 0 && inside < buffers*size && inside%size+length <= size
			require.Equal(rt, good, err == nil, "area %d, offset %#x, %d bytes: %v", id, inside, n, err)
			if err != nil {
				refused++
				require.ErrorIs(rt, err, errBadCompletion)
				require.Zero(rt, b)
				continue
			}
			accepted++
			require.Len(rt, b.Bytes(), int(n))
			require.Same(rt, &areasOf(p)[id].mem[inside], unsafe.SliceData(b.Bytes()))
			sum(b.Bytes())
			require.NoError(rt, b.Release())
			p.takeAll()
		}
	})
	assert.Positive(t, accepted)
	assert.Positive(t, refused)
	for _, p := range pools {
		assert.Zero(t, p.Stats().Outstanding)
		p.dropUser()
		assert.True(t, p.freed)
	}
}

// TestGuardedProvidedBuffers is the same for the copying pool, whose completions
// name a buffer.
func TestGuardedProvidedBuffers(t *testing.T) {
	const buffers = 200
	page := pageSize()
	entries := uint32(page / providedEntrySize) // they end with their page
	p := &ProvidedPool{
		numBuffers: buffers, bufferSize: uint64(page), owed: make([]int32, buffers),
		ring: providedRing{mem: guarded(t, page), entries: entries},
		area: area{mem: guarded(t, (buffers+1)*page), bufferSize: uint64(page), dmabuf: -1}, // one more than the pool's
	}
	mem, ring := p.area.mem, p.ring.mem
	p.ledger.init(new(sync.Mutex), p, func() {})
	for id := range uint16(buffers) {
		p.put(id)
	}
	rapid.Check(t, func(rt *rapid.T) {
		for range 20 {
			id := rapid.OneOf(rapid.Uint16Max(buffers+2), rapid.Uint16()).Draw(rt, "id")
			c := uring.CQE{Res: int32(near(rt, uint64(page), 2, "length") & (1<<31 - 1)), Flags: uring.CQEBuffer | uring.CQEFlags(id)<<16}
			if rapid.IntRange(0, 7).Draw(rt, "without a buffer if 7") == 7 {
				c.Flags &^= uring.CQEBuffer
			}
			named := c.Flags&uring.CQEBuffer != 0
			tail := p.ring.tail
			p.discard(&c)
			require.Equal(rt, named && id < buffers, p.ring.tail != tail, "only a buffer of the pool is put back")
			b, err := takeOne(p, &c)
			p.count()
			require.Equal(rt, named && id < buffers && c.Res > 0 && int(c.Res) <= int(page), err == nil, "buffer %d, %d bytes", id, c.Res)
			if err != nil {
				require.ErrorIs(rt, err, errBadCompletion)
				continue
			}
			require.Same(rt, &p.area.mem[int(id)*int(page)], unsafe.SliceData(b.Bytes()))
			sum(b.Bytes())
			require.NoError(rt, b.Release())
		}
	})
	p.dropUser()
	assert.Zero(t, mappedBytes(t, sliceAddr(mem), len(mem)))
	assert.Zero(t, mappedBytes(t, sliceAddr(ring), len(ring)))
}
