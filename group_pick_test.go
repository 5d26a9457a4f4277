//go:build linux && cgo

package zcrx

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/nic"
)

// TestGroupPick gives the queues of a group NAPI ids, and picks.
func TestGroupPick(t *testing.T) {
	loops := make([]*Loop, 5)
	for i := range loops {
		loops[i] = newTestLoop(t, LoopConfig{})
	}
	cfg := GroupConfig{Mode: ZeroCopy, Loops: loops, Queues: []int{1, 2}}
	g := newGroup(&cfg, ZeroCopy)
	for i, m := range g.members {
		p, err := NewProvidedPool(loops[i], PoolConfig{NumBuffers: 8})
		require.NoError(t, err)
		m.pool = p
	}
	g.queues[0].napiID, g.queues[1].napiID = 8193, 8200
	picks := func(napiID uint32, n int) (at []int) {
		t.Helper()
		for range n {
			p, err := g.PickNAPI(napiID)
			require.NoError(t, err)
			for i, m := range g.members {
				if m.pool == p {
					at = append(at, i)
				}
			}
		}
		return at
	}
	assert.Equal(t, []int{0, 2, 4, 0}, picks(8193, 4), "the members of queue 1 take turns")
	assert.Equal(t, []int{1, 3, 1}, picks(8200, 3), "those of queue 2 their own")
	assert.Equal(t, []int{2}, picks(8193, 1))
	assert.Equal(t, []int{0, 1, 2, 3, 4, 0}, picks(0, 6), "unknown: all take turns")
	assert.Equal(t, []int{1}, picks(99, 1), "a queue without pool")
	s := g.Stats()
	var byNAPI, byTurn []uint64
	for _, m := range s.Members {
		byNAPI, byTurn = append(byNAPI, m.PicksByNAPI), append(byTurn, m.PicksByTurn)
	}
	assert.Equal(t, []uint64{2, 2, 2, 1, 1}, byNAPI)
	assert.Equal(t, []uint64{2, 2, 1, 1, 1}, byTurn)

	require.NoError(t, loops[3].Close())
	assert.Equal(t, []int{1, 1}, picks(8200, 2), "a closed loop is passed over")
	require.NoError(t, g.members[1].pool.Close())
	assert.Equal(t, []int{2, 4, 0}, picks(8200, 3), "no member of the queue is left: all others take turns")
	for _, i := range []int{0, 2, 4} {
		require.NoError(t, g.members[i].pool.Close())
	}
	_, err := g.PickNAPI(0)
	assert.ErrorIs(t, err, ErrClosed)
}

// TestIncomingNAPI checks that a connection over loopback and a closed one have no NAPI
// instance.
func TestIncomingNAPI(t *testing.T) {
	sender, conn := tcpPair(t)
	_, err := sender.Write([]byte("x"))
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	assert.Zero(t, sys.ConnNAPI(conn))
	require.NoError(t, conn.Close())
	assert.Zero(t, sys.ConnNAPI(conn))
	lo, err := nic.Read("lo", 0)
	require.NoError(t, err)
	assert.Zero(t, lo.NAPIID)
}
