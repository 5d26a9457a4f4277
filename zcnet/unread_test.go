//go:build linux && cgo

package zcnet

import (
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestUnreadConnectionsLeaveThePoolToOthers has many peers send to connections that nobody
// reads, with few buffers for so many: streams beside them arrive, also such that begin
// later, and what is unread is there when it is read.
func TestUnreadConnectionsLeaveThePoolToOthers(t *testing.T) {
	const unread, each, streams, size = 200, 256 << 10, 4, 4 << 20
	withEngine(t, Config{Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 512}}, func(t *testing.T, e *Engine) {
		s := zcrxtest.NewStream(31)
		var sending sync.WaitGroup
		var peers []net.Conn
		var conns []*Conn
		for range unread {
			peer, c := peerPair(t, e)
			peers, conns = append(peers, peer), append(conns, c)
			sending.Go(func() { _, _ = s.Write(peer, 0, each) })
		}
		for range 2 {
			var all sync.WaitGroup
			for range streams {
				peer, c := peerPair(t, e)
				all.Go(func() {
					_, err := s.Write(peer, 0, size)
					assert.NoError(t, err)
					assert.NoError(t, peer.Close())
				})
				all.Go(func() {
					_ = c.SetReadDeadline(time.Now().Add(2 * zcrxtest.Patience))
					s.AssertRead(t, c, size)
					assert.NoError(t, c.Close())
				})
			}
			all.Wait()
		}
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		total := e.Stats().Group.Total
		t.Logf("%d leases out, %d bytes copied unread, %d pauses, heap %d MiB", total.Outstanding, total.UnreadBytes, total.Paused, before.HeapAlloc>>20)
		pool := uint64(512 * 64 << 10) // of the largest buffers that a mode has
		assert.LessOrEqual(t, total.UnreadBytes, pool+unread*128<<10)
		for i, c := range conns[:10] {
			require.NoError(t, c.SetReadDeadline(time.Now().Add(2*zcrxtest.Patience)))
			p := make([]byte, each)
			n := 0
			for n < each {
				k, err := c.Read(p[n:])
				require.NoError(t, err, "connection %d", i)
				n += k
			}
			assert.Equal(t, s.At(0, each), p)
		}
		for i, c := range conns {
			require.NoError(t, peers[i].(*net.TCPConn).SetLinger(0))
			require.NoError(t, peers[i].Close())
			require.NoError(t, c.Close())
		}
		sending.Wait()
		assert.Zero(t, e.Stats().Group.Total.Outstanding)
	})
}
