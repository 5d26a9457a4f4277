package result

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/bench/internal/load"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

var (
	echo = scenario.Case{Workload: scenario.Echo, Connections: 4, Size: 100}
	bulk = scenario.Case{Workload: scenario.Bulk, Connections: 4, Size: 4096}
)

// made returns a result with that many requests in a second and that much CPU time.
func made(contestant string, round int, requests int64, cpu float64) Result {
	return Result{
		Contestant: contestant, Baseline: "net", Case: echo, Round: round,
		Server: Usage{Seconds: 1, User: cpu / 4, System: cpu * 3 / 4, Mallocs: 10, PeakMemory: 3 << 20},
		Client: load.Report{Requests: requests, Seconds: 1, Latency: &load.Latency{P50: 1000, P90: 2000, P99: 3000, P999: 4500}},
	}
}

func TestSpread(t *testing.T) {
	assert.Equal(t, Spread{2, 1, 7}, SpreadOf([]float64{7, 1, 2}))
	assert.Equal(t, Spread{2.5, 1, 7}, SpreadOf([]float64{7, 1, 2, 3}))
	assert.Equal(t, Spread{2, 2, 2}, SpreadOf([]float64{math.NaN(), 2, math.Inf(1)}))
	assert.True(t, math.IsNaN(SpreadOf(nil).Median))
	values := []float64{3, 1}
	SpreadOf(values)
	assert.Equal(t, []float64{3, 1}, values)
	assert.Equal(t, "2.00 (1.00 to 7.00)", Spread{2, 1, 7}.String())
	assert.Equal(t, "2.00", Spread{2, 1.999, 2.001}.String())
	assert.Equal(t, "-", SpreadOf(nil).String())
}

func TestNumber(t *testing.T) {
	for want, v := range map[string]float64{
		"0": 0, "<0.001": 0.0002, "0.012": 0.0123, "1.23": 1.234, "12.3": 12.34, "123": 123.4, "123456": 123456, "-": math.NaN(),
	} {
		assert.Equal(t, want, Number(v))
	}
}

// A ratio is to the baseline of the same round: a slow round does not count.
func TestRatiosAreWithinARound(t *testing.T) {
	failed := Result{Contestant: "net", Baseline: "net", Case: echo, Round: 4, Error: "no"}
	tables := Tables([]Result{
		made("net", 1, 100, 1), made("handler", 1, 200, 1),
		made("net", 2, 10, 1), made("handler", 2, 30, 1),
		made("net", 3, 1000, 1), made("handler", 3, 1000, 1),
		failed, made("handler", 4, 5, 1),
	})
	require.Len(t, tables, 1)
	own := tables[0].Of("handler")
	assert.Equal(t, Spread{2, 1, 3}, tables[0].Ratio(own, Rate))
	net := tables[0].Of("net")
	assert.Equal(t, []string{"no"}, net.Failures)
	assert.Equal(t, 1, net.Failed)
	assert.Len(t, net.Results, 3)
	alone := Tables([]Result{made("handler", 1, 1, 1)})[0]
	assert.True(t, math.IsNaN(alone.Ratio(alone.Of("handler"), Rate).Median))
}

func TestMetrics(t *testing.T) {
	r := made("net", 1, 1000, 0.5)
	got := map[string]float64{}
	for _, m := range Metrics() {
		got[m.Name] = m.Of(r)
	}
	assert.Equal(t, map[string]float64{
		"rate": 1000, "CPU of the server": 500, "user CPU share": 25, "p50": 1, "p90": 2, "p99": 3, "p99.9": 4.5,
		"allocations": 0.01, "voluntary context switches": 0, "involuntary context switches": 0, "peak memory": 3,
	}, got)

	r = Result{Case: bulk, Server: Usage{Seconds: 2, Received: 4e9, User: 1, System: 1, Mallocs: 8000}}
	assert.InDelta(t, 2000, Rate.Of(r), 1e-9)
	assert.InDelta(t, 0.5, CPU.Of(r), 1e-9)
	assert.True(t, math.IsNaN(P50.Of(r)))
	assert.Equal(t, "s/GB", CPU.UnitFor(scenario.Bulk))
	assert.Empty(t, P50.UnitFor(scenario.Bulk))
}

func TestFileReturnsWhatWasWritten(t *testing.T) {
	var file bytes.Buffer
	machine := Machine{Time: time.Unix(1, 0).UTC(), Kernel: "6.18", Modules: []string{"a v1"}}
	results := []Result{made("net", 1, 1, 1), {Contestant: "gnet", Case: bulk, Round: 1, Error: "no"}}
	require.NoError(t, WriteMachine(&file, machine))
	for _, r := range results {
		require.NoError(t, Write(&file, r))
	}
	gotMachine, got, err := Read(&file)
	require.NoError(t, err)
	assert.Equal(t, machine, gotMachine)
	assert.Equal(t, results, got)
	_, _, err = Read(strings.NewReader("{}\n{"))
	assert.ErrorContains(t, err, "line 2: ")
}

func TestBenchmarkLines(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, WriteBenchmark(&out, made("net", 1, 1000, 0.5)))
	paced := made("net", 1, 1000, 0.5)
	paced.Case.Rate, paced.Case.BufferSize = 7, 4096
	require.NoError(t, WriteBenchmark(&out, paced))
	require.NoError(t, WriteBenchmark(&out, Result{Case: bulk, Contestant: "gnet", Server: Usage{Seconds: 2, Received: 4e9, User: 2, Mallocs: 8000}}))
	require.NoError(t, WriteBenchmark(&out, Result{Error: "no"}))
	figures := " 1000 1e+06 ns/op 500000 cpu-ns/op 1000 p50-ns 2000 p90-ns 3000 p99-ns 4500 p99.9-ns 0.01 allocs/op\n"
	assert.Equal(t, "BenchmarkEcho/connections=4/size=100/contestant=net"+figures+
		"BenchmarkEcho/connections=4/size=100/buffer=4096/rate=7/contestant=net"+figures+
		"BenchmarkBulk/connections=4/size=4096/contestant=gnet 4000 2000 MB/s 500000 cpu-ns/op 2 allocs/op\n", out.String())
}

func TestText(t *testing.T) {
	var out bytes.Buffer
	table := Tables([]Result{made("net", 1, 100, 1), made("handler", 1, 200, 1), {Contestant: "gnet", Case: echo, Round: 1, Error: "no"}})[0]
	require.NoError(t, WriteText(&out, &table))
	assert.Contains(t, out.String(), "echo, 4 connections, 100 B\n")
	assert.Regexp(t, `\nhandler +200 +2.00 +5000 +0.500 +25.0 `, out.String())
	assert.Contains(t, out.String(), "\ngnet failed: no\n")
}

func TestThisMachine(t *testing.T) {
	m := ThisMachine()
	assert.Positive(t, m.CPUs)
	assert.NotEqual(t, "unknown", m.Kernel)
	assert.Len(t, strings.Fields(m.LoadAverage), 3)
	assert.True(t, Machine{LoadAverage: "0.30 2 3"}.Quiet())
	assert.False(t, Machine{LoadAverage: "0.70 0 0"}.Quiet())
	assert.False(t, Machine{LoadAverage: "unknown"}.Quiet())
}
