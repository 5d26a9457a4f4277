//go:build linux && cgo

package zcrx

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/tools/cbench"
	"github.com/zcrx-go/zcrx/uring"
)

// Benchmarks of the library against C with liburing that does the same, in one run. Noise
// of the machine affects both sides, so their ratio says more than each of them.

func benchmark(b *testing.B, measure measurement) {
	b.Helper()
	if _, err := measure(cbench.Round); err != nil { // warm up records and caches
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	took, err := measure(b.N)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
}

// benchmarkRatio is benchmarkInTurns for Go and C.
func benchmarkRatio(b *testing.B, n int, inGo, inC measurement) {
	b.Helper()
	benchmarkInTurns(b, n, "go", inGo, "c", inC)
}

const (
	returnBuffers = 4096
	returnBuffer  = 4096 // bytes
)

func newCPool(b *testing.B, buffers int) *cbench.Pool {
	b.Helper()
	p, err := cbench.NewPool(buffers, returnBuffer)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Close)
	return p
}

// completion fills in the i-th completion of the benchmark's kernel.
func completion(c *uring.CQE, i int) {
	c.Res, c.Flags = returnBuffer, uring.CQEMore
	c.Big[0] = uint64(i&(returnBuffers-1)) * returnBuffer
}

var firstBytes byte // keeps the bytes that benchmarks read from being optimised away

// releaseEach takes n completions, and releases each with Release.
func releaseEach(p *Pool) measurement {
	return func(n int) (time.Duration, error) {
		var c uring.CQE
		var sum byte
		one := make([]Buffer, 0, 1)
		var err error
		start := time.Now()
		for i := range n {
			completion(&c, i)
			if one, err = p.take(&c, one[:0]); err != nil {
				return 0, err
			}
			sum += one[0].Bytes()[0]
			if err := one[0].Release(); err != nil {
				return 0, err
			}
			if i%cbench.Batch == cbench.Batch-1 {
				p.takeAll()
			}
		}
		p.takeAll()
		firstBytes += sum
		return time.Since(start), nil
	}
}

// releaseBatches takes n completions, and releases 64 at a time with ReleaseAll.
func releaseBatches(p *Pool) measurement {
	return func(n int) (time.Duration, error) {
		var c uring.CQE
		var sum byte
		batch := make([]Buffer, 0, cbench.Batch)
		var err error
		start := time.Now()
		for i := range n {
			completion(&c, i)
			if batch, err = p.take(&c, batch); err != nil {
				return 0, err
			}
			sum += batch[len(batch)-1].Bytes()[0]
			if len(batch) < cap(batch) && i < n-1 {
				continue
			}
			if err := ReleaseAll(batch); err != nil {
				return 0, err
			}
			batch = batch[:0]
			p.takeAll()
		}
		firstBytes += sum
		return time.Since(start), nil
	}
}

// releaseFromGoroutines leases from pools in rounds, and measures how long one goroutine
// for each pool takes to release the leases. A pool may be listed several times, and pools
// may share their memory.
func releaseFromGoroutines(pools ...*Pool) measurement {
	workers := len(pools)
	out := make([]Buffer, 0, cbench.Round)
	return func(n int) (time.Duration, error) {
		begin := make([]chan []Buffer, workers)
		var round, all sync.WaitGroup
		failed := make([]error, workers)
		for w := range begin {
			begin[w] = make(chan []Buffer)
			all.Go(func() {
				for mine := range begin[w] {
					for _, buf := range mine {
						if err := buf.Release(); err != nil {
							failed[w] = err
						}
					}
					round.Done()
				}
			})
		}
		var took time.Duration
		var c uring.CQE
		var err error
		for n > 0 && err == nil {
			share := min((n+workers-1)/workers, cap(out)/workers)
			out = out[:0]
			for i := 0; i < share*workers && err == nil; i++ {
				completion(&c, i)
				out, err = pools[i/share].take(&c, out)
			}
			for _, p := range pools {
				p.count() // as the loop does before it hands leases over
			}
			start := time.Now()
			round.Add(workers)
			for w := range begin {
				begin[w] <- out[w*share : (w+1)*share]
			}
			round.Wait()
			took += time.Since(start)
			for _, p := range pools {
				p.takeAll()
			}
			n -= share * workers
		}
		for _, ch := range begin {
			close(ch)
		}
		all.Wait()
		return took, errors.Join(err, errors.Join(failed...))
	}
}

// BenchmarkReturn measures the whole life of a completion: Buffer, first byte, Release,
// refill entry. c-locked does the same in C; c-plain does what liburing's example does,
// which neither checks nor locks.
func BenchmarkReturn(b *testing.B) {
	p, c := newBenchPool(b, returnBuffers), newCPool(b, returnBuffers)
	b.Run("go", func(b *testing.B) { benchmark(b, releaseEach(p)) })
	b.Run("c-plain", func(b *testing.B) { benchmark(b, c.Plain) })
	b.Run("c-locked", func(b *testing.B) { benchmark(b, c.Locked) })
	b.Run("ratio", func(b *testing.B) { benchmarkRatio(b, cbench.Round, releaseEach(p), c.Locked) })
}

// BenchmarkReturnBatch64 is BenchmarkReturn with 64 returns under one lock. An
// operation is one buffer.
func BenchmarkReturnBatch64(b *testing.B) {
	p, c := newBenchPool(b, returnBuffers), newCPool(b, returnBuffers)
	b.Run("go", func(b *testing.B) { benchmark(b, releaseBatches(p)) })
	b.Run("c", func(b *testing.B) { benchmark(b, c.Batched) })
	b.Run("ratio", func(b *testing.B) { benchmarkRatio(b, cbench.Round, releaseBatches(p), c.Batched) })
}

// BenchmarkReturnParallel8 measures only the release, from eight goroutines or threads at
// once. An operation is one buffer.
func BenchmarkReturnParallel8(b *testing.B) {
	p, c := newBenchPool(b, cbench.Round), newCPool(b, cbench.Round)
	inGo := releaseFromGoroutines(slices.Repeat([]*Pool{p}, cbench.Workers)...)
	b.Run("go", func(b *testing.B) { benchmark(b, inGo) })
	b.Run("c", func(b *testing.B) { benchmark(b, c.Parallel) })
	b.Run("ratio", func(b *testing.B) { benchmarkRatio(b, 8*cbench.Round, inGo, c.Parallel) })
}

const (
	streamBuffers = 16384
	streamBuffer  = 4 << 10
)

// BenchmarkStream receives a stream over loopback and reads the first byte of every buffer.
// The sender is the same thread in C for all. An operation is 1 MiB. The C side takes a
// buffer for every completion, and so does the library where it is compared with C. See
// BenchmarkConsumptionStream for the other ways.
func BenchmarkStream(b *testing.B) {
	b.Run("socket-read", func(b *testing.B) { benchmarkTransfer(b, openSocketRead) })
	b.Run("c-provided", func(b *testing.B) { benchmarkTransfer(b, openCStream(cbench.Provided)) })
	b.Run("go-provided", func(b *testing.B) { benchmarkTransfer(b, openGoStream(Provided)) })
	b.Run("ratio-provided", func(b *testing.B) {
		benchmarkTransferRatio(b, openProvidedStream(consumption{}, streamBuffers, func(LoopStats, PoolStats) {}), openCStream(cbench.Provided))
	})
	if Have(FeatureDeviceLess) != nil {
		return
	}
	b.Run("c-deviceless", func(b *testing.B) { benchmarkTransfer(b, openCStream(cbench.DeviceLess)) })
	b.Run("go-deviceless", func(b *testing.B) { benchmarkTransfer(b, openGoStream(DeviceLess)) })
	b.Run("ratio-deviceless", func(b *testing.B) {
		benchmarkTransferRatio(b, openGoStream(DeviceLess), openCStream(cbench.DeviceLess))
	})
}

// transfer is a way to receive. open starts to receive from fd, which it takes over;
// receive returns when at least n bytes have come. If lockThread is set, the goroutine is
// locked to its thread.
type transfer struct {
	lockThread bool
	open       func(b *testing.B, fd int) (receive func(n int64) error, done func())
}

// run receives n MiB after a warm-up, calls ready after the warm-up, and returns how long
// the n MiB took.
func (t transfer) run(b *testing.B, n int, ready func()) time.Duration {
	b.Helper()
	if t.lockThread {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	sender, fd, err := cbench.Pair()
	if err != nil {
		b.Fatal(err)
	}
	s, err := cbench.StartSender(sender)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Stop()
	receive, done := t.open(b, fd)
	defer done()
	if err := receive(streamBuffers * streamBuffer); err != nil { // once around all buffers
		b.Fatal(err)
	}
	ready()
	start := time.Now()
	if err := receive(int64(n) << 20); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	b.StopTimer()
	return took
}

func benchmarkTransfer(b *testing.B, t transfer) {
	b.Helper()
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	t.run(b, b.N, b.ResetTimer)
}

// benchmarkTransferRatio is benchmarkRatio for streams, with 64 MiB a turn.
func benchmarkTransferRatio(b *testing.B, inGo, inC transfer) {
	b.Helper()
	const n = 64
	speed := func(t transfer) float64 { // in MB/s
		return n << 20 / 1e6 / t.run(b, n, func() {}).Seconds()
	}
	var ratios, goSpeeds, cSpeeds []float64
	for range b.N {
		g, c := speed(inGo), speed(inC)
		ratios, goSpeeds, cSpeeds = append(ratios, g/c), append(goSpeeds, g), append(cSpeeds, c)
		b.StartTimer()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "go/c")
	b.ReportMetric(median(goSpeeds), "go-MB/s")
	b.ReportMetric(median(cSpeeds), "c-MB/s")
}

// connOf makes a net.TCPConn of fd, which it takes over.
func connOf(b *testing.B, fd int) *net.TCPConn {
	b.Helper()
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		b.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

var openSocketRead = transfer{open: func(b *testing.B, fd int) (func(int64) error, func()) {
	conn := connOf(b, fd)
	buf := make([]byte, 256<<10)
	return func(n int64) error {
		for n > 0 {
			got, err := conn.Read(buf)
			if err != nil {
				return err
			}
			firstBytes += buf[0]
			n -= int64(got)
		}
		return nil
	}, func() { _ = conn.Close() }
}}

func openCStream(mode uint32) transfer {
	return transfer{lockThread: true, open: func(b *testing.B, fd int) (func(int64) error, func()) {
		s, err := cbench.OpenStream(fd, mode)
		if err != nil {
			b.Fatal(err)
		}
		return s.Run, func() {
			s.Close()
			_ = sys.Close(fd)
		}
	}}
}

func openGoStream(mode Mode) transfer {
	return openPoolStream(func(b *testing.B, l *Loop) BufferPool {
		return openTestPool(b, l, mode, PoolConfig{NumBuffers: streamBuffers, BufferSizeHint: streamBuffer})
	}, func(LoopStats, PoolStats) {})
}

// openPoolStream receives into the pool that open makes. It calls count with the statistics
// at the end.
func openPoolStream(open func(*testing.B, *Loop) BufferPool, count func(LoopStats, PoolStats)) transfer {
	return transfer{open: func(b *testing.B, fd int) (func(int64) error, func()) {
		l, err := NewLoop(LoopConfig{})
		if err != nil {
			b.Fatal(err)
		}
		p := open(b, l)
		r, err := NewReceiver(p, connOf(b, fd))
		if err != nil {
			b.Fatal(err)
		}
		batch := make([]Buffer, 256)
		ctx := context.Background()
		receive := func(n int64) error {
			for n > 0 {
				got, err := r.RecvBatch(ctx, batch)
				if err != nil {
					return err
				}
				for _, buf := range batch[:got] {
					firstBytes += buf.Bytes()[0]
					n -= int64(buf.Len())
				}
				if err := ReleaseAll(batch[:got]); err != nil {
					return err
				}
			}
			return nil
		}
		return receive, func() {
			if err := errors.Join(r.Close(), l.Close()); err != nil {
				b.Error(err)
			}
			count(l.Stats(), p.Stats())
		}
	}}
}
