//go:build linux && cgo

package zcnet

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// TestReviewPeekEndsWhileDataFlows: a deadline or a context ends Peek, also if the peer does
// not pause.
func TestReviewPeekEndsWhileDataFlows(t *testing.T) {
	withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 1024}}, func(t *testing.T, e *Engine) {
		for _, by := range []string{"context", "deadline"} {
			peer, c := peerPair(t, e)
			flooded := zcrxtest.NewStream(11).Flood(t, peer)
			const patience = 30 * time.Millisecond
			ctx, cancel := t.Context(), func() {}
			began := time.Now()
			if by == "context" {
				ctx, cancel = context.WithTimeout(ctx, patience)
			} else {
				require.NoError(t, c.SetReadDeadline(began.Add(patience)))
			}
			p, err := c.Peek(ctx, 1<<29)
			took := time.Since(began)
			t.Logf("%s: Peek took %v, %d MiB, %v", by, took, len(p)>>20, err)
			if by == "context" {
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			}
			assert.Less(t, took, 10*patience, by)
			cancel()
			require.NoError(t, c.Close())
			<-flooded
			require.NoError(t, peer.Close())
		}
	})
}

// TestReviewNoTimerStays: a deadline that is set while the connection is closed leaves no
// timer, which would keep it in memory.
func TestReviewNoTimerStays(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		c.socket = &preempted{socket: c.socket, meanwhile: func() { assert.NoError(t, c.Close()) }}
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		c.readLimit.mu.Lock()
		defer c.readLimit.mu.Unlock()
		assert.Nil(t, c.readLimit.timer)
		if c.readLimit.timer != nil {
			c.readLimit.timer.Stop()
		}
	})
}
