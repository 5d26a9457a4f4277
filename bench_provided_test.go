//go:build linux && cgo

package zcrx

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// benchmarkConsumption measures each way in which the kernel uses buffers up, in turns, so
// that a slow moment of the machine affects all of them. It reports the median of each, and
// of its ratio to whole buffers. measure returns a number that is better the higher it is.
// An operation is one turn of all.
func benchmarkConsumption(b *testing.B, unit string, measure func(how consumption) float64) {
	b.Helper()
	ways := everyConsumption()
	values, ratios := make([][]float64, len(ways)), make([][]float64, len(ways))
	for range b.N {
		for i, how := range ways {
			values[i] = append(values[i], measure(how))
			ratios[i] = append(ratios[i], values[i][len(values[i])-1]/values[0][len(values[0])-1])
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, how := range ways {
		name := strings.ReplaceAll(how.String(), " ", "-")
		b.ReportMetric(median(values[i]), name+"-"+unit)
		if i > 0 {
			b.ReportMetric(median(ratios[i]), name+"/whole")
		}
	}
}

// BenchmarkConsumptionStream receives a stream in buffers of a page; see
// BenchmarkStream.
func BenchmarkConsumptionStream(b *testing.B) {
	const n = 64 // MiB
	for _, buffers := range []int{64, 1024, streamBuffers} {
		b.Run(fmt.Sprintf("speed/%d-buffers", buffers), func(b *testing.B) {
			benchmarkConsumption(b, "MB/s", func(how consumption) float64 {
				took := openProvidedStream(how, buffers, func(LoopStats, PoolStats) {}).run(b, n, func() {})
				return n << 20 / 1e6 / took.Seconds()
			})
		})
		b.Run(fmt.Sprintf("turns/%d-buffers", buffers), func(b *testing.B) {
			benchmarkConsumption(b, "kB/turn", func(how consumption) (kB float64) {
				openProvidedStream(how, buffers, func(l LoopStats, p PoolStats) {
					kB = float64(p.Bytes) / 1e3 / float64(l.Turns)
				}).run(b, n, func() {})
				return kB
			})
		})
	}
}

// openProvidedStream receives into a copying pool whose buffers are used up in the given
// way.
func openProvidedStream(how consumption, buffers int, count func(LoopStats, PoolStats)) transfer {
	return openPoolStream(func(b *testing.B, l *Loop) BufferPool {
		p, err := newProvidedPool(context.Background(), l, PoolConfig{NumBuffers: buffers, BufferSizeHint: streamBuffer}, how)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}, count)
}

// BenchmarkConsumptionMessages receives one byte at a time from each of many
// connections, and holds them for a while.
func BenchmarkConsumptionMessages(b *testing.B) {
	const connections, rounds = 64, 32
	type shape struct {
		pool      *ProvidedPool
		senders   []*net.TCPConn
		receivers []*Receiver
	}
	shapes := map[consumption]*shape{}
	for _, how := range everyConsumption() {
		l := newTestLoop(b, LoopConfig{})
		s := &shape{pool: newTestProvidedPool(b, l, how, 2*connections*rounds)}
		for range connections {
			sender, r := newTestReceiver(b, s.pool)
			s.senders, s.receivers = append(s.senders, sender), append(s.receivers, r)
		}
		shapes[how] = s
	}
	// run returns how long the messages took and how many buffers they filled.
	run := func(b *testing.B, s *shape) (took time.Duration, buffers int) {
		var held []Buffer
		start := time.Now()
		for range rounds {
			for _, c := range s.senders {
				if _, err := c.Write([]byte{1}); err != nil {
					b.Fatal(err)
				}
			}
			for _, r := range s.receivers {
				buf, err := r.Recv(b.Context())
				if err != nil {
					b.Fatal(err)
				}
				held = append(held, buf)
			}
		}
		took = time.Since(start)
		ids := map[uint16]bool{}
		for _, buf := range held {
			id, _ := splitLeaseToken(buf.lease.token)
			ids[id] = true
		}
		if err := ReleaseAll(held); err != nil {
			b.Fatal(err)
		}
		return took, len(ids)
	}
	b.Run("speed", func(b *testing.B) {
		benchmarkConsumption(b, "messages/s", func(how consumption) float64 {
			took, _ := run(b, shapes[how])
			return connections * rounds / took.Seconds()
		})
	})
	b.Run("buffers", func(b *testing.B) {
		benchmarkConsumption(b, "messages/buffer", func(how consumption) float64 {
			_, buffers := run(b, shapes[how])
			return connections * rounds / float64(buffers)
		})
	})
}
