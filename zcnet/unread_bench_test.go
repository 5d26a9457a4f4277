//go:build linux && cgo

package zcnet

import (
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// BenchmarkUnreadPeers compares the throughput of ten connections that are read, beside a
// thousand that are not and whose peers send 1 MiB each, with their throughput alone. It
// reports both rates, the median of their ratios, that of the time in which the thousand
// begin to send, and the largest heap of the program. An operation is one round of all.
// ZCRX_UNREAD_PEERS sets another number than a thousand, for a slow machine.
func BenchmarkUnreadPeers(b *testing.B) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		b.Run(mode.String(), func(b *testing.B) {
			if mode == zcrx.DeviceLess && zcrx.Have(zcrx.FeatureDeviceLess) != nil {
				b.Skip("needs device-less zero-copy receive")
			}
			e, err := NewEngine(b.Context(), Config{Mode: mode})
			require.NoError(b, err)
			defer e.Close()
			benchmarkUnreadPeers(b, e)
		})
	}
}

func benchmarkUnreadPeers(b *testing.B, e *Engine) {
	const read, each, window = 10, 1 << 20, time.Second
	unread := 1000
	if s := os.Getenv("ZCRX_UNREAD_PEERS"); s != "" {
		var err error
		unread, err = strconv.Atoi(s)
		require.NoError(b, err)
	}
	flow := startReading(b, e, read)
	defer flow.end()
	heap := watchHeap()
	flow.rate(window) // warm up
	var alone, beside, ratios, beginning []float64
	for range b.N {
		a := flow.rate(window)
		crowd := &peers{}
		begun := make(chan float64)
		go func() { begun <- flow.rate(window) }()
		for range unread {
			crowd.add(b, e, each)
		}
		beginning = append(beginning, <-begun/a)
		crowd.settle()
		with := flow.rate(window)
		crowd.end(b)
		a = (a + flow.rate(window)) / 2
		alone, beside, ratios = append(alone, a), append(beside, with), append(ratios, with/a)
	}
	b.ReportMetric(zcrxtest.Median(alone)/1e6, "alone-MB/s")
	b.ReportMetric(zcrxtest.Median(beside)/1e6, "beside-MB/s")
	b.ReportMetric(zcrxtest.Median(ratios), "beside/alone")
	b.ReportMetric(zcrxtest.Median(beginning), "beginning/alone")
	b.ReportMetric(float64(heap())/1e6, "heap-MB")
	b.ReportMetric(0, "ns/op")
	b.Logf("%+v", e.Stats().Group.Total)
}

// readFlow is connections that are read all the time.
type readFlow struct {
	bytes atomic.Int64
	ends  []func()
	all   sync.WaitGroup
}

func startReading(b *testing.B, e *Engine, n int) *readFlow {
	b.Helper()
	f := &readFlow{}
	chunk := make([]byte, 256<<10)
	for range n {
		peer, c := peerPair(b, e)
		f.ends = append(f.ends, func() { _, _ = peer.Close(), c.Close() })
		f.all.Go(func() {
			for err := error(nil); err == nil; {
				_, err = peer.Write(chunk)
			}
		})
		f.all.Go(func() {
			p := make([]byte, 64<<10)
			for {
				n, err := c.Read(p)
				if err != nil {
					return
				}
				f.bytes.Add(int64(n))
			}
		})
	}
	return f
}

// rate returns how many bytes a second arrive.
func (f *readFlow) rate(over time.Duration) float64 {
	before, start := f.bytes.Load(), time.Now()
	time.Sleep(over)
	return float64(f.bytes.Load()-before) / time.Since(start).Seconds()
}

func (f *readFlow) end() {
	for _, end := range f.ends {
		end()
	}
	f.all.Wait()
}

// peers are connections that are not read.
type peers struct {
	conns []*net.TCPConn
	own   []*Conn
	sent  atomic.Int64 // bytes
	all   sync.WaitGroup
}

// add makes a connection whose peer sends n bytes, as far as it can.
func (p *peers) add(b *testing.B, e *Engine, n int) {
	b.Helper()
	peer, c := peerPair(b, e)
	p.conns, p.own = append(p.conns, peer), append(p.own, c)
	require.NoError(b, peer.SetWriteBuffer(64<<10)) // the kernel bounds the memory of all sockets
	chunk := make([]byte, 16<<10)
	p.all.Go(func() {
		for left := n; left > 0; left -= len(chunk) {
			if _, err := peer.Write(chunk); err != nil {
				return
			}
			p.sent.Add(int64(len(chunk)))
		}
	})
}

// settle waits until the peers can send no more, but not for ever: a slow machine takes long
// for so much.
func (p *peers) settle() {
	const pause, most = 300 * time.Millisecond, 10 * time.Second
	for before, start := int64(-1), time.Now(); p.sent.Load() != before && time.Since(start) < most; {
		before = p.sent.Load()
		time.Sleep(pause)
	}
}

func (p *peers) end(b *testing.B) {
	b.Helper()
	for i := range p.conns {
		require.NoError(b, p.conns[i].SetLinger(0))
		require.NoError(b, p.conns[i].Close())
		require.NoError(b, p.own[i].Close())
	}
	p.all.Wait()
}

// watchHeap returns a function that returns the largest heap seen since, in bytes.
func watchHeap() (largest func() uint64) {
	ended, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		peak := uint64(0)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapAlloc)
			case <-ended:
				tick.Stop()
				most <- peak
				return
			}
		}
	}()
	return func() uint64 { close(ended); return <-most }
}
