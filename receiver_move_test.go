//go:build linux && cgo

package zcrx

import (
	"context"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMoveEndsAfterAPollThatFoundTheQueueFull moves a connection whose writer waits for
// room, while the poll for that room waits for a place in the submission queue. Nothing
// else is in flight: the receiver is paused, and the connection has hung up.
func TestMoveEndsAfterAPollThatFoundTheQueueFull(t *testing.T) {
	here, there := newTestLoop(t, LoopConfig{}), newTestLoop(t, LoopConfig{})
	p := openTestPool(t, here, Provided, PoolConfig{NumBuffers: 256})
	q := openTestPool(t, there, Provided, PoolConfig{NumBuffers: 256})
	peer, r := newTestReceiver(t, p)
	resetWhilePaused(t, peer, r)
	eventually(t, "nothing is in flight", func() (idle bool) {
		require.NoError(t, here.do(func() error { idle = !r.armed && !r.watching; return nil }))
		return idle
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel() // MoveTo does not wait, and the move goes on
	require.NoError(t, here.do(func() error {
		restore := takeNoRequests(here.ring.Ring)
		err := r.pollWritable() // as WaitWritable does
		restore()
		assert.ErrorIs(t, r.MoveTo(ended, q), context.Canceled)
		return err
	}))
	eventually(t, "it has moved", func() bool { return r.Pool() == q })
	assert.ErrorIs(t, receiveToError(t, r), syscall.ECONNRESET)
}
