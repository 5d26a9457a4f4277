//go:build linux && cgo

package uring

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/tools/cbench"
)

// inTurns measures both sides alternately, n operations at a time, and reports the median of
// each in ns and of their ratios. An operation of the benchmark is one turn of both.
func inTurns(b *testing.B, n int, nameA string, a func(n int) time.Duration, nameB string, other func(n int) time.Duration) {
	b.Helper()
	_, _ = a(n), other(n) // warm up
	var as, others, ratios []float64
	for b.Loop() {
		x, y := float64(a(n)), float64(other(n))
		as, others, ratios = append(as, x), append(others, y), append(ratios, x/y)
	}
	median := func(v []float64) float64 { slices.Sort(v); return v[len(v)/2] }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(as)/float64(n), nameA+"-ns")
	b.ReportMetric(median(others)/float64(n), nameB+"-ns")
	b.ReportMetric(median(ratios), nameA+"/"+nameB)
}

func newBenchRings(b *testing.B, entries int) (*Ring, *cbench.Ring) {
	b.Helper()
	runtime.LockOSThread()
	b.Cleanup(runtime.UnlockOSThread)
	r, err := New(Config{Entries: entries, Flags: ownerFlags})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, r.Close()) })
	c, err := cbench.NewRing(entries)
	require.NoError(b, err)
	b.Cleanup(c.Close)
	return r, c
}

// BenchmarkNop compares a request that does nothing, there and back, with C.
func BenchmarkNop(b *testing.B) {
	const n = 2000
	for name, inGo := range map[string]func(b *testing.B, r *Ring) func(n int) time.Duration{"ring": nopsRaw, "requests": nopsSafe} {
		b.Run(name, func(b *testing.B) {
			r, c := newBenchRings(b, 8)
			inTurns(b, n, "go", inGo(b, r), "c", func(n int) time.Duration {
				took, err := c.Nops(n)
				require.NoError(b, err)
				return took
			})
		})
	}
}

func nopsRaw(b *testing.B, r *Ring) func(n int) time.Duration {
	return func(n int) time.Duration {
		start := time.Now()
		var cqe [1]CQE
		for range n {
			r.GetSQE().PrepNop()
			if _, err := r.SubmitAndWait(1, -1); err != nil {
				b.Fatal(err)
			}
			r.Completions(cqe[:])
		}
		return time.Since(start)
	}
}

func nopsSafe(b *testing.B, r *Ring) func(n int) time.Duration {
	q := NewRequests(r)
	nop, done := (*SQE).PrepNop, func(*CQE) {}
	return func(n int) time.Duration {
		start := time.Now()
		for range n {
			if _, err := q.Start(nop, done); err != nil {
				b.Fatal(err)
			}
			if _, err := q.Turn(1, -1); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
}

const (
	readBlock = 4096
	readDepth = 32
	readFile  = 64 << 20 // bytes
)

// cachedFile makes a file that is in the page cache.
func cachedFile(b *testing.B) *os.File {
	b.Helper()
	name := filepath.Join(b.TempDir(), "file")
	require.NoError(b, os.WriteFile(name, make([]byte, readFile), 0o600))
	f, err := os.Open(name)
	require.NoError(b, err)
	b.Cleanup(func() { _ = f.Close() })
	return f
}

// places are random places in the file, the same as in C.
type places uint64

func (p *places) next() int64 {
	x := uint64(*p)
	x ^= x << 13
	x ^= x >> 7
	x ^= x << 17
	*p = places(x)
	return int64(x%(readFile/readBlock)) * readBlock
}

// BenchmarkReadFile compares random reads of 4 KiB of a cached file, 32 at a time, with C.
func BenchmarkReadFile(b *testing.B) {
	const n = 2000
	for name, inGo := range map[string]func(b *testing.B, r *Ring, fd int, memory []byte, n int) time.Duration{
		"ring": readRaw,
		"requests": func(b *testing.B, r *Ring, fd int, memory []byte, n int) time.Duration {
			return readSafe(b, NewRequests(r), fd, memory, n)
		},
	} {
		b.Run(name, func(b *testing.B) {
			r, c := newBenchRings(b, 64)
			fd, memory := int(cachedFile(b).Fd()), make([]byte, readDepth*readBlock)
			inTurns(b, n, "go", func(n int) time.Duration { return inGo(b, r, fd, memory, n) },
				"c", func(n int) time.Duration {
					took, err := c.Reads(fd, memory, readBlock, readFile/readBlock, readDepth, n)
					require.NoError(b, err)
					return took
				})
		})
	}
}

func readRaw(b *testing.B, r *Ring, fd int, memory []byte, n int) time.Duration {
	start := time.Now()
	place := places(88172645463325252)
	begun := 0
	begin := func(slot uint64) {
		if begun == n {
			return
		}
		begun++
		s := r.GetSQE()
		s.PrepRead(fd, memory[slot*readBlock:(slot+1)*readBlock], place.next())
		s.UserData = slot
	}
	for slot := range uint64(readDepth) {
		begin(slot)
	}
	var batch [readDepth]CQE
	for done := 0; done < n; {
		if _, err := r.SubmitAndWait(1, -1); err != nil {
			b.Fatal(err)
		}
		k := r.Completions(batch[:])
		for i := range k {
			if batch[i].Res != readBlock {
				b.Fatal(batch[i].Errno())
			}
			begin(batch[i].UserData)
		}
		done += k
	}
	return time.Since(start)
}

func readSafe(b *testing.B, q *Requests, fd int, memory []byte, n int) time.Duration {
	start := time.Now()
	place := places(88172645463325252)
	begun := 0
	for slot := range min(readDepth, n) {
		at := memory[slot*readBlock : (slot+1)*readBlock]
		prep := func(s *SQE) { s.PrepRead(fd, at, place.next()) }
		var begin func()
		done := func(c *CQE) {
			if c.Res != readBlock {
				b.Fatal(c.Errno())
			}
			begin()
		}
		begin = func() {
			if begun == n {
				return
			}
			begun++
			if _, err := q.Start(prep, done); err != nil {
				b.Fatal(err)
			}
		}
		begin()
	}
	for q.InFlight() > 0 {
		if _, err := q.Turn(1, -1); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// BenchmarkReadAt compares random reads of 4 KiB of a cached file through a ring, 32 at a time,
// with os.File.ReadAt from 32 goroutines.
func BenchmarkReadAt(b *testing.B) {
	r, _ := newBenchRings(b, 64)
	f := cachedFile(b)
	memory := make([]byte, readDepth*readBlock)
	readAt := func(n int) time.Duration {
		start := time.Now()
		var all sync.WaitGroup
		for slot := range readDepth {
			all.Go(func() {
				place := places(88172645463325252 + slot)
				at := memory[slot*readBlock : (slot+1)*readBlock]
				for range n / readDepth {
					if _, err := f.ReadAt(at, place.next()); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
		return time.Since(start)
	}
	q := NewRequests(r)
	inTurns(b, 64*readDepth, "requests", func(n int) time.Duration { return readSafe(b, q, int(f.Fd()), memory, n) }, "readat", readAt)
}
