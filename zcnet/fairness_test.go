//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestGreedyConnections checks that connections whose buffers are not released hold their
// share and no more, and that other connections of the pool go on. One of them is never
// read, one is read and its buffers are kept, and one has a Handler that keeps them.
func TestGreedyConnections(t *testing.T) {
	const most, others, each = 8, 20, 1 << 18
	withEngine(t, Config{Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: most}}, func(t *testing.T, e *Engine) {
		s := zcrxtest.NewStream(70)
		var mu sync.Mutex
		var held []zcrx.Buffer
		isHeld := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(held)
		}
		hold := func(b ...zcrx.Buffer) {
			mu.Lock()
			held = append(held, b...)
			mu.Unlock()
		}
		var greedy, feeders []*Conn
		var ends []<-chan error
		for range 3 {
			peer, c := connPair(t, e)
			greedy, feeders, ends = append(greedy, c), append(feeders, peer), append(ends, fillUp(peer))
		}
		var holding sync.WaitGroup
		holding.Go(func() {
			for b, err := range greedy[1].Buffers(context.Background()) {
				if err == nil {
					hold(b)
				}
			}
		})
		require.NoError(t, greedy[2].Handle(func(_ *Conn, buffers []zcrx.Buffer, _ error) { hold(buffers...) }))
		zcrxtest.Eventually(t, "they are paused", func() bool {
			// In Socket mode a connection that is not read takes no buffers.
			paused := e.Stats().Group.Total.Paused
			return paused >= 3 || (e.Mode() == zcrx.Socket && paused >= 2)
		})
		for range 2 { // in the second round they are still paused
			var all sync.WaitGroup
			for range others {
				client, server := connPair(t, e)
				all.Go(func() {
					_, err := s.Write(client, 0, each)
					assert.NoError(t, err)
					assert.NoError(t, client.Close())
				})
				all.Go(func() {
					s.AssertRead(t, server, each)
					assert.NoError(t, server.Close())
				})
			}
			all.Wait()
		}
		// A connection may exceed its share by what comes in one turn.
		out := e.Stats().Group.Total.Outstanding
		t.Logf("%d leases out, %d in hand; %d may be for each of 3", out, isHeld(), most)
		assert.GreaterOrEqual(t, isHeld(), 2*most)
		assert.LessOrEqual(t, out, 3*(most+64))

		for i := range greedy {
			require.NoError(t, greedy[i].Close())
			require.NoError(t, feeders[i].Close())
			assert.Error(t, <-ends[i])
		}
		holding.Wait()
		zcrxtest.Eventually(t, "all other leases are back", func() bool {
			return e.Stats().Group.Total.Outstanding == isHeld()
		})
		mu.Lock() // a Handler learns of the end later
		defer mu.Unlock()
		require.NoError(t, zcrx.ReleaseAll(held))
	})
}

// TestIdleConnectionsHoldNothing has more connections than buffers wait for data, and checks
// that those that get some are served.
func TestIdleConnectionsHoldNothing(t *testing.T) {
	withEngine(t, Config{Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 4, MaxLeases: 2}}, func(t *testing.T, e *Engine) {
		var clients, servers []*Conn
		var waiting sync.WaitGroup
		for range 20 {
			client, server := connPair(t, e)
			clients, servers = append(clients, client), append(servers, server)
			waiting.Go(func() {
				_, err := io.Copy(server, server)
				assert.NoError(t, err)
				assert.NoError(t, server.CloseWrite())
			})
		}
		for i := len(clients) - 1; i >= 0; i-- {
			_, err := clients[i].Write([]byte("hello"))
			require.NoError(t, err)
			p, err := clients[i].Peek(t.Context(), 5)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(p))
			_, err = clients[i].Discard(t.Context(), 5)
			require.NoError(t, err)
		}
		for _, c := range clients {
			require.NoError(t, c.Close())
		}
		waiting.Wait()
		for _, c := range servers {
			require.NoError(t, c.Close())
		}
	})
}
