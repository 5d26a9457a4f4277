//go:build linux && cgo

package zcrx

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/uring"
)

// TestEventsAreCountedAndArmedAgain imitates the kernel's events on a real pool. What the
// kernel returns when the event is armed again shows that the right instance was used.
func TestEventsAreCountedAndArmedAgain(t *testing.T) {
	needDeviceLess(t)
	needFeature(t, FeatureEvents)
	var log bytes.Buffer
	l := newTestLoop(t, LoopConfig{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	for i := range uint64(3) {
		require.NoError(t, l.do(func() error {
			assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: int32(eventAllocFailed)}))
			assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: int32(eventCopy)}))
			assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: 77}), "an event of a later kernel")
			assert.False(t, l.ops.dispatch(&uring.CQE{UserData: p.events + 1}), "only the event's user data is an event")
			return nil
		}))
		s := p.Stats()
		assert.Equal(t, i+1, s.AllocFailures)
		assert.Equal(t, i+1, s.CopyEvents)
		assert.Equal(t, s, p.Stats(), "reading changes nothing")
	}
	assert.Equal(t, 3, strings.Count(log.String(), "has not fired"), "%s", log.String())

	// Receiving between events works, and causes a real copy event.
	sender, r := newTestReceiver(t, p)
	send(t, sender, pattern(1, 100_000))
	assert.Len(t, receiveAll(t, r), 100_000)
	s := p.Stats()
	assert.Equal(t, uint64(3), s.AllocFailures)
	assert.Equal(t, uint64(4), s.CopyEvents)
	assert.Equal(t, uint64(100_000), s.Bytes)

	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	require.NoError(t, l.do(func() error {
		assert.True(t, l.ops.dispatch(&uring.CQE{UserData: p.events, Res: int32(eventAllocFailed)}), "a closed pool's event is no stray")
		return nil
	}))
	assert.Equal(t, uint64(3), p.Stats().AllocFailures)
}

// TestCopiesAreNoticedOnce imitates a copy event for a zero-copy pool: it is logged once.
func TestCopiesAreNoticedOnce(t *testing.T) {
	var log bytes.Buffer
	k := newFakePool(t, 4, 4, refillLayouts["7.3"])
	k.pool.mode = ZeroCopy
	k.loop.ring = &zcrxRing{Ring: &uring.Ring{}} // a closed ring: arming the event again fails and is logged
	k.loop.logger = slog.New(slog.NewTextHandler(&log, nil))
	for range 3 {
		(*poolEvents)(k.pool).complete(&uring.CQE{Res: int32(eventCopy)})
	}
	assert.Equal(t, uint64(3), k.pool.Stats().CopyEvents)
	assert.Equal(t, 1, strings.Count(log.String(), "the kernel copies, because a connection"), "%s", log.String())
}
