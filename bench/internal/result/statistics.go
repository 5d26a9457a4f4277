package result

import (
	"math"
	"slices"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// Spread is the median of some values, the lowest and the highest. Without values all are NaN.
type Spread struct{ Median, Low, High float64 }

// SpreadOf returns the spread of the values that are numbers. It sorts a copy.
func SpreadOf(values []float64) Spread {
	numbers := slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	n := len(numbers)
	if n == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(numbers)
	return Spread{Median: (numbers[(n-1)/2] + numbers[n/2]) / 2, Low: numbers[0], High: numbers[n-1]}
}

// Table is the results of one case, contestants in the order in which they first ran.
type Table struct {
	Group       string
	Case        scenario.Case
	Contestants []Rounds
}

// Rounds is the rounds of one contestant with one case.
type Rounds struct {
	Contestant string
	Baseline   string
	Results    []Result // those without an error
	Failed     int      // the number of the others
	Failures   []string // their errors, without repetitions
}

// Tables returns a table for each case, in the order in which the cases first ran.
func Tables(results []Result) []Table {
	var tables []Table
	for _, r := range results {
		at := slices.IndexFunc(tables, func(t Table) bool { return t.Case == r.Case && t.Group == r.Group })
		if at < 0 {
			at = len(tables)
			tables = append(tables, Table{Group: r.Group, Case: r.Case})
		}
		tables[at].add(r)
	}
	return tables
}

func (t *Table) add(r Result) {
	rounds := t.Of(r.Contestant)
	if rounds == nil {
		t.Contestants = append(t.Contestants, Rounds{Contestant: r.Contestant, Baseline: r.Baseline})
		rounds = &t.Contestants[len(t.Contestants)-1]
	}
	if r.Error == "" {
		rounds.Results = append(rounds.Results, r)
		return
	}
	rounds.Failed++
	if !slices.Contains(rounds.Failures, r.Error) {
		rounds.Failures = append(rounds.Failures, r.Error)
	}
}

// Of returns the rounds of a contestant, nil if there are none.
func (t *Table) Of(contestant string) *Rounds {
	for i := range t.Contestants {
		if t.Contestants[i].Contestant == contestant {
			return &t.Contestants[i]
		}
	}
	return nil
}

// Spread returns the metric's spread over the rounds.
func (r *Rounds) Spread(m Metric) Spread {
	values := make([]float64, len(r.Results))
	for i := range r.Results {
		values[i] = m.Of(r.Results[i])
	}
	return SpreadOf(values)
}

// Ratio returns the spread of the metric's ratio to the contestant's baseline in the same
// round. Rounds that either failed in are left out.
func (t *Table) Ratio(r *Rounds, m Metric) Spread {
	baseline := t.Of(r.Baseline)
	if baseline == nil {
		return SpreadOf(nil)
	}
	var ratios []float64
	for _, own := range r.Results {
		for _, other := range baseline.Results {
			if other.Round == own.Round {
				ratios = append(ratios, m.Of(own)/m.Of(other))
			}
		}
	}
	return SpreadOf(ratios)
}
