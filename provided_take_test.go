//go:build linux && cgo

package zcrx

import (
	"slices"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx/uring"
)

// ringKernel plays the kernel's side of a copying pool: it takes buffers from the head of
// the ring, as the ring's memory says, and fills them.
type ringKernel struct {
	pool  *ProvidedPool
	head  uint16
	stamp byte
	wakes int
}

func newRingKernel(t require.TestingT, how consumption, buffers int) *ringKernel {
	a, err := newArea(MemoryAnonymous, buffers, pageSize(), -1)
	require.NoError(t, err)
	ring, err := mapProvidedRing(roundUpPow2(uint32(buffers)))
	require.NoError(t, err)
	k := &ringKernel{}
	k.pool = &ProvidedPool{
		area: a, ring: ring, numBuffers: buffers, bufferSize: a.bufferSize, consumption: how, owed: make([]int32, buffers),
	}
	k.pool.ledger.init(new(sync.Mutex), k.pool, func() { k.wakes++ })
	for id := range uint16(buffers) {
		k.pool.put(id)
	}
	k.pool.ring.publish()
	return k
}

// startAt moves the ring to a position, as if it had been used that often.
func (k *ringKernel) startAt(position uint16) {
	p := k.pool
	k.head, p.head, p.ring.tail = position, position, position
	for id := range uint16(p.numBuffers) {
		p.put(id)
	}
	p.ring.publish()
}

func (k *ringKernel) free() int { return int(k.pool.ring.published() - k.head) }

// receive puts up to n bytes into the ring, all with the same new stamp, and makes their
// completion. It returns false if there is no buffer.
func (k *ringKernel) receive(n int) (c uring.CQE, ok bool) {
	if k.free() == 0 {
		return uring.CQE{Res: -int32(syscall.ENOBUFS)}, false
	}
	k.stamp++
	how := k.pool.consumption
	c = uring.CQE{Flags: uring.CQEBuffer | uring.CQEMore | uring.CQEFlags(k.pool.ring.id(k.head))<<uring.CQEBufferShift}
	if how.incremental && how.bundles && k.stamp%3 == 0 {
		defer func() { c.Flags ^= uring.CQEBufMore }() // kernels that lose the flag, or leave it set
	}
	for n > 0 && k.free() > 0 {
		e := k.pool.ring.entry(k.head)
		used := min(n, int(e.length))
		into := k.pool.area.mem[uintptr(e.addr)-sliceAddr(k.pool.area.mem):][:used]
		for i := range into {
			into[i] = k.stamp
		}
		c.Res += int32(used)
		n -= used
		if how.incremental {
			e.addr += uint64(used)
			e.length -= uint32(used)
		}
		if how.incremental && e.length > 0 {
			c.Flags |= uring.CQEBufMore
		} else {
			k.head++
		}
		if !how.bundles {
			break
		}
	}
	return c, true
}

// take is receive followed by the pool's take.
func (k *ringKernel) take(t require.TestingT, n int) []Buffer {
	c, ok := k.receive(n)
	require.True(t, ok, "the ring is empty")
	got, err := k.pool.take(&c, nil)
	require.NoError(t, err)
	k.pool.count()
	sum := 0
	for _, b := range got {
		bytes := b.Bytes()
		require.True(t, bytes[0] == k.stamp && bytes[len(bytes)-1] == k.stamp)
		sum += len(bytes)
	}
	require.Equal(t, int(c.Res), sum)
	return got
}

func TestBufferReturnsWithItsLastLease(t *testing.T) {
	page := int(pageSize())
	for _, order := range permutations(4) {
		k := newRingKernel(t, consumption{incremental: true}, 1)
		leases := slices.Concat(k.take(t, 10), k.take(t, 20), k.take(t, 30), k.take(t, page))
		require.Equal(t, page-60, leases[3].Len(), "what was left of the buffer")
		require.Zero(t, k.free())
		for i, which := range order {
			require.Zero(t, k.free(), "order %v: %d leases are back", order, i)
			require.NoError(t, leases[which].Release())
			require.ErrorIs(t, leases[which].Release(), ErrReleased)
		}
		require.Equal(t, 1, k.free(), "order %v", order)
		require.Zero(t, k.pool.owed[0])
		k.take(t, page)
	}
}

// TestBufferReturnsWhenTheKernelIsDoneWithIt releases leases while the kernel still fills
// their buffer.
func TestBufferReturnsWhenTheKernelIsDoneWithIt(t *testing.T) {
	page := int(pageSize())
	k := newRingKernel(t, consumption{incremental: true}, 1)
	for range 3 {
		release(t, k.take(t, 10)...)
		require.Equal(t, uint16(1), k.pool.ring.tail, "it is not put into the ring a second time")
	}
	last := k.take(t, page)
	require.Zero(t, k.free())
	release(t, last...)
	require.Equal(t, 1, k.free())

	// The kernel ends a buffer that has room: with its last bytes, or without any.
	first := k.take(t, 10)
	c, _ := k.receive(10)
	c.Flags &^= uring.CQEBufMore
	k.head++
	second, err := k.pool.take(&c, nil)
	require.NoError(t, err)
	release(t, second...)
	require.Zero(t, k.free())
	release(t, first...)
	require.Equal(t, 1, k.free())

	held := k.take(t, 10)
	release(t, k.take(t, 10)...)
	id := k.pool.ring.id(k.head)
	k.pool.discard(&uring.CQE{Flags: uring.CQEBuffer | uring.CQEBufMore | uring.CQEFlags(id)<<uring.CQEBufferShift})
	require.Equal(t, 1, k.free(), "the kernel goes on in it")
	k.head++
	k.pool.discard(&uring.CQE{Flags: uring.CQEBuffer | uring.CQEFlags(id)<<uring.CQEBufferShift})
	require.Zero(t, k.free(), "a lease is out")
	release(t, held...)
	require.Equal(t, 1, k.free())
	k.head++
	k.pool.discard(&uring.CQE{Flags: uring.CQEBuffer | uring.CQEFlags(id)<<uring.CQEBufferShift})
	require.Equal(t, 1, k.free(), "no lease was out")
	release(t, k.take(t, page)...)
}

func TestBundleAroundTheRing(t *testing.T) {
	page := int(pageSize())
	for _, start := range []uint16{0, 3, ^uint16(0) - 2} {
		for _, how := range []consumption{{bundles: true}, {incremental: true, bundles: true}} {
			k := newRingKernel(t, how, 4)
			k.startAt(start)
			for _, n := range []int{1, page, page + 1, 3*page - 7, 2*page + 5, 4 * page, 9 * page} {
				got := k.take(t, n)
				for i := range got {
					release(t, got[len(got)-1-i])
				}
				require.GreaterOrEqual(t, k.free(), 4, "%v: %d bytes", how, n)
			}
		}
	}
}

// TestBundleEndsWhereTheKernelShortenedIt imitates older kernels, which shorten the last
// entry of a bundle and then do not fill it.
func TestBundleEndsWhereTheKernelShortenedIt(t *testing.T) {
	k := newRingKernel(t, consumption{bundles: true}, 3)
	k.pool.ring.entry(1).length = 100
	got := k.take(t, int(pageSize())+150)
	var lengths []int
	for _, b := range got {
		lengths = append(lengths, b.Len())
	}
	assert.Equal(t, []int{int(pageSize()), 100, 50}, lengths)
	release(t, got...)
	release(t, k.take(t, 1)...)
	got = k.take(t, 2*int(pageSize()))
	assert.Equal(t, int(pageSize()), got[0].Len(), "it has its length again")
	release(t, got...)
}

func TestReceiversAreFedByBuffersAlone(t *testing.T) {
	k := newRingKernel(t, consumption{incremental: true}, 1)
	a, b := k.take(t, 10), k.take(t, int(pageSize()))
	p := k.pool
	require.True(t, p.setStarving(true, p.seenReturns()))
	release(t, a...)
	assert.Zero(t, k.wakes, "nothing came into the ring")
	release(t, b...)
	assert.Equal(t, 1, k.wakes)
}

func TestCompletionsOutOfOrderAreRefused(t *testing.T) {
	page := int32(pageSize())
	named := func(id int) uring.CQEFlags { return uring.CQEBuffer | uring.CQEFlags(id)<<uring.CQEBufferShift }
	for name, bad := range map[string]struct {
		how consumption
		c   uring.CQE
	}{
		"another buffer":         {consumption{incremental: true}, uring.CQE{Res: 1, Flags: named(1) | uring.CQEBufMore}},
		"no buffer":              {consumption{incremental: true}, uring.CQE{Res: 1}},
		"over the end":           {consumption{incremental: true}, uring.CQE{Res: page + 1, Flags: named(0)}},
		"bundle from the middle": {consumption{bundles: true}, uring.CQE{Res: 1, Flags: named(2)}},
		"bundle over the end":    {consumption{bundles: true}, uring.CQE{Res: 4*page + 1, Flags: named(0)}},
		"both over the end":      {consumption{true, true}, uring.CQE{Res: 4*page + 1, Flags: named(0)}},
		"no bytes":               {consumption{true, true}, uring.CQE{Res: 0, Flags: named(0)}},
	} {
		k := newRingKernel(t, bad.how, 4)
		before := []Buffer{{}}
		got, err := k.pool.take(&bad.c, before)
		require.ErrorIs(t, err, errBadCompletion, name)
		require.Len(t, got, 1, name)
		require.Zero(t, k.pool.Stats().Outstanding, name)
		if bad.c.Flags&uring.CQEBuffer == 0 || bad.c.Res == 0 {
			continue // says nothing about the ring
		}
		k = newRingKernel(t, bad.how, 4)
		_, err = k.pool.take(&bad.c, nil)
		require.Error(t, err)
		c, _ := k.receive(1)
		_, err = k.pool.take(&c, nil)
		require.ErrorIs(t, err, errBadCompletion, "%s: none is believed after it", name)
	}
	k := newRingKernel(t, consumption{bundles: true}, 2)
	k.pool.discard(&uring.CQE{Flags: named(1)})
	c, _ := k.receive(1)
	_, err := k.pool.take(&c, nil)
	require.ErrorIs(t, err, errBadCompletion, "a buffer went out of turn")
}

// TestProvidedModel draws what the kernel and the holders of leases do, and compares the
// pool with a list of where every buffer must be.
func TestProvidedModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		how := consumption{incremental: rapid.Bool().Draw(rt, "incremental"), bundles: rapid.Bool().Draw(rt, "bundles")}
		buffers := rapid.IntRange(1, 9).Draw(rt, "buffers")
		k := newRingKernel(t, how, buffers)
		p := k.pool
		k.startAt(rapid.SampledFrom([]uint16{0, ^uint16(0) - 5}).Draw(rt, "first position"))
		page := int(pageSize())
		type held struct {
			Buffer
			id    int
			stamp byte
		}
		var out []held
		var gone []Buffer
		var want PoolStats
		drop := func(i int) {
			gone = append(gone, out[i].Buffer)
			out = slices.Delete(out, i, i+1)
			want.Returned++
		}
		steps := map[string]func(){
			"receive": func() {
				if k.free() == 0 {
					return
				}
				n := rapid.OneOf(rapid.IntRange(1, 3*page), rapid.Just(page), rapid.IntRange(1, 9)).Draw(rt, "bytes")
				for _, b := range k.take(rt, n) {
					at := sliceAddr(b.Bytes()) - sliceAddr(p.area.mem)
					out = append(out, held{b, int(at) / page, k.stamp})
					want.Completions++
					want.Bytes += uint64(b.Len())
				}
			},
			"use a buffer up without data": func() {
				if k.free() > 0 {
					c := uring.CQE{Flags: uring.CQEBuffer | uring.CQEFlags(p.ring.id(k.head))<<uring.CQEBufferShift}
					k.head++
					p.discard(&c)
				}
			},
			"no buffer": func() { p.discard(&uring.CQE{Res: -int32(syscall.ENOBUFS)}) },
			"release": func() {
				if len(out) > 0 {
					i := rapid.IntRange(0, len(out)-1).Draw(rt, "lease")
					require.NoError(rt, out[i].Release())
					drop(i)
				}
			},
			"release many": func() {
				n := rapid.IntRange(0, len(out)).Draw(rt, "leases")
				var all []Buffer
				for range n {
					i := rapid.IntRange(0, len(out)-1).Draw(rt, "lease")
					all = append(all, out[i].Buffer)
					drop(i)
				}
				require.NoError(rt, ReleaseAll(all))
			},
			"release again": func() {
				if len(gone) > 0 {
					require.ErrorIs(rt, rapid.SampledFrom(gone).Draw(rt, "lease").Release(), ErrReleased)
					want.DoubleReleases++
				}
			},
		}
		check := func() {
			want.Outstanding, want.CopiedBytes = len(out), want.Bytes
			require.Equal(rt, want, p.Stats())
			leases := make([]int, buffers)
			for _, h := range out {
				leases[h.id]++
				bytes := h.Bytes()
				require.True(rt, bytes[0] == h.stamp && bytes[len(bytes)-1] == h.stamp, "the kernel wrote into a lease that is out")
			}
			inRing := make([]bool, buffers)
			for position := k.head; position != p.ring.published(); position++ {
				id := p.ring.id(position)
				require.False(rt, inRing[id], "buffer %d is in the ring twice", id)
				inRing[id] = true
				begun := how.incremental && position == k.head && int(p.ring.entry(position).length) < page
				require.True(rt, leases[id] == 0 || begun, "buffer %d is in the ring with %d leases out", id, leases[id])
				require.True(rt, begun || p.owed[id] == 0, "buffer %d", id)
			}
			for id := range buffers {
				require.True(rt, inRing[id] || leases[id] > 0, "buffer %d is lost", id)
			}
		}
		names := []string{"receive", "receive", "receive", "release", "release", "release many", "release again", "no buffer", "use a buffer up without data"}
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			steps[rapid.SampledFrom(names).Draw(rt, "step")]()
			check()
		}
		p.dropUser()
		for _, h := range out {
			require.False(rt, p.freed)
			require.NoError(rt, h.Release())
		}
		require.True(rt, p.freed)
	})
}

// TestAnyProvidedCompletion takes completions that no kernel sends: each is refused, or
// becomes bytes that follow each other in the pool's memory.
func TestAnyProvidedCompletion(t *testing.T) {
	taken, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		how := consumption{incremental: rapid.Bool().Draw(rt, "incremental"), bundles: rapid.Bool().Draw(rt, "bundles")}
		k := newRingKernel(rt, how, 3) // of a ring of four
		p := k.pool
		page := uint64(pageSize())
		lost := false
		var held []Buffer
		for range 8 {
			id := rapid.OneOf(rapid.Uint16Max(4), rapid.Just(p.ring.id(p.head)), rapid.Uint16()).Draw(rt, "id")
			c := uring.CQE{
				Res:   int32(near(rt, page, 4, "length") & (1<<31 - 1)),
				Flags: uring.CQEBuffer | uring.CQEFlags(id)<<uring.CQEBufferShift | rapid.SampledFrom([]uring.CQEFlags{0, uring.CQEBufMore}).Draw(rt, "flag"),
			}
			got, err := p.take(&c, nil)
			p.count()
			if err != nil {
				refused++
				require.ErrorIs(rt, err, errBadCompletion)
				require.Empty(rt, got)
				lost = lost || how.inOrder() && c.Res > 0
				continue
			}
			taken++
			require.False(rt, lost, "none is believed after a bad one")
			sum := 0
			for _, b := range got {
				start := uint64(sliceAddr(b.Bytes()) - sliceAddr(p.area.mem))
				require.Less(rt, start, 3*page)
				require.LessOrEqual(rt, start%page+uint64(b.Len()), page)
				sum += b.Len()
			}
			require.Equal(rt, int(c.Res), sum)
			if held = append(held, got...); rapid.Bool().Draw(rt, "release") {
				require.NoError(rt, ReleaseAll(held))
				held = nil
			}
		}
		require.NoError(rt, ReleaseAll(held))
		p.dropUser()
		require.True(rt, p.freed)
	})
	assert.Positive(t, taken)
	assert.Positive(t, refused)
}

// TestAnyCompletionStaysInsideProvidedBuffers is TestAnyCompletionStaysInsideTheArea for
// the copying pool, whose completions name a buffer.
func TestAnyCompletionStaysInsideProvidedBuffers(t *testing.T) {
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
