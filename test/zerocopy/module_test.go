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

// TestReload loads the module, receives into a pool and unloads the module, a hundred times or
// ZCRX_NIC_RELOADS. TestMain checks the kernel's log.
func TestReload(t *testing.T) {
	n := 100
	if s := os.Getenv("ZCRX_NIC_RELOADS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	for range n {
		w := newWire(t)
		loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
		require.NoError(t, err)
		pool, err := zcrx.NewPool(t.Context(), loop, zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{NumBuffers: 64})
		require.NoError(t, err)
		p := beginProof(t, 1)
		c := w.connect(1)
		require.NoError(t, transfer(t, c, pool, 256<<10))
		require.NoError(t, p.check(256<<10, c))
		closePool(t, pool)
		require.NoError(t, loop.Close())
		w.close()
	}
}

// TestBadOptions loads the module with options that it must refuse with a message in the
// kernel's log.
func TestBadOptions(t *testing.T) {
	log, err := openKernelLog()
	require.NoError(t, err)
	for option, allowed := range map[string]string{
		"pairs=0": "1 to 4", "pairs=5": "1 to 4", "queues=0": "1 to 16", "queues=17": "1 to 16",
		"ring=0": "1 to 4096", "ring=4097": "1 to 4096", "mtu=67": "68 to 16000", "mtu=16001": "68 to 16000",
		"backlog=1": "2 and more",
	} {
		assert.ErrorIs(t, loadModule(option), syscall.EINVAL, option)
		assert.False(t, moduleLoaded())
		said, err := log.complaints()
		require.NoError(t, err)
		assert.Equal(t, []string{"zcnic: " + option + ": allowed are " + allowed}, said)
	}
	assert.NoError(t, log.close())
}
