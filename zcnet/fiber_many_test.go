//go:build linux && cgo

package zcnet

import (
	"context"
	"net"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestOpenFibers has a fiber for each of many connections, checks that each receives its own
// bytes, and logs how much memory an idle one takes, its stack included. ZCRX_CONN_OPEN sets
// how many; withEngine checks that nothing of them remains.
func TestOpenFibers(t *testing.T) {
	n := zcrxtest.Amount(t, openConnections, zcrxtest.Volume(300))
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 4096, MaxLeases: 64}}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		before := heapAndStacks()
		var rounds, ended atomic.Int64
		served := make(chan error, 1)
		go func() {
			served <- ln.Serve(context.Background(), func(c *Conn) {
				defer ended.Add(1)
				receiveRounds(t, c, &rounds)
			})
		}()
		ask, stop := startFeeder(t, ln.Addr().String(), n)
		awaitNumber := func(what string, want int, number func() int64) {
			require.Eventually(t, func() bool { return number() == int64(want) }, 2*time.Minute, time.Millisecond, what)
		}
		awaitNumber("all have a fiber", n, func() int64 { return int64(e.Stats().Fibers.Open) })
		each := (heapAndStacks() - before) / int64(n)
		for round := range 2 {
			ask()
			awaitNumber("all have received", n*(round+1), rounds.Load)
		}
		stop()
		awaitNumber("all have ended", n, ended.Load)
		require.NoError(t, ln.Shutdown(t.Context()))
		require.ErrorIs(t, <-served, net.ErrClosed)
		t.Logf("%d open at once: %d bytes for an idle one, kernel memory apart", n, each)
		assert.Less(t, each, int64(64<<10))
	})
}

// receiveRounds is the function of a fiber of TestOpenFibers.
func receiveRounds(t *testing.T, c *Conn, rounds *atomic.Int64) {
	head, err := c.Peek(context.Background(), 8)
	if !assert.NoError(t, err) {
		return
	}
	i, err := strconv.Atoi(string(head))
	assert.NoError(t, err)
	_, err = c.Discard(context.Background(), 8)
	assert.NoError(t, err)
	if i%feederPause == feederPause-1 {
		_, err = c.Write([]byte("."))
		assert.NoError(t, err)
	}
	for round := range 2 {
		want := messageOf(i, round)
		for chunk, err := range c.Chunks(context.Background(), len(want)) {
			if !assert.NoError(t, err) {
				return
			}
			assert.Equal(t, want[:len(chunk)], chunk, "connection %d, round %d", i, round)
			want = want[len(chunk):]
		}
		rounds.Add(1)
	}
	_, err = c.Read(make([]byte, 1))
	assert.Error(t, err, "the peer closes it")
}

// heapAndStacks returns how many bytes of heap and stacks the program uses.
func heapAndStacks() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
