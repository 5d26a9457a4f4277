package zcrxtest

import (
	"slices"
	"testing"
	"time"
)

// Measurement is one side of a comparison: it does n operations and returns how
// long these took, without what only prepares them.
type Measurement func(n int) (time.Duration, error)

// BenchmarkInTurns runs both sides in turns: a slow moment of the machine is one of
// both. A turn is n operations; where that is less than a time slice, most turns
// are not interrupted on a busy machine either. It reports the median of the turns'
// ratios, and of each side's nanoseconds. An operation is one turn.
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
	b.ReportMetric(0, "ns/op") // of a turn: says nothing
	b.ReportMetric(Median(ratios), name+"/"+otherName)
	b.ReportMetric(Median(times), name+"-ns")
	b.ReportMetric(Median(otherTimes), otherName+"-ns")
}

// Median sorts x, which is not empty.
func Median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
