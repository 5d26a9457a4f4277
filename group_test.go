//go:build linux && cgo

package zcrx

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestGroup makes a group over n new loops and the queues 0 to queues-1. It
// returns the loops in the order of the group.
func newTestGroup(t testing.TB, mode Mode, n, queues int, pool PoolConfig) (g *Group, loops []*Loop) {
	t.Helper()
	cfg := GroupConfig{Mode: mode, Pool: pool}
	for range n {
		cfg.Loops = append(cfg.Loops, newTestLoop(t, LoopConfig{}))
	}
	for i := range queues {
		cfg.Queues = append(cfg.Queues, i)
	}
	g, err := NewGroup(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
	loops = g.Loops()
	return g, loops
}

// receiveOn receives into the pool what is sent over a new connection.
func receiveOn(t *testing.T, p BufferPool, data string) {
	t.Helper()
	sender, r := newTestReceiver(t, p)
	send(t, sender, []byte(data))
	require.Equal(t, data, string(receiveAll(t, r)))
}

// TestGroupArrangement gives loops their places without making pools.
func TestGroupArrangement(t *testing.T) {
	type place struct {
		loop, queue int
		owner       bool
	}
	for name, c := range map[string]struct {
		mode   Mode
		loops  int
		queues []int
		want   []place
	}{
		"one queue":           {ZeroCopy, 3, []int{9}, []place{{0, 9, true}, {1, 9, false}, {2, 9, false}}},
		"by number":           {ZeroCopy, 2, []int{5, 4}, []place{{1, 4, true}, {0, 5, true}}},
		"around":              {DeviceLess, 7, []int{8, 2, 5}, []place{{1, 2, true}, {2, 5, true}, {0, 8, true}, {3, 2, false}, {4, 5, false}, {5, 8, false}, {6, 2, false}}},
		"as many":             {ZeroCopy, 3, []int{0, 1, 2}, []place{{0, 0, true}, {1, 1, true}, {2, 2, true}}},
		"more queues":         {ZeroCopy, 2, []int{3, 2, 1, 0}, []place{{1, 2, true}, {0, 3, true}}},
		"copying":             {Provided, 3, []int{4}, []place{{0, -1, true}, {1, -1, true}, {2, -1, true}}},
		"copying, no queues":  {Provided, 1, nil, []place{{0, -1, true}}},
		"a loop and a queue":  {DeviceLess, 1, []int{0}, []place{{0, 0, true}}},
		"a loop, many queues": {ZeroCopy, 1, []int{7, 6}, []place{{0, 7, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := GroupConfig{Mode: c.mode, Queues: c.queues}
			for range c.loops {
				cfg.Loops = append(cfg.Loops, &Loop{})
			}
			require.NoError(t, cfg.check())
			g := newGroup(&cfg, c.mode)
			var got []place
			on := map[*groupQueue]int{}
			for i, m := range g.members {
				assert.Same(t, cfg.Loops[m.index], m.loop)
				assert.Same(t, m.loop, g.Loops()[i])
				got = append(got, place{m.index, m.queueNumber(), m.owner})
				on[m.queue]++
			}
			assert.Equal(t, c.want, got)
			for _, q := range g.queues {
				assert.Len(t, q.members, on[q])
				assert.True(t, q.members[0].owner)
			}
			assert.IsIncreasing(t, append([]int{-1}, g.Queues()...))
		})
	}
}

func TestGroupRefusals(t *testing.T) {
	a, b := newTestLoop(t, LoopConfig{}), newTestLoop(t, LoopConfig{})
	closed, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	two := []*Loop{a, b}
	for want, cfg := range map[string]GroupConfig{
		"GroupConfig.Loops is empty: a group needs at least one loop":                            {Mode: DeviceLess, Queues: []int{1}},
		"GroupConfig.Queues is empty: mode zerocopy needs at least one queue":                    {Mode: ZeroCopy, Loops: two},
		"GroupConfig.Queues is empty: mode deviceless needs at least one queue":                  {Mode: DeviceLess, Loops: two},
		"GroupConfig.Queues[0] and [2] are both queue 4: each may be there once":                 {Mode: ZeroCopy, Loops: two, Queues: []int{4, 5, 4}},
		"GroupConfig.Queues[0] and [1] are both queue 0":                                         {Mode: Provided, Loops: two, Queues: []int{0, 0}},
		"GroupConfig.Queues[1] -1 is out of range: allowed are 0 to 65535":                       {Mode: DeviceLess, Loops: two, Queues: []int{4, -1}},
		"GroupConfig.Queues[0] 65536 is out of range":                                            {Mode: ZeroCopy, Loops: two, Queues: []int{65536}},
		"GroupConfig.Loops[1] is nil":                                                            {Mode: Provided, Loops: []*Loop{a, nil}},
		"GroupConfig.Loops[0] and [2] are the same loop: each may be there once":                 {Mode: Provided, Loops: []*Loop{a, b, a}},
		"GroupConfig.Loops[1]: zcrx: use of closed":                                              {Mode: Provided, Loops: []*Loop{a, closed}},
		"mode socket has no pools: allowed are auto, zerocopy, deviceless and provided":          {Mode: Socket, Loops: two},
		"mode mode(77) has no pools":                                                             {Mode: 77, Loops: two},
		"GroupConfig.Pool.DMABuf 5 is the memory of one pool: the group has 2":                   {Mode: ZeroCopy, Loops: two, Queues: []int{3, 4}, Pool: PoolConfig{DMABuf: 5, Memory: MemoryDMABuf}},
		"group: loop 0: create pool: PoolConfig.NumBuffers -1 is out of range: allowed are 1 to": {Mode: Provided, Loops: two, Pool: PoolConfig{NumBuffers: -1}},
	} {
		g, err := NewGroup(t.Context(), cfg)
		assert.ErrorContains(t, err, "zcrx: "+want)
		assert.Nil(t, g)
	}
	_, err = NewGroup(t.Context(), GroupConfig{Mode: Provided, Loops: []*Loop{closed}})
	assert.ErrorIs(t, err, ErrClosed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = NewGroup(ctx, GroupConfig{Mode: Provided, Loops: two})
	assert.ErrorIs(t, err, context.Canceled)
	for _, l := range two {
		require.NoError(t, l.do(func() error { assert.Empty(t, l.sources); return nil }))
	}
}

// TestGroupOfRealInterface asks the loopback interface for zero copy, which it lacks.
func TestGroupOfRealInterface(t *testing.T) {
	loops := []*Loop{newTestLoop(t, LoopConfig{}), newTestLoop(t, LoopConfig{})}
	cfg := GroupConfig{Mode: ZeroCopy, Loops: loops, Interface: "lo", Queues: []int{0}, Pool: PoolConfig{NumBuffers: 8}}
	_, err := NewGroup(t.Context(), cfg)
	require.ErrorIs(t, err, ErrNotSupported) // the kernel cannot share, or the loopback device has no queues
	cfg.Mode = Auto
	g, err := NewGroup(t.Context(), cfg)
	require.NoError(t, err)
	assert.Equal(t, Provided, g.Mode())
	assert.ErrorIs(t, g.Reason(), ErrNotSupported)
	for _, p := range g.Pools() {
		assert.Equal(t, g.Reason(), p.Reason())
		receiveOn(t, p, "copied")
	}
	require.NoError(t, g.Close())

	cfg.Interface = ""
	g, err = NewGroup(t.Context(), cfg)
	require.NoError(t, err)
	assert.ErrorContains(t, g.Reason(), "no interface was named")
	require.NoError(t, g.Close())

	cfg.Interface = "none0"
	_, err = NewGroup(t.Context(), cfg)
	assert.ErrorIs(t, err, syscall.ENODEV, "Auto does not hide a mistake")
	cfg.Interface, cfg.Queues = "lo", []int{0, 99}
	_, err = NewGroup(t.Context(), cfg)
	assert.ErrorContains(t, err, `receive queue of "lo", 99 is out of range: allowed are 0 to 0`)
}

func TestGroupReceives(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		g, loops := newTestGroup(t, mode, 4, 2, PoolConfig{NumBuffers: 32})
		assert.Equal(t, mode, g.Mode())
		require.NoError(t, g.Reason())
		require.Len(t, g.Pools(), 4)
		for i, p := range g.Pools() {
			assert.Same(t, loops[i], p.Loop())
			assert.Equal(t, p, g.Pool(loops[i]))
		}
		assert.Nil(t, g.Pool(newTestLoop(t, LoopConfig{})))
		if mode == DeviceLess {
			assert.Equal(t, []int{0, 1}, g.Queues())
			memory := func(i int) *poolMemory { return g.members[i].pool.(*Pool).memory }
			assert.Same(t, memory(0), memory(2))
			assert.Same(t, memory(1), memory(3))
			assert.NotSame(t, memory(0), memory(1))
		} else {
			assert.Empty(t, g.Queues())
		}
		var wg sync.WaitGroup
		const connections = 12
		for i := range connections {
			sender, conn := tcpPair(t)
			p, err := g.Pick(conn)
			require.NoError(t, err)
			r, err := NewReceiver(p, conn)
			require.NoError(t, err)
			want := pattern(int64(i), 100_000+i)
			send(t, sender, want)
			wg.Go(func() {
				assert.Equal(t, want, receiveAll(t, r))
				assert.NoError(t, r.Close())
			})
		}
		wg.Wait()
		s := g.Stats()
		require.Len(t, s.Members, 4)
		var sum uint64
		for i, m := range s.Members {
			assert.Equal(t, uint64(connections/4), m.PicksByTurn)
			assert.Zero(t, m.PicksByNAPI, "loopback has none")
			assert.Equal(t, mode == Provided || i < 2, m.Owner)
			assert.True(t, m.Live)
			assert.Positive(t, m.Pool.Bytes)
			sum += m.Pool.Bytes
		}
		assert.Equal(t, uint64(connections*100_000+66), sum)
		assert.Equal(t, sum, s.Total.Bytes)
		assert.Zero(t, s.Total.Outstanding)

		sender, r := newTestReceiver(t, g.Pools()[3])
		send(t, sender, []byte("kept"))
		kept := takeBuffers(t, r, 1)[0]
		require.NoError(t, g.Close())
		require.NoError(t, g.Close(), "idempotent")
		assert.Equal(t, "kept", string(kept.Bytes()))
		require.NoError(t, kept.Release())
		_, conn := tcpPair(t)
		defer conn.Close()
		_, err := g.Pick(conn)
		assert.ErrorIs(t, err, ErrClosed)
		assert.ErrorIs(t, g.Replace(t.Context(), loops[0], newTestLoop(t, LoopConfig{})), ErrClosed)
		for _, m := range g.Stats().Members {
			assert.False(t, m.Live)
		}
	})
}

// TestGroupReplacesMembers replaces loops that are closed, loops whose pools are closed,
// and loops that work.
func TestGroupReplacesMembers(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		ctx := t.Context()
		g, loops := newTestGroup(t, mode, 3, 2, PoolConfig{NumBuffers: 16})
		refuse := func(want string, old, next *Loop) {
			t.Helper()
			assert.ErrorContains(t, g.Replace(ctx, old, next), "zcrx: replace in group: "+want)
		}
		fresh, closed := newTestLoop(t, LoopConfig{}), newTestLoop(t, LoopConfig{})
		require.NoError(t, closed.Close())
		refuse("the old loop is not in the group", fresh, fresh)
		refuse("the new loop is nil", loops[0], nil)
		refuse("the new loop is in the group already", loops[0], loops[1])
		refuse("the new loop is in the group already", loops[0], loops[0])
		refuse("the new loop: zcrx: use of closed", loops[0], closed)

		for i, old := range loops {
			receiveOn(t, g.Pool(old), "before")
			sender, r := newTestReceiver(t, g.Pool(old))
			send(t, sender, []byte("held"))
			held := takeBuffers(t, r, 1)[0]
			switch i {
			case 0:
				require.NoError(t, old.Close())
			case 1:
				require.NoError(t, g.Pool(old).Close())
			}
			next := newTestLoop(t, LoopConfig{})
			require.NoError(t, g.Replace(ctx, old, next))
			assert.Nil(t, g.Pool(old))
			assert.Same(t, next, g.Loops()[i])
			receiveOn(t, g.Pool(next), "after")
			m := g.Stats().Members[i]
			assert.Equal(t, uint64(len("beforeheldafter")), m.Pool.Bytes, "of both pools")
			assert.Equal(t, 1, m.Pool.Outstanding)
			assert.True(t, m.Live)
			require.NoError(t, held.Release())
			assert.Zero(t, g.Stats().Members[i].Pool.Outstanding)
		}
		assert.Equal(t, uint64(3*len("beforeheldafter")), g.Stats().Total.Bytes)
		// The place of queue 1 was alone on it: its loop registered a new pool.
		if mode == DeviceLess {
			var owners []bool
			for _, m := range g.Stats().Members {
				owners = append(owners, m.Owner)
			}
			assert.Equal(t, []bool{false, true, false}, owners)
		}
	})
}

// TestGroupForgetsFormerPools replaces members many times: places must not grow.
func TestGroupForgetsFormerPools(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		g, loops := newTestGroup(t, mode, 2, 1, PoolConfig{NumBuffers: 8})
		const times = 20
		for range times {
			next := newTestLoop(t, LoopConfig{Entries: 8, CQEntries: 16})
			receiveOn(t, g.Pools()[1], "x")
			require.NoError(t, loops[1].Close())
			require.NoError(t, g.Replace(t.Context(), loops[1], next))
			loops[1] = next
		}
		s := g.Stats()
		assert.Equal(t, uint64(times), s.Members[1].Pool.Bytes)
		assert.Empty(t, g.members[1].former)
	})
}

// TestGroupIsUsableDuringReplace calls every method of a group while its members are
// replaced, and while it is closed.
func TestGroupIsUsableDuringReplace(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		g, loops := newTestGroup(t, mode, 3, 2, PoolConfig{NumBuffers: 8})
		var asking sync.WaitGroup
		started := make(chan struct{}, 4)
		for i := range cap(started) {
			asking.Go(func() {
				for n := 0; ; n++ {
					p, err := g.PickNAPI(uint32(i))
					if err != nil {
						assert.ErrorIs(t, err, ErrClosed)
						return
					}
					assert.NotNil(t, p.Loop())
					s := g.Stats()
					assert.Len(t, s.Members, 3)
					assert.Len(t, g.Loops(), 3)
					assert.GreaterOrEqual(t, len(g.Pools()), 2, "one is replaced at a time")
					assert.Nil(t, g.Pool(nil))
					if n == 0 {
						started <- struct{}{}
					}
				}
			})
		}
		for range cap(started) {
			<-started
		}
		for i := range 12 {
			next := newTestLoop(t, LoopConfig{Entries: 8, CQEntries: 16})
			require.NoError(t, g.Replace(t.Context(), loops[i%3], next))
			loops[i%3] = next
		}
		require.NoError(t, g.Close())
		asking.Wait()
	})
}

// TestGroupReplaceFails checks that a failed Replace leaves the place empty, and can be
// repeated.
func TestGroupReplaceFails(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		g, loops := newTestGroup(t, mode, 3, 1, PoolConfig{NumBuffers: 8})
		next := newTestLoop(t, LoopConfig{})
		r := &registrations{at: 0, errno: syscall.ENOMEM}
		r.interfere(t, append(loops, next)...)
		err := g.Replace(t.Context(), loops[1], next)
		assert.ErrorIs(t, err, syscall.ENOMEM)
		e, ok := errors.AsType[*GroupError](err)
		require.True(t, ok)
		assert.Equal(t, 1, e.Loop)
		assert.Len(t, g.Pools(), 2)
		assert.Nil(t, g.Pool(loops[1]))
		assert.False(t, g.Stats().Members[1].Live)
		for range 4 {
			p, err := g.PickNAPI(0)
			require.NoError(t, err)
			assert.NotSame(t, loops[1], p.Loop())
		}
		require.NoError(t, g.Replace(t.Context(), loops[1], next))
		assert.Len(t, g.Pools(), 3)
		receiveOn(t, g.Pool(next), "again")
	})
}
