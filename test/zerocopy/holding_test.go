//go:build nic

package zerocopy

import (
	"context"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zcrx-go/zcrx"
)

// TestLeasesHeldAtRandom receives on two queues for ten seconds, or ZCRX_NIC_HOLDING. Four
// goroutines keep leases for random times and release them in random order. The pools are
// small, and grow after the device had no buffer.
func TestLeasesHeldAtRandom(t *testing.T) {
	duration := 10 * time.Second
	if s := os.Getenv("ZCRX_NIC_HOLDING"); s != "" {
		var err error
		duration, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	const holders = 4
	w := newWire(t)
	leases := make(chan zcrx.Buffer, 64)
	var holding sync.WaitGroup
	for i := range holders {
		holding.Go(func() { holdAtRandom(t, rand.New(rand.NewSource(int64(i))), leases) })
	}
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	p := beginProof(t, 1, 2)
	var received [2]int64
	var all errgroup.Group
	var pools []*zcrx.Pool
	var conns []connection
	for i := range received {
		pool := newPool(t, newLoop(t), i+1, zcrx.PoolConfig{NumBuffers: 256, MaxLeases: zcrx.MaxNumBuffers})
		pools = append(pools, pool)
		c := w.connect(i + 1)
		conns = append(conns, c)
		all.Go(func() error { return sendUntil(ctx, c.out) })
		all.Go(func() error { return growWhenDry(ctx, pool) })
		all.Go(func() (err error) {
			received[i], err = passOn(t, pool, c, leases)
			return err
		})
	}
	require.NoError(t, all.Wait())
	close(leases)
	holding.Wait()
	assert.NoError(t, p.check(received[0]+received[1], conns...))
	for i, pool := range pools {
		assert.Zero(t, pool.Stats().Outstanding)
		info := conns[i].info(t)
		t.Logf("queue %d: %d bytes, %d buffers in the end, %d timeouts in %d recoveries; %+v", i+1, received[i],
			pool.NumBuffers(), info.Total_rto, info.Total_rto_recoveries, pool.Stats())
	}
}

// sendUntil sends the pattern's stream until ctx ends.
func sendUntil(ctx context.Context, conn *net.TCPConn) error {
	for at := int64(0); ctx.Err() == nil; at += chunkSize {
		if _, err := conn.Write(pattern()[at%patternSize:][:chunkSize]); err != nil {
			return err
		}
	}
	return conn.CloseWrite()
}

// passOn receives a stream to its end, checks it, and sends the leases to a channel.
func passOn(t *testing.T, pool *zcrx.Pool, c connection, leases chan<- zcrx.Buffer) (int64, error) {
	r, err := zcrx.NewReceiver(pool, c.in)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var s stream
	var longest time.Duration
	for last := time.Now(); ; last = time.Now() {
		b, err := r.Recv(context.Background())
		if errors.Is(err, io.EOF) {
			t.Logf("the longest pause between two buffers was %v", longest)
			return s.at, nil
		}
		if err != nil {
			return s.at, err
		}
		longest = max(longest, time.Since(last))
		if err := s.check(b.Bytes()); err != nil {
			return s.at, err
		}
		leases <- b
	}
}

// growWhenDry grows the pool after each allocation failure, up to sixteen times,
// until ctx ends.
func growWhenDry(ctx context.Context, pool *zcrx.Pool) error {
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for grown, failures := 0, uint64(0); grown < 16; {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
		}
		if n := pool.Stats().AllocFailures; n > failures {
			failures = n
			grown++
			if err := pool.Grow(context.Background(), 256); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdAtRandom keeps a random number of leases, at most 32, and releases some when it has
// more.
func holdAtRandom(t *testing.T, rng *rand.Rand, leases <-chan zcrx.Buffer) {
	var held []zcrx.Buffer
	for b := range leases {
		held = append(held, b)
		if len(held) <= rng.Intn(32) {
			continue
		}
		if rng.Intn(64) == 0 {
			time.Sleep(time.Duration(rng.Intn(500)) * time.Microsecond)
		}
		rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		n := rng.Intn(len(held) + 1)
		assert.NoError(t, zcrx.ReleaseAll(held[:n]))
		held = append(held[:0], held[n:]...)
	}
	assert.NoError(t, zcrx.ReleaseAll(held))
}
