//go:build nic

package zerocopy

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// TestGibibyte receives a gibibyte, or ZCRX_NIC_BYTES, without a byte copied.
func TestGibibyte(t *testing.T) {
	size := int64(1 << 30)
	if s := os.Getenv("ZCRX_NIC_BYTES"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
		size = n
	}
	w := newWire(t, "mtu=9000")
	pool := newPool(t, newLoop(t), zcrx.PoolConfig{Queue: 1, NumBuffers: 4096})
	p := beginProof(t, 1)
	require.NoError(t, transfer(t, w.connect(1), pool, size))
	assert.NoError(t, p.check(size, false))
	s := pool.Stats()
	assert.Equal(t, uint64(size), s.Bytes)
	assert.Zero(t, s.CopiedBytes)
	t.Logf("%+v", s)
}
