//go:build linux && cgo

package zcrx

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// newBenchPool makes a pool for which the benchmark plays the kernel.
func newBenchPool(b *testing.B, buffers int) *Pool {
	b.Helper()
	a, err := newArea(MemoryAnonymous, buffers, pageSize(), -1)
	if err != nil {
		b.Fatal(err)
	}
	region, err := sys.MapAnonymous(refillRegionSize(uint32(buffers), pageSize()), pageSize())
	if err != nil {
		b.Fatal(err)
	}
	m := fakeMemory(b, a, region, refillLayouts["7.3"], buffers)
	p := &Pool{loop: &Loop{}, memory: m}
	p.ledger.init(&m.mu, p, func() {})
	m.hold()
	b.Cleanup(p.dropUser)
	return p
}

// takeAll is the kernel's part: it empties the refill queue at once.
func (p *Pool) takeAll() {
	atomic.StoreUint32(p.memory.refillQueue.khead, p.memory.refillQueue.published())
}

// BenchmarkLease measures the whole life of a completion: Buffer, Bytes, Release, refill
// entry.
func BenchmarkLease(b *testing.B) {
	p := newBenchPool(b, 4096)
	c := uring.CQE{Res: 4096, Flags: uring.CQEMore}
	one := make([]Buffer, 0, 1)
	var err error
	var sum byte
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		c.Big[0] = (i & 4095) << 12
		i++
		if one, err = p.take(&c, one[:0]); err != nil {
			b.Fatal(err)
		}
		sum += one[0].Bytes()[0]
		if err := one[0].Release(); err != nil {
			b.Fatal(err)
		}
		p.takeAll()
	}
	_ = sum
}

// BenchmarkLeaseBatch releases 64 at a time; an operation is one buffer.
func BenchmarkLeaseBatch(b *testing.B) {
	p := newBenchPool(b, 4096)
	c := uring.CQE{Res: 4096, Flags: uring.CQEMore}
	batch := make([]Buffer, 0, 64)
	var err error
	i := uint64(0)
	b.ReportAllocs()
	for b.Loop() {
		c.Big[0] = (i & 4095) << 12
		i++
		if batch, err = p.take(&c, batch); err != nil {
			b.Fatal(err)
		}
		if len(batch) == cap(batch) {
			if err := ReleaseAll(batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
			p.takeAll()
		}
	}
	_ = ReleaseAll(batch)
}

// benchmarkStream sends to a connection without end, and calls next b.N times, which
// receives one piece. It reports bytes per second.
func benchmarkStream(b *testing.B, open func(*net.TCPConn) (next func() int, done func())) {
	sender, conn := tcpPair(b)
	chunk := make([]byte, 256<<10)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if _, err := sender.Write(chunk); err != nil {
				return // the benchmark is over
			}
		}
	})
	next, done := open(conn)
	for range 100 {
		next() // warm up buffers, records and queues
	}
	var total int64
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		total += int64(next())
	}
	b.StopTimer()
	b.ReportMetric(float64(total)/1e6/b.Elapsed().Seconds(), "MB/s")
	done()
	_ = sender.Close()
	wg.Wait()
}

// BenchmarkReceive compares the modes with plain reads on loopback. An operation
// is a batch of buffers, or one read.
func BenchmarkReceive(b *testing.B) {
	b.Run("socket", func(b *testing.B) {
		benchmarkStream(b, func(conn *net.TCPConn) (next func() int, done func()) {
			buf := make([]byte, 256<<10)
			return func() int {
				n, err := conn.Read(buf)
				if err != nil {
					b.Fatal(err)
				}
				return n
			}, func() { _ = conn.Close() }
		})
	})
	for _, size := range []int{4 << 10, 64 << 10} {
		name := map[int]string{4 << 10: "4K", 64 << 10: "64K"}[size]
		b.Run("provided/"+name, func(b *testing.B) { benchmarkReceiver(b, Provided, size) })
	}
	fs, err := ProbeFeatures()
	if err == nil && fs.Have(FeatureDeviceLess) == nil {
		b.Run("deviceless/4K", func(b *testing.B) { benchmarkReceiver(b, DeviceLess, 4<<10) })
	}
}

func benchmarkReceiver(b *testing.B, mode Mode, size int) {
	l, err := NewLoop(LoopConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	p := openTestPool(b, l, mode, PoolConfig{NumBuffers: 16 << 20 / size, BufferSizeHint: size})
	benchmarkStream(b, func(conn *net.TCPConn) (next func() int, done func()) {
		r, err := NewReceiver(p, conn)
		if err != nil {
			b.Fatal(err)
		}
		batch := make([]Buffer, 256)
		return func() int {
				n, err := r.RecvBatch(b.Context(), batch)
				if err != nil && !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				total := 0
				for _, buf := range batch[:n] {
					total += len(buf.Bytes())
				}
				if err := ReleaseAll(batch[:n]); err != nil {
					b.Fatal(err)
				}
				return total
			}, func() {
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
	})
}
