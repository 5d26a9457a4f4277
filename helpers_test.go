//go:build linux && cgo

package zcrx

import (
	"net"
	"testing"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// Short names for what the tests share with those of other packages.

// pageSize is the number that most tests reckon with.
func pageSize() uintptr { return sys.PageSize() }

const patience = zcrxtest.Patience

// stream is zcrxtest's; what knows Receivers is in adversity_test.go and others.
type stream struct{ zcrxtest.Stream }

func newStream(seed int64) stream { return stream{zcrxtest.NewStream(seed)} }

// from is the stream that begins at an offset, so that each has its own bytes.
func (s stream) from(offset int) stream { return stream{s.Stream[offset:]} }

type measurement = zcrxtest.Measurement

func pattern(seed int64, n int) []byte { return zcrxtest.Pattern(seed, n) }

func send(t testing.TB, c *net.TCPConn, b []byte) { zcrxtest.Send(t, c, b) }

func tcpPair(t testing.TB) (sender, receiver *net.TCPConn) {
	t.Helper()
	return zcrxtest.TCPPair(t)
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	zcrxtest.Eventually(t, what, done)
}

func openFDs(t testing.TB) int {
	t.Helper()
	return zcrxtest.OpenFDs(t)
}

func settled(t testing.TB, fds, goroutines int) {
	t.Helper()
	zcrxtest.Settled(t, fds, goroutines)
}

func mappings(t testing.TB) int {
	t.Helper()
	return zcrxtest.Mappings(t)
}

func heap() uint64 { return zcrxtest.Heap() }

func benchmarkInTurns(b *testing.B, n int, name string, measure measurement, otherName string, measureOther measurement) {
	b.Helper()
	zcrxtest.BenchmarkInTurns(b, n, name, measure, otherName, measureOther)
}

func median(x []float64) float64 { return zcrxtest.Median(x) }
