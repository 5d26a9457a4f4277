package result

import (
	"math"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// A Metric is one figure of a Result.
type Metric struct {
	Name string
	// Unit and BulkUnit are the units for messages, and for Bulk.
	Unit, BulkUnit string
	// Higher says that more is better.
	Higher bool
	// Of returns the figure, or NaN if the Result has none.
	Of func(Result) float64
}

// UnitFor returns the unit of the metric for a workload.
func (m Metric) UnitFor(w scenario.Workload) string {
	if w == scenario.Bulk {
		return m.BulkUnit
	}
	return m.Unit
}

// The metrics that plots and summaries use.
var (
	Rate = Metric{Name: "rate", Unit: "requests/s", BulkUnit: "MB/s", Higher: true, Of: func(r Result) float64 {
		if r.Case.Workload == scenario.Bulk {
			return float64(r.Server.Received) / 1e6 / r.Server.Seconds
		}
		return float64(r.Client.Requests) / r.Client.Seconds
	}}
	CPU = Metric{Name: "CPU of the server", Unit: "µs/request", BulkUnit: "s/GB", Of: func(r Result) float64 {
		if r.Case.Workload == scenario.Bulk {
			return r.Server.CPU() / (float64(r.Server.Received) / 1e9)
		}
		return r.Server.CPU() * 1e6 / r.Requests()
	}}
	P50  = latency("p50", func(r Result) int64 { return r.Client.Latency.P50 })
	P90  = latency("p90", func(r Result) int64 { return r.Client.Latency.P90 })
	P99  = latency("p99", func(r Result) int64 { return r.Client.Latency.P99 })
	P999 = latency("p99.9", func(r Result) int64 { return r.Client.Latency.P999 })
)

// Metrics returns every metric, in the order of the tables.
func Metrics() []Metric {
	return []Metric{
		Rate, CPU,
		perUnit("user CPU share", "%", "%", func(r Result) float64 { return 100 * r.Server.User / r.Server.CPU() }, false),
		P50, P90, P99, P999,
		perUnit("allocations", "1/request", "1/MB", func(r Result) float64 { return float64(r.Server.Mallocs) }, true),
		perUnit("voluntary context switches", "1/request", "1/MB", func(r Result) float64 { return float64(r.Server.Voluntary) }, true),
		perUnit("involuntary context switches", "1/request", "1/MB", func(r Result) float64 { return float64(r.Server.Involuntary) }, true),
		perUnit("peak memory", "MiB", "MiB", func(r Result) float64 { return float64(r.Server.PeakMemory) / (1 << 20) }, false),
	}
}

func latency(name string, of func(Result) int64) Metric {
	return Metric{Name: name, Unit: "µs", Of: func(r Result) float64 {
		if r.Client.Latency == nil {
			return math.NaN()
		}
		return float64(of(r)) / 1e3
	}}
}

// perUnit is a metric of the server, if divided for each request or megabyte.
func perUnit(name, unit, bulkUnit string, of func(Result) float64, divided bool) Metric {
	return Metric{Name: name, Unit: unit, BulkUnit: bulkUnit, Of: func(r Result) float64 {
		switch {
		case !divided:
			return of(r)
		case r.Case.Workload == scenario.Bulk:
			return of(r) / (float64(r.Server.Received) / 1e6)
		}
		return of(r) / r.Requests()
	}}
}
