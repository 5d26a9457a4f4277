//go:build linux && cgo

package uring

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCompletionsOfEverySize submits numbered no-ops until the completion queue has
// wrapped several times, in batches whose size does not divide the queue's.
func TestCompletionsOfEverySize(t *testing.T) {
	const nopCQE32 = 1 << 5 // IORING_NOP_CQE32: a 32-byte completion in a mixed ring
	for name, flags := range map[string]SetupFlags{"16": 0, "32": SetupCQE32, "mixed": SetupCQEMixed} {
		t.Run(name, func(t *testing.T) {
			r := newTestRing(t, Config{Entries: 8, CQEntries: 16, Flags: flags | ownerFlags})
			next := uint64(0)
			for range 100 {
				for i := range 5 {
					queue(t, r, next+uint64(i), func(s *SQE) {
						s.PrepNop()
						if flags == SetupCQEMixed && i%2 == 1 {
							s.OpFlags = nopCQE32
						}
					})
				}
				for i, c := range reap(t, r, 5) {
					require.Equal(t, next+uint64(i), c.UserData)
					require.Zero(t, c.Res)
					if flags == SetupCQEMixed {
						require.Equal(t, i%2 == 1, c.Flags&CQE32 != 0)
					}
				}
				next += 5
			}
			assert.Zero(t, r.Pending())
		})
	}
}

func TestCompletionQueueOverflow(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, CQEntries: 8, Flags: ownerFlags | SetupCQE32})
	const n = 64
	for i := range n {
		if r.SQSpaceLeft() == 0 {
			_, err := r.Submit()
			require.NoError(t, err)
		}
		queue(t, r, uint64(i), (*SQE).PrepNop)
	}
	_, err := r.Submit()
	require.NoError(t, err)
	assert.True(t, r.Overflown())
	assert.True(t, r.CQNearlyFull())
	for i, c := range reap(t, r, n) {
		require.Equal(t, uint64(i), c.UserData, "nothing lost, nothing out of order")
	}
	_, err = r.Submit()
	require.NoError(t, err)
	assert.False(t, r.Overflown())
	assert.False(t, r.CQNearlyFull())
	assert.Zero(t, r.Dropped())
}
