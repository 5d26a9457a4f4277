//go:build linux && cgo

package zcrx

import (
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx/uring"
)

func TestBufferSizeHints(t *testing.T) {
	page := int(pageSize())
	for hint, want := range map[int]int{0: page, 512: page, 6000: page, page: page, 2 * page: 2 * page, 3 * page: page, 65536: 65536} {
		assert.Equal(t, want, bufferSizeFor(hint), "hint %d", hint)
	}
}

func TestAreaIsAlignedForHugePages(t *testing.T) {
	a, err := newArea(MemoryAnonymous, 1024, pageSize(), -1)
	require.NoError(t, err)
	defer a.unmap()
	assert.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(a.mem)))%hugePageSize)
	assert.Len(t, a.mem, 1024*os.Getpagesize())
}

// newGuardedPool makes a pool of two areas between guards. The entries of its refill queue
// end where the region ends, in front of a guard.
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

// areasOf returns the pool's areas.
func areasOf(p *Pool) []area { return *p.memory.areas.Load() }

// TestBuffersStayInsideTheArea reads every byte of every buffer, and returns each through a
// refill queue, several times around. A read or write outside would fault.
func TestBuffersStayInsideTheArea(t *testing.T) {
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

// near draws a number close to a multiple of unit, or any number.
func near(rt *rapid.T, unit, n uint64, label string) uint64 {
	if rapid.IntRange(0, 3).Draw(rt, label+": any if 3") == 3 {
		return rapid.Uint64().Draw(rt, label)
	}
	return rapid.Uint64Range(0, n).Draw(rt, label+": buffers")*unit +
		uint64(rapid.Int64Range(-3, 3).Draw(rt, label+": beside")) // below 0 it wraps around
}

// TestAnyCompletionStaysInsideTheArea gives a pool completions that no kernel should send:
// each is refused, or becomes a slice inside the area.
func TestAnyCompletionStaysInsideTheArea(t *testing.T) {
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
			n := int32(near(rt, size, 2, "length") & (1<<31 - 1)) // completions with an error never get here
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

// hugePages returns how many huge pages of 2 MiB are reserved and not in use.
func hugePages(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	return n
}

// TestHugeTLBPoolReceives receives into reserved huge pages where there are any, and
// expects the remedy in the error where there are none.
func TestHugeTLBPoolReceives(t *testing.T) {
	const reserve = "/proc/sys/vm/nr_hugepages"
	if os.Getenv("ZCRX_LANE") == "vm" {
		before, err := os.ReadFile(reserve)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, os.WriteFile(reserve, before, 0o644)) })
		// A signal, for instance one of Go's scheduler, ends the kernel's work early.
		eventually(t, "8 huge pages are reserved", func() bool {
			require.NoError(t, os.WriteFile(reserve, []byte("8"), 0o644))
			return hugePages(t) == 8
		})
	}
	inEveryMode(t, func(t *testing.T, mode Mode) {
		free := hugePages(t)
		l := newTestLoop(t, LoopConfig{})
		cfg := PoolConfig{Memory: MemoryHugeTLB, NumBuffers: hugePageSize/int(pageSize()) + 1} // two huge pages
		if free < 2 {
			const tries = 16
			fds, maps := openFDs(t), mappings(t)
			for range tries {
				_, err := OpenPool(t.Context(), l, mode, Queue{}, cfg)
				assertLayer(t, err, LayerPrivilege)
				assert.ErrorContains(t, err, "vm.nr_hugepages")
			}
			assert.Equal(t, fds, openFDs(t))
			assert.Less(t, mappings(t), maps+tries, "the Go runtime and AddressSanitizer map a few themselves")
			return
		}
		p := openTestPool(t, l, mode, cfg)
		assert.Equal(t, free-2, hugePages(t))
		assert.GreaterOrEqual(t, p.NumBuffers(), cfg.NumBuffers)
		sender, r := newTestReceiver(t, p)
		s := newStream(13)
		s.Send(t, sender, 8<<20)
		s.receiveExactly(t, r, 8<<20)
		assert.Zero(t, p.Stats().Outstanding)

		// Asking for more than there are is refused, and uses none.
		cfg.NumBuffers = (free + 1) * hugePageSize / int(pageSize())
		if cfg.NumBuffers <= MaxProvidedBuffers {
			_, err := OpenPool(t.Context(), l, mode, Queue{}, cfg)
			assertLayer(t, err, LayerPrivilege)
			assert.Equal(t, free-2, hugePages(t))
		}
		require.NoError(t, r.Close())
		require.NoError(t, p.Close())
		assert.True(t, unmapped(p))
		require.NoError(t, l.Close())
		eventually(t, "the huge pages come back with the ring", func() bool { return hugePages(t) == free })
	})
}

// TestUDMABufAreaIsMappedAndClosed makes an area in a dma-buf, or expects the error that
// says why that is not possible.
func TestUDMABufAreaIsMappedAndClosed(t *testing.T) {
	fds := openFDs(t)
	const buffers = 64
	a, err := newArea(MemoryDMABuf, buffers, pageSize(), -1)
	if _, missing := os.Stat("/dev/udmabuf"); missing != nil {
		assertLayer(t, err, LayerKernel)
		assert.ErrorContains(t, err, "/dev/udmabuf")
		assert.Equal(t, fds, openFDs(t))
		return
	}
	require.NoError(t, err)
	assert.Equal(t, fds+1, openFDs(t), "the dma-buf's own")
	assert.Len(t, a.mem, buffers*int(pageSize()))
	assert.Equal(t, buffers, a.buffers())
	end, err := unix.Seek(a.dmabuf, 0, io.SeekEnd)
	require.NoError(t, err)
	assert.Equal(t, int64(len(a.mem)), end)
	flags, err := unix.FcntlInt(uintptr(a.dmabuf), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.NotZero(t, flags&unix.FD_CLOEXEC)
	assert.Zero(t, sum(a.mem), "every byte can be read")

	// The same dma-buf, given by a caller: its fd stays open.
	callers, err := newArea(MemoryDMABuf, buffers, pageSize(), a.dmabuf)
	require.NoError(t, err)
	callers.unmap()
	assert.Equal(t, fds+1, openFDs(t))
	_, err = newArea(MemoryDMABuf, buffers+1, pageSize(), a.dmabuf)
	assert.Error(t, err, "it is too small")
	assert.Equal(t, fds+1, openFDs(t))

	start, size := sliceAddr(a.mem), len(a.mem)
	a.unmap()
	assert.Equal(t, fds, openFDs(t))
	assert.Zero(t, mappedBytes(t, start, size))
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

// mappingFlags returns the flags of the mapping that mem begins in.
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
