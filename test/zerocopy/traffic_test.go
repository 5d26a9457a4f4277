//go:build nic

package zerocopy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/zcrx-go/zcrx"
)

// TestLossAndReordering receives over a wire that loses packets or changes their order.
func TestLossAndReordering(t *testing.T) {
	const size = 4 << 20
	for option, counter := range map[string]string{"lose_nth": "lost", "reorder_nth": "reordered"} {
		t.Run(counter, func(t *testing.T) {
			w := newWire(t)
			setOption(t, option, 50)
			pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 512})
			p := beginProof(t, 1)
			c := w.connect(1)
			require.NoError(t, transfer(t, c, pool, size))
			assert.NoError(t, p.check(size, c))
			assert.Positive(t, readCounters(t).since(p.before).sum(counter, 1))
		})
	}
}

// traffic is a transfer under way.
type traffic struct {
	r        *zcrx.Receiver
	conn     connection
	received chan error
	sent     chan error
}

// startTraffic starts a transfer, and returns when a mebibyte of it has been placed.
func startTraffic(t *testing.T, w *wire, pool *zcrx.Pool, size int64) *traffic {
	t.Helper()
	before := readCounters(t)
	tr := &traffic{conn: w.connect(1), received: make(chan error, 1), sent: make(chan error, 1)}
	var err error
	tr.r, err = zcrx.NewReceiver(pool, tr.conn.in)
	require.NoError(t, err)
	go func() { tr.sent <- send(tr.conn.out, size) }()
	go func() { tr.received <- receive(t.Context(), tr.r, size) }()
	tr.awaitMore(t, before)
	return tr
}

// awaitMore waits until a mebibyte has been placed since before.
func (tr *traffic) awaitMore(t *testing.T, before counters) {
	t.Helper()
	for readCounters(t).since(before).sum("placed_bytes", 1) < 1<<20 {
		select {
		case err := <-tr.received:
			require.FailNow(t, "the transfer ended too early", "%v", err)
		default:
		}
	}
}

// endless is the size of a transfer that no test waits for.
const endless = 1 << 40

// TestChangesUnderTraffic resizes the ring and takes the interface down and up during a
// transfer, which must succeed.
func TestChangesUnderTraffic(t *testing.T) {
	const size = 32 << 20
	w := newWire(t)
	pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 1024})
	p := beginProof(t, 1)
	tr := startTraffic(t, w, pool, size)
	for _, n := range []uint32{256, 8, 64} {
		before := readCounters(t)
		setRing(t, n)
		tr.awaitMore(t, before)
	}
	iface, err := netlink.LinkByName(device)
	require.NoError(t, err)
	for range 3 {
		before := readCounters(t)
		require.NoError(t, netlink.LinkSetDown(iface))
		require.NoError(t, netlink.LinkSetUp(iface))
		tr.awaitMore(t, before)
	}
	require.NoError(t, <-tr.received)
	require.NoError(t, <-tr.sent)
	require.NoError(t, tr.r.Close())
	assert.NoError(t, p.check(size, tr.conn))
}

// TestCloseUnderTraffic closes the loop during a transfer, and then receives on the same queue
// again.
func TestCloseUnderTraffic(t *testing.T) {
	w := newWire(t)
	for range 5 {
		loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
		require.NoError(t, err)
		pool, err := zcrx.NewPool(t.Context(), loop, zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{NumBuffers: 256})
		require.NoError(t, err)
		tr := startTraffic(t, w, pool, endless)
		require.NoError(t, loop.Close())
		assert.ErrorIs(t, <-tr.received, zcrx.ErrClosed)
		require.NoError(t, tr.r.Close())
		assert.Error(t, <-tr.sent, "the connection is closed")
		closePool(t, pool)
	}
	pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
	require.NoError(t, transfer(t, w.connect(1), pool, 1<<20))
}

// TestUnloadUnderTraffic removes the device during a transfer.
func TestUnloadUnderTraffic(t *testing.T) {
	w := newWire(t)
	pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
	tr := startTraffic(t, w, pool, endless)
	require.NoError(t, unloadModule())
	require.NoError(t, tr.conn.out.Close())
	assert.Error(t, <-tr.sent)
	require.NoError(t, tr.r.Close())
	assert.ErrorIs(t, <-tr.received, zcrx.ErrClosed)
	// Without its device the pool cannot grow.
	assert.Error(t, pool.Grow(t.Context(), 64))
}
