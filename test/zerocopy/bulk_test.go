//go:build nic

package zerocopy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// BenchmarkBulk measures the throughput of one connection into a pool with enough buffers. It
// reports the median of the iterations, of 16 MiB each.
func BenchmarkBulk(b *testing.B) {
	const size = 16 << 20
	w := newWire(b, "tso=1", "ring=1024")
	loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
	require.NoError(b, err)
	defer loop.Close()
	pool, err := zcrx.NewPool(b.Context(), loop, zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{})
	require.NoError(b, err)
	defer pool.Close()
	c := w.connect(1)
	r, err := zcrx.NewReceiver(pool, c.in)
	require.NoError(b, err)
	defer r.Close()
	stop, end := context.WithCancel(context.Background())
	defer end()
	sent := make(chan error, 1)
	go func() { sent <- sendUntil(stop, c.out) }()
	buffers := make([]zcrx.Buffer, 256)
	take := func(n int) error {
		for n > 0 {
			k, err := r.RecvBatch(context.Background(), buffers)
			if err != nil {
				return err
			}
			for _, buf := range buffers[:k] {
				n -= buf.Len()
			}
			if err := zcrx.ReleaseAll(buffers[:k]); err != nil {
				return err
			}
		}
		return nil
	}
	require.NoError(b, take(4*size)) // let TCP's slow start pass
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		require.NoError(b, take(size))
		took = append(took, time.Since(start))
	}
	end()
	for err == nil {
		err = take(1)
	}
	require.Error(b, err) // io.EOF
	require.NoError(b, errors.Join(<-sent))
	b.ReportMetric(size/median(took).Seconds()/1e6, "MB/s")
	b.ReportMetric(float64(pool.Stats().RearmedOther)/float64(len(took)), "rearms/op")
}
