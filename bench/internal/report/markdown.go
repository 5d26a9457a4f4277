package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/zcrx-go/zcrx/bench/internal/result"
)

func writeMachine(w io.Writer, m result.Machine, results []result.Result) {
	fmt.Fprintf(w, "Measured on %s: Linux %s, %s, %d CPUs, %s, load average before %s; ", m.Time.Format("2 January 2006"),
		m.Kernel, m.CPU, m.CPUs, m.Go, m.LoadAverage)
	fmt.Fprintf(w, "%d rounds of %s s; event loops of each server that has them: %d.", m.Rounds, durations(results), m.Threads)
	if len(m.Modules) > 0 {
		fmt.Fprintf(w, " Versions: %s.", strings.Join(m.Modules, ", "))
	}
	fmt.Fprintf(w, " Command: `%s`.", m.Command)
	if m.Note != "" {
		fmt.Fprintf(w, " %s", m.Note)
	}
	fmt.Fprintln(w)
	others := otherCPU(results)
	fmt.Fprintf(w, "\nOther programs used %s CPUs meanwhile (median of all runs, with the lowest and the highest).", others)
	if !m.Quiet() || others.Median > 0.1*float64(m.CPUs) {
		fmt.Fprint(w, " **The machine was not quiet**: compare ratios only, and no percentiles.")
	}
	fmt.Fprint(w, "\n\nEach cell is the median of the rounds. Ratios are to package net in the same round, "+
		"with the lowest and the highest in brackets.\n\n")
}

// durations returns how long runs were, in seconds.
func durations(results []result.Result) result.Spread {
	return spreadOf(results, func(r result.Result) float64 { return r.Client.Seconds })
}

// otherCPU returns how many CPUs other programs used.
func otherCPU(results []result.Result) result.Spread {
	return spreadOf(results, func(r result.Result) float64 { return r.OtherCPU })
}

// spreadOf returns the spread of a figure over all runs that did not fail.
func spreadOf(results []result.Result, of func(result.Result) float64) result.Spread {
	var values []float64
	for _, r := range results {
		if r.Error == "" {
			values = append(values, of(r))
		}
	}
	return result.SpreadOf(values)
}

// writeGroup writes the group's plots and tables, which have a row for each contestant. A group
// of one case has one table, others have one for each metric.
func writeGroup(w io.Writer, g group, plots []drawing, folder string) {
	fmt.Fprintf(w, "### %s\n\n", g.title)
	for _, p := range plots {
		fmt.Fprintf(w, "![%s](%s/%s)\n", p.title, folder, p.name)
	}
	if len(plots) > 0 {
		fmt.Fprintln(w)
	}
	metrics := slices.DeleteFunc(result.Metrics(), func(m result.Metric) bool { return m.UnitFor(g.workload) == "" })
	if len(g.tables) == 1 {
		writeCase(w, g, metrics)
	} else {
		for _, m := range metrics {
			if !slices.Contains(leftOut, m.Name) {
				writeMetric(w, g, m)
			}
		}
	}
	writeFailures(w, g)
}

// leftOut are metrics that only groups of one case have on the page.
var leftOut = []string{"user CPU share", "p90", "voluntary context switches", "involuntary context switches"}

// ratioed are the metrics whose tables have ratios too.
var ratioed = []string{result.Rate.Name, result.CPU.Name}

// writeCase writes a table with a column for each metric.
func writeCase(w io.Writer, g group, metrics []result.Metric) {
	head := []string{""}
	for _, m := range metrics {
		head = append(head, m.Name+", "+m.UnitFor(g.workload))
	}
	writeHead(w, head)
	for _, name := range g.contestants() {
		cells := []string{name}
		for _, m := range metrics {
			cells = append(cells, cell(&g.tables[0], name, m))
		}
		writeRow(w, cells)
	}
	fmt.Fprintln(w)
}

// writeMetric writes a table with a column for each case.
func writeMetric(w io.Writer, g group, m result.Metric) {
	head := []string{m.Name + ", " + m.UnitFor(g.workload)}
	for _, t := range g.tables {
		head = append(head, g.label(t.Case))
	}
	writeHead(w, head)
	for _, name := range g.contestants() {
		cells := []string{name}
		for i := range g.tables {
			cells = append(cells, cell(&g.tables[i], name, m))
		}
		writeRow(w, cells)
	}
	fmt.Fprintln(w)
}

func writeHead(w io.Writer, cells []string) {
	writeRow(w, cells)
	fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(cells)))
}

func writeRow(w io.Writer, cells []string) {
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

// cell is the median and, where the table has ratios, the ratio in brackets.
func cell(t *result.Table, contestant string, m result.Metric) string {
	r := t.Of(contestant)
	if r == nil {
		return "-"
	}
	if len(r.Results) == 0 {
		return "failed"
	}
	text := result.Number(r.Spread(m).Median)
	if ratio := t.Ratio(r, m); slices.Contains(ratioed, m.Name) && contestant != r.Baseline && !math.IsNaN(ratio.Median) {
		text += fmt.Sprintf(" **%.2f** (%.2f to %.2f)", ratio.Median, ratio.Low, ratio.High)
	}
	return text
}

func writeFailures(w io.Writer, g group) {
	for _, t := range g.tables {
		for _, r := range t.Contestants {
			for _, failure := range r.Failures {
				fmt.Fprintf(w, "%s failed in %d of its runs with %s: %s\n\n", r.Contestant, r.Failed, g.label(t.Case),
					strings.ReplaceAll(failure, "\n", "; "))
			}
		}
	}
}
