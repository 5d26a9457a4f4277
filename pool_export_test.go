//go:build linux && cgo

package zcrx

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// newSharedPool makes an owner with a handle, and n importers on loops of their own.
func newSharedPool(t *testing.T, cfg PoolConfig, n int) (loops []*Loop, members []*Pool, h *PoolHandle) {
	t.Helper()
	l, p := newDeviceLessPool(t, cfg)
	h, err := p.Export(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.Close()) })
	loops, members = []*Loop{l}, []*Pool{p}
	for range n {
		l := newTestLoop(t, LoopConfig{})
		m, err := ImportPool(t.Context(), l, h)
		require.NoError(t, err)
		loops, members = append(loops, l), append(members, m)
	}
	return loops, members, h
}

func TestMembersReceiveIntoOnePool(t *testing.T) {
	_, members, h := newSharedPool(t, PoolConfig{NumBuffers: 32, RefillEntries: 8}, 3)
	assert.Zero(t, h.Queue())
	assert.Zero(t, members[1].Queue())
	var wg sync.WaitGroup
	for i := range 12 { // more connections than can ever have buffers at once
		sender, r := newTestReceiver(t, members[i%4])
		want := pattern(int64(i), 300_000+i)
		send(t, sender, want)
		wg.Go(func() { assert.True(t, bytes.Equal(want, receiveAll(t, r)), "connection %d", i) })
	}
	wg.Wait()
	shared := members[1].SharedStats()
	total := uint64(0)
	for _, m := range members {
		s := m.Stats()
		assert.Zero(t, s.Outstanding)
		assert.Equal(t, s.Completions, s.Returned)
		assert.Positive(t, s.Completions)
		total += s.Bytes
	}
	assert.Equal(t, uint64(12*300_000+66), total)
	assert.Equal(t, total, shared.Bytes)
	assert.Equal(t, shared.Completions, shared.Returned)
	assert.Zero(t, shared.Outstanding)
	assert.Equal(t, 4, shared.Members)
	assert.Equal(t, 5, shared.Holders, "the handle as well")
	assert.Equal(t, 8, shared.RefillEntries)
	assert.Positive(t, shared.Flushes)
	require.NoError(t, members[0].Close())
	require.NoError(t, members[2].Close())
	after := members[0].SharedStats()
	assert.Equal(t, 2, after.Members)
	assert.Equal(t, total, after.Bytes, "what members counted stays when they go")
	assert.Equal(t, 32, members[3].NumBuffers())
	assert.Equal(t, int(pageSize()), members[3].BufferSize())
	assert.Equal(t, 8, members[3].RefillEntries())
}

// permutations returns every order of the numbers below n.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var all [][]int
	for _, p := range permutations(n - 1) {
		for i := range n {
			all = append(all, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return all
}

// TestMembersCloseInAnyOrder ends loops in every order while data comes in, leases
// are out, and other goroutines release them. Every other time the pools are closed
// first, in the opposite order.
func TestMembersCloseInAnyOrder(t *testing.T) {
	needDeviceLess(t)
	for round, order := range permutations(4) {
		loops, members, h := newSharedPool(t, PoolConfig{NumBuffers: 64, RefillEntries: 16}, 3)
		require.NoError(t, h.Close())
		require.NoError(t, h.Close(), "idempotent")
		m := members[0].memory
		held := make([][]Buffer, 4)
		var receivers []*Receiver
		for i, p := range members {
			sender, r := newTestReceiver(t, p)
			data := pattern(int64(i), 40_000)         // all members' data together fits the pool
			go func() { _, _ = sender.Write(data) }() // the close ends it
			for got := 0; got < 30_000; {
				b, err := r.Recv(t.Context())
				require.NoError(t, err)
				require.True(t, bytes.Equal(data[got:got+b.Len()], b.Bytes()))
				held[i] = append(held[i], b)
				got += b.Len()
			}
			receivers = append(receivers, r)
		}
		var wg sync.WaitGroup
		if round%2 == 1 {
			for _, at := range slices.Backward(order) {
				require.NoError(t, members[at].Close())
			}
		}
		for i, at := range order {
			if i == 2 { // half of the leases come back from elsewhere meanwhile
				for _, b := range held[:2] {
					wg.Go(func() { assert.NoError(t, ReleaseAll(b)) })
				}
			}
			require.NoError(t, loops[at].Close())
		}
		wg.Wait()
		for _, r := range receivers {
			require.NoError(t, r.Close())
		}
		require.NotNil(t, m.region, "leases are out")
		require.NoError(t, ReleaseAll(held[2]))
		require.NoError(t, ReleaseAll(held[3]))
		for _, p := range members {
			require.Zero(t, p.Stats().Outstanding)
		}
		require.Nil(t, m.region, "the last lease took the memory along")
		require.Zero(t, m.refs)
		require.Empty(t, m.members)
		require.Zero(t, m.starving)
	}
}

// TestImporterOutlivesOwner closes the owner first: the importer still receives, and
// flushes for itself.
func TestImporterOutlivesOwner(t *testing.T) {
	loops, members, h := newSharedPool(t, PoolConfig{NumBuffers: 16, RefillEntries: 4}, 1)
	ownerSender, ownerReceiver := newTestReceiver(t, members[0])
	_, err := ownerSender.Write(pattern(1, 30_000))
	require.NoError(t, err)
	kept := takeBuffers(t, ownerReceiver, 4)
	require.NoError(t, loops[0].Close())
	require.NoError(t, ownerReceiver.Close())

	sender, r := newTestReceiver(t, members[1])
	want := pattern(2, 2_000_000)
	send(t, sender, want)
	half := takeBuffers(t, r, 8) // of 16, 4 are the dead owner's
	var got []byte
	for _, b := range half {
		got = append(got, b.Bytes()...)
	}
	require.NoError(t, ReleaseAll(half))
	require.NoError(t, ReleaseAll(kept), "what the dead owner's held comes back through the importer")
	got = append(got, receiveAll(t, r)...)
	require.True(t, bytes.Equal(want, got))
	assert.Zero(t, members[0].Stats().Outstanding)
	assert.Zero(t, members[1].Stats().Outstanding)
	assert.Positive(t, members[1].Stats().Flushes)

	// The handle still imports.
	third := newTestLoop(t, LoopConfig{})
	late, err := ImportPool(t.Context(), third, h)
	require.NoError(t, err)
	sender, r = newTestReceiver(t, late)
	send(t, sender, []byte("late"))
	assert.Equal(t, "late", string(receiveAll(t, r)))
}

// TestDeadMembersBuffersComeBack closes an importer while buffers of the pool are delivered to
// its receiver and not taken.
func TestDeadMembersBuffersComeBack(t *testing.T) {
	const buffers = 16
	loops, members, _ := newSharedPool(t, PoolConfig{NumBuffers: buffers, MaxLeases: MaxNumBuffers}, 1)
	deadSender, dead := newTestReceiver(t, members[1])
	go func() { _, _ = deadSender.Write(pattern(1, 1<<20)) }() // the close ends it
	eventually(t, "nobody takes what came", dead.isPaused.Load)
	assert.Positive(t, members[1].Stats().Outstanding)
	sender, r := newTestReceiver(t, members[0])
	want := pattern(2, 300_000)
	send(t, sender, want)
	require.NoError(t, loops[1].Close())
	require.NoError(t, dead.Close())
	assert.Zero(t, members[1].Stats().Outstanding)
	held := takeBuffers(t, r, buffers/2)
	var got []byte
	for _, b := range held {
		got = append(got, b.Bytes()...)
	}
	got = append(got, receiveAll(t, r)...)
	require.True(t, bytes.Equal(want, got))
	require.NoError(t, ReleaseAll(held))
}

func TestExportAndImportRefusals(t *testing.T) {
	loops, members, h := newSharedPool(t, PoolConfig{NumBuffers: 8}, 1)
	ctx := t.Context()
	fds := openFDs(t)
	_, err := members[1].Export(ctx)
	assert.ErrorContains(t, err, "export its owner")
	for _, l := range loops {
		_, err = ImportPool(ctx, l, h)
		assert.ErrorContains(t, err, "a member of the pool already")
	}
	narrow := newTestLoop(t, LoopConfig{CompletionSize: Completion16})
	_, err = ImportPool(ctx, narrow, h)
	assert.ErrorContains(t, err, "completions have 16 bytes")
	require.NoError(t, narrow.Close())
	_, err = ImportPool(ctx, narrow, h)
	assert.Error(t, err)
	closed, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	_, err = ImportPool(ctx, closed, h)
	assert.ErrorIs(t, err, ErrClosed)
	require.NoError(t, h.Close())
	_, err = ImportPool(ctx, newTestLoop(t, LoopConfig{}), h)
	assert.ErrorIs(t, err, ErrClosed)
	require.NoError(t, members[0].Close())
	_, err = members[0].Export(ctx)
	assert.ErrorIs(t, err, ErrClosed)
	assert.LessOrEqual(t, openFDs(t), fds+2, "the last loop of the test is open")
}

// sharingRounds is how often TestSharingLeaksNothing shares a pool: 300 times, or
// ZCRX_SHARING_ROUNDS.
func sharingRounds(t *testing.T) int {
	t.Helper()
	s := os.Getenv("ZCRX_SHARING_ROUNDS")
	if s == "" {
		return zcrxtest.Volume(300)
	}
	n, err := strconv.Atoi(s)
	require.NoError(t, err)
	require.Positive(t, n)
	return n
}

// machineMemory returns how many bytes the machine has left: available memory, and free
// pages that a processor keeps for itself, which the kernel does not count as available.
// Other programs change it, so it is only logged.
func machineMemory(t *testing.T) (bytes int64) {
	t.Helper()
	sum := func(file, key string, unit int64) {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key {
				n, err := strconv.ParseInt(fields[1], 10, 64)
				require.NoError(t, err)
				bytes += n * unit
			}
		}
	}
	sum("/proc/meminfo", "MemAvailable:", 1<<10)
	sum("/proc/zoneinfo", "count:", int64(pageSize()))
	return bytes
}

// TestSharingLeaksNothing makes, exports, imports and closes many times.
func TestSharingLeaksNothing(t *testing.T) {
	needDeviceLess(t)
	cycle := func() {
		owner, err := NewLoop(LoopConfig{Entries: 8, CQEntries: 16})
		require.NoError(t, err)
		importer, err := NewLoop(LoopConfig{Entries: 8, CQEntries: 16})
		require.NoError(t, err)
		p, err := NewDeviceLessPool(t.Context(), owner, PoolConfig{NumBuffers: 8})
		require.NoError(t, err)
		h, err := p.Export(t.Context())
		require.NoError(t, err)
		_, err = ImportPool(t.Context(), importer, h)
		require.NoError(t, err)
		require.NoError(t, h.Close())
		require.NoError(t, owner.Close())
		require.NoError(t, importer.Close())
	}
	for range 20 {
		cycle()
	}
	before, maps, heapBefore, left := ownedNow(t), mappings(t), heap(), machineMemory(t)
	n := sharingRounds(t)
	for range n {
		cycle()
	}
	before.assertBack(t)
	assert.Less(t, mappings(t), maps+100) // the runtime maps on its own now and then
	heapAfter := heap()
	assert.Less(t, heapAfter, heapBefore+1<<20)
	t.Logf("%d rounds: heap %d, was %d bytes; left to the machine %d, were %d", n, heapAfter, heapBefore, machineMemory(t), left)
}

// TestDroppedHandleIsClosed drops a handle without Close, and runs the garbage collector.
func TestDroppedHandleIsClosed(t *testing.T) {
	_, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 8})
	fds := openFDs(t)
	func() {
		h, err := p.Export(t.Context())
		require.NoError(t, err)
		require.Positive(t, h.fd)
	}()
	for range 100 {
		runtime.GC()
		if openFDs(t) == fds {
			break
		}
		runtime.Gosched()
	}
	assert.Equal(t, fds, openFDs(t))
}

// TestHandleIsFreeDuringImport closes a handle, and imports it, from functions that run on
// a loop before the import that waits for that loop.
func TestHandleIsFreeDuringImport(t *testing.T) {
	_, _, h := newSharedPool(t, PoolConfig{NumBuffers: 8}, 0)
	l := newTestLoop(t, LoopConfig{})
	for _, closes := range []bool{false, true} {
		imported := make(chan error)
		entered, done := make(chan struct{}), make(chan struct{})
		require.NoError(t, l.Post(func() {
			close(entered)
			eventually(t, "the import waits for this function", func() bool {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.posted) > 0
			})
			if closes {
				assert.NoError(t, h.Close())
			} else {
				p, err := ImportPool(t.Context(), l, h)
				assert.NoError(t, err)
				assert.NoError(t, p.Close())
			}
			close(done)
		}))
		<-entered
		go func() {
			_, err := ImportPool(t.Context(), l, h)
			imported <- err
		}()
		<-done
		require.NoError(t, <-imported, "the handle was open when it began")
		for _, s := range l.sources {
			require.NoError(t, s.(*Pool).Close())
		}
	}
	_, err := ImportPool(t.Context(), l, h)
	assert.ErrorIs(t, err, ErrClosed)
}
