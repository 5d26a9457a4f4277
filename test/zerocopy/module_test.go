//go:build nic

package zerocopy

import (
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// TestReload loads the module, lets traffic through a pool and unloads it, a
// hundred times or ZCRX_NIC_RELOADS. TestMain looks into the kernel's log.
func TestReload(t *testing.T) {
	n := 100
	if s := os.Getenv("ZCRX_NIC_RELOADS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for range n {
		t.Run("", func(t *testing.T) {
			w := newWire(t)
			pool := newPool(t, newLoop(t), zcrx.PoolConfig{Queue: 1, NumBuffers: 64})
			p := beginProof(t, 1)
			c := w.connect(1)
			require.NoError(t, transfer(t, c, pool, 256<<10))
			assert.NoError(t, p.checkLossy(256<<10))
		})
	}
}

// TestBadOptions are refused, and leave nothing behind.
func TestBadOptions(t *testing.T) {
	for _, option := range []string{
		"pairs=0", "pairs=5", "queues=0", "queues=17", "ring=0", "ring=4097", "mtu=67", "mtu=16001", "backlog=1",
	} {
		assert.ErrorIs(t, loadModule(option), syscall.EINVAL, option)
		assert.False(t, moduleLoaded())
	}
}
