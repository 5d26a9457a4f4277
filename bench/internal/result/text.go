package result

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// Number returns three digits of v, and "-" if there is no value.
func Number(v float64) string {
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return "-"
	case abs == 0:
		return "0"
	case abs >= 100:
		return fmt.Sprintf("%.0f", v)
	case abs >= 10:
		return fmt.Sprintf("%.1f", v)
	case abs >= 1:
		return fmt.Sprintf("%.2f", v)
	case abs < 0.001:
		return "<0.001"
	}
	return fmt.Sprintf("%.3f", v)
}

// String returns the median, with lowest and highest if these differ from it.
func (s Spread) String() string {
	if math.IsNaN(s.Median) || Number(s.Low) == Number(s.High) {
		return Number(s.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", Number(s.Median), Number(s.Low), Number(s.High))
}

// WriteText writes a table for people: a row for each contestant, a column for each metric.
func WriteText(out io.Writer, t *Table) error {
	fmt.Fprintf(out, "%v\n", t.Case)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	metrics := Metrics()
	head := []string{"", "mode"}
	for _, m := range metrics {
		if unit := m.UnitFor(t.Case.Workload); unit != "" {
			head = append(head, short(m.Name)+" "+unit)
			if m.Name == Rate.Name || m.Name == CPU.Name {
				head = append(head, "ratio")
			}
		}
	}
	fmt.Fprintln(w, strings.Join(head, "\t"))
	for i := range t.Contestants {
		r := &t.Contestants[i]
		fmt.Fprintln(w, strings.Join(t.textRow(r, metrics), "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range t.Contestants {
		for _, failure := range r.Failures {
			fmt.Fprintf(out, "%s failed: %s\n", r.Contestant, failure)
		}
	}
	return nil
}

func (t *Table) textRow(r *Rounds, metrics []Metric) []string {
	row := []string{r.Contestant, r.Mode()}
	for _, m := range metrics {
		if m.UnitFor(t.Case.Workload) == "" {
			continue
		}
		row = append(row, r.Spread(m).String())
		if m.Name == Rate.Name || m.Name == CPU.Name {
			row = append(row, t.Ratio(r, m).String())
		}
	}
	return row
}

// Mode returns the mode that the library chose, or "".
func (r *Rounds) Mode() string {
	if len(r.Results) == 0 {
		return ""
	}
	return r.Results[0].Mode
}

// short returns a name of at most about ten characters, for the head of a column.
func short(name string) string {
	return strings.NewReplacer("CPU of the server", "CPU", "user CPU share", "user", "allocations", "allocs",
		"involuntary context switches", "invol", "voluntary context switches", "vol", "peak memory", "peak").Replace(name)
}

// WriteBenchmark writes a result as benchstat reads it. The name has key=value parts, of which
// -col and -row choose some: benchstat -col /contestant FILE.
func WriteBenchmark(out io.Writer, r Result) error {
	if r.Error != "" {
		return nil
	}
	name := fmt.Sprintf("Benchmark%s%s/connections=%d/size=%d", strings.ToUpper(string(r.Case.Workload[:1])), r.Case.Workload[1:], r.Case.Connections, r.Case.Size)
	if r.Case.BufferSize > 0 {
		name += fmt.Sprintf("/buffer=%d", r.Case.BufferSize)
	}
	if r.Case.Rate > 0 {
		name += fmt.Sprintf("/rate=%d", r.Case.Rate)
	}
	name += "/contestant=" + r.Contestant
	var err error
	if r.Case.Workload == scenario.Bulk {
		// One operation is a megabyte.
		megabytes := max(1, r.Server.Received/1e6)
		_, err = fmt.Fprintf(out, "%s %d %.6g MB/s %.6g cpu-ns/op %.6g allocs/op\n", name, megabytes,
			Rate.Of(r), r.Server.CPU()*1e9/float64(megabytes), float64(r.Server.Mallocs)/float64(megabytes))
		return err
	}
	n := r.Requests()
	_, err = fmt.Fprintf(out, "%s %d %.6g ns/op %.6g cpu-ns/op %.6g p50-ns %.6g p90-ns %.6g p99-ns %.6g p99.9-ns %.6g allocs/op\n",
		name, r.Client.Requests, 1e9/Rate.Of(r), r.Server.CPU()*1e9/n,
		P50.Of(r)*1e3, P90.Of(r)*1e3, P99.Of(r)*1e3, P999.Of(r)*1e3, float64(r.Server.Mallocs)/n)
	return err
}
