//go:build nic

package zerocopy

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// withheld is a transfer whose consumer has kept every buffer until the device
// dropped packets for want of one.
type withheld struct {
	pool *zcrx.Pool
	r    *zcrx.Receiver
	s    stream
	held []zcrx.Buffer
	sent chan error
}

func newWithheld(t *testing.T, w *wire, size int64) *withheld {
	t.Helper()
	h := &withheld{sent: make(chan error, 1)}
	h.pool = newPool(t, newLoop(t), zcrx.PoolConfig{Queue: 1, NumBuffers: 64})
	c := w.connect(1)
	var err error
	h.r, err = zcrx.NewReceiver(h.pool, c.in)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.r.Close()) })
	go func() { h.sent <- send(c.out, size) }()
	before := readCounters(t)
	for {
		got := readCounters(t).since(before)
		if got.sum("no_buffer", 1) > 0 && int64(got.sum("placed_bytes", 1)) == h.s.at {
			break
		}
		if int64(got.sum("placed_bytes", 1)) > h.s.at {
			h.take(t)
		}
	}
	assert.Positive(t, h.pool.Stats().AllocFailures)
	assert.Less(t, h.s.at, size)
	return h
}

// take receives one buffer and keeps it.
func (h *withheld) take(t *testing.T) (end bool) {
	t.Helper()
	b, err := h.r.Recv(t.Context())
	if errors.Is(err, io.EOF) {
		return true
	}
	require.NoError(t, err)
	require.NoError(t, h.s.check(b.Bytes()))
	h.held = append(h.held, b)
	return false
}

func (h *withheld) release(t *testing.T) {
	t.Helper()
	require.NoError(t, zcrx.ReleaseAll(h.held))
	h.held = nil
}

// TestWithheldBuffers keeps every buffer until the device has none, and then gives
// it some: by returning them, and by growing the pool while all stay out.
func TestWithheldBuffers(t *testing.T) {
	const size = 2 << 20
	t.Run("returned", func(t *testing.T) {
		w := newWire(t, "ring=16")
		p := beginProof(t, 1)
		h := newWithheld(t, w, size)
		start := time.Now()
		h.release(t)
		for !h.take(t) {
			if len(h.held) == 8 {
				h.release(t)
			}
		}
		t.Logf("went on and ended %v after the return", time.Since(start))
		h.release(t)
		require.NoError(t, h.s.end(size))
		require.NoError(t, <-h.sent)
		assert.NoError(t, p.checkLossy(size))
	})
	t.Run("grown", func(t *testing.T) {
		w := newWire(t, "ring=16")
		p := beginProof(t, 1)
		h := newWithheld(t, w, size)
		start := time.Now()
		require.NoError(t, h.pool.Grow(t.Context(), 2*size/4096))
		for !h.take(t) {
		}
		t.Logf("went on and ended %v after growing", time.Since(start))
		require.NoError(t, h.s.end(size))
		require.NoError(t, <-h.sent)
		assert.NoError(t, p.checkLossy(size))
		assert.Equal(t, len(h.held), h.pool.Stats().Outstanding)
		h.release(t)
		// Buffers of both areas are with the kernel again.
		require.NoError(t, transfer(t, w.connect(1), h.pool, 4*size))
	})
}
