//go:build nic

package zerocopy

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zcrx-go/zcrx"
)

// TestSharedQueues has two loops that own a queue each and two that import from them, and
// receives flows of both queues on all four loops at once.
func TestSharedQueues(t *testing.T) {
	const size = 8 << 20
	w := newWire(t)
	type flow struct {
		pool *zcrx.Pool
		conn connection
	}
	var flows []flow
	p := beginProof(t, 1, 2)
	for _, queue := range []int{1, 2} {
		owner := newPool(t, newLoop(t), queue, zcrx.PoolConfig{NumBuffers: 512})
		handle, err := owner.Export(t.Context())
		require.NoError(t, err)
		member, err := zcrx.ImportPool(t.Context(), newLoop(t), handle)
		require.NoError(t, err)
		t.Cleanup(func() { closePool(t, member) })
		require.NoError(t, handle.Close())
		for _, pool := range []*zcrx.Pool{owner, member} {
			flows = append(flows, flow{pool, w.connect(queue)})
		}
	}
	var all errgroup.Group
	for _, f := range flows {
		all.Go(func() error { return transfer(t, f.conn, f.pool, size) })
	}
	require.NoError(t, all.Wait())
	var conns []connection
	for _, f := range flows {
		conns = append(conns, f.conn)
		assert.Equal(t, uint64(size), f.pool.Stats().Bytes)
	}
	assert.NoError(t, p.check(int64(len(flows))*size, conns...))
}

// TestForeignQueue receives a connection into a pool of another queue than the one that it
// arrives on.
func TestForeignQueue(t *testing.T) {
	w := newWire(t)
	pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 64})
	newPool(t, newLoop(t), 2, zcrx.PoolConfig{NumBuffers: 64})
	c := w.connect(2)
	r, err := zcrx.NewReceiver(pool, c.in)
	require.NoError(t, err)
	require.NoError(t, send(c.out, 1000))
	_, err = r.Recv(t.Context())
	assert.ErrorIs(t, err, syscall.EFAULT)
	assert.ErrorContains(t, err, "receive the connection on the loop whose pool is bound to its hardware queue")
	assert.NoError(t, r.Close())
}
