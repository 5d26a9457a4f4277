package zcrxtest

import (
	"slices"
	"testing"
	"time"
)

// Measurement is one side of a comparison. It does n operations and returns how long
// they took, without their preparation.
type Measurement func(n int) (time.Duration, error)

// BenchmarkInTurns measures two sides alternately, n operations at a time, so that a slow
// moment of the machine slows both. If n operations take less than a time slice of the
// scheduler, most measurements are not interrupted even on a busy machine. It reports the
// median of the ratios and, for each side, the median of the nanoseconds for one
// operation. An iteration of the benchmark is one measurement of each side.
func BenchmarkInTurns(b *testing.B, n int, name string, measure Measurement, otherName string, measureOther Measurement) {
	b.Helper()
	var ratios, times, otherTimes []float64
	for range b.N {
		took, err := measure(n)
		if err != nil {
			b.Fatal(err)
		}
		otherTook, err := measureOther(n)
		if err != nil {
			b.Fatal(err)
		}
		ratios = append(ratios, float64(took)/float64(otherTook))
		times = append(times, float64(took.Nanoseconds())/float64(n))
		otherTimes = append(otherTimes, float64(otherTook.Nanoseconds())/float64(n))
	}
	b.ReportMetric(0, "ns/op") // hides the time of an iteration, which means nothing
	b.ReportMetric(Median(ratios), name+"/"+otherName)
	b.ReportMetric(Median(times), name+"-ns")
	b.ReportMetric(Median(otherTimes), otherName+"-ns")
}

// Median sorts x and returns its median, the upper one of two. x must not be empty.
func Median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
