//go:build linux && cgo

package zcrx

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestGroup makes a group over n new loops and the queues 0 to queues-1. It
// answers the loops in the order of the group.
func newTestGroup(t testing.TB, mode Mode, n, queues int, pool PoolConfig) (*Group, []*Loop) {
	t.Helper()
	cfg := GroupConfig{Mode: mode, Pool: pool}
	for range n {
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, l.Close()) })
		cfg.Loops = append(cfg.Loops, l)
	}
	for i := range queues {
		cfg.Queues = append(cfg.Queues, i)
	}
	g, err := NewGroup(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, g.Close()) })
	return g, g.Loops()
}
