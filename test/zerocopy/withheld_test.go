//go:build nic

package zerocopy

import (
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// withheld is a transfer whose consumer keeps every buffer. newWithheld returns when the
// device has dropped packets because it had none.
type withheld struct {
	pool *zcrx.Pool
	conn connection
	r    *zcrx.Receiver
	s    stream
	held []zcrx.Buffer
	sent chan error
}

func newWithheld(t *testing.T, w *wire, size int64) *withheld {
	t.Helper()
	h := &withheld{sent: make(chan error, 1)}
	h.pool = newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 64, MaxLeases: zcrx.MaxNumBuffers})
	h.conn = w.connect(1)
	var err error
	h.r, err = zcrx.NewReceiver(h.pool, h.conn.in)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.r.Close()) })
	go func() { h.sent <- send(h.conn.out, size) }()
	before := readCounters(t)
	for {
		// After a dropped packet TCP delivers nothing, even if more was placed.
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := h.take(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			if readCounters(t).since(before).sum("no_buffer", 1) > 0 {
				break
			}
			continue
		}
		require.NoError(t, err)
	}
	assert.Positive(t, h.pool.Stats().AllocFailures)
	assert.Less(t, h.s.at, size)
	return h
}

// take receives one buffer and keeps it.
func (h *withheld) take(ctx context.Context) (end bool, err error) {
	b, err := h.r.Recv(ctx)
	if err != nil {
		return errors.Is(err, io.EOF), err
	}
	h.held = append(h.held, b)
	return false, h.s.check(b.Bytes())
}

// takeAll receives to the end of the stream. It releases the buffers that it holds when they
// are more than keep.
func (h *withheld) takeAll(t *testing.T, keep int) {
	t.Helper()
	for {
		end, err := h.take(t.Context())
		if end {
			return
		}
		require.NoError(t, err)
		if len(h.held) > keep {
			h.release(t)
		}
	}
}

func (h *withheld) release(t *testing.T) {
	t.Helper()
	require.NoError(t, zcrx.ReleaseAll(h.held))
	h.held = nil
}

// TestWithheldBuffers keeps every buffer until the device has none, and then gives it new ones
// by releasing them, and by growing the pool while all are still leased.
func TestWithheldBuffers(t *testing.T) {
	const size = 2 << 20
	t.Run("returned", func(t *testing.T) {
		w := newWire(t, "ring=16")
		p := beginProof(t, 1)
		h := newWithheld(t, w, size)
		start := time.Now()
		h.release(t)
		h.takeAll(t, 8)
		t.Logf("went on and ended %v after the return", time.Since(start))
		h.release(t)
		require.NoError(t, h.s.end(size))
		require.NoError(t, <-h.sent)
		assert.NoError(t, p.check(size, h.conn))
	})
	t.Run("grown", func(t *testing.T) {
		w := newWire(t, "ring=16")
		p := beginProof(t, 1)
		h := newWithheld(t, w, size)
		start := time.Now()
		require.NoError(t, h.pool.Grow(t.Context(), 2*size/4096))
		h.takeAll(t, math.MaxInt)
		t.Logf("went on and ended %v after growing", time.Since(start))
		require.NoError(t, h.s.end(size))
		require.NoError(t, <-h.sent)
		assert.NoError(t, p.check(size, h.conn))
		assert.Len(t, h.held, h.pool.Stats().Outstanding)
		h.release(t)
		// The kernel has the buffers of both areas again.
		require.NoError(t, transfer(t, w.connect(1), h.pool, 4*size))
	})
	t.Run("grows by itself", func(t *testing.T) {
		w := newWire(t, "ring=16")
		p := beginProof(t, 1)
		h := &withheld{conn: w.connect(1), pool: newPool(t, newLoop(t), 1, zcrx.PoolConfig{
			NumBuffers: 64, MaxBuffers: 4096, MaxLeases: zcrx.MaxNumBuffers,
		})}
		r, err := zcrx.NewReceiver(h.pool, h.conn.in)
		require.NoError(t, err)
		h.r = r
		go func() { _ = send(h.conn.out, size) }() // if it fails, the receiver does too
		h.takeAll(t, math.MaxInt)
		require.NoError(t, h.s.end(size))
		assert.NoError(t, p.check(size, h.conn))
		t.Logf("%d buffers in the end, %d allocations failed", h.pool.NumBuffers(), h.pool.Stats().AllocFailures)
		assert.Greater(t, h.pool.NumBuffers(), size/4096)
		h.release(t)
		require.NoError(t, r.Close())
	})
}
