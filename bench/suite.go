package main

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// minDuration is the shortest measurement of the suite: CPU times are counted in ticks of up to
// 10 ms on some kernels.
const minDuration = 200 * time.Millisecond

func newSuite() *cobra.Command {
	var o options
	var budget time.Duration
	var match string
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Measure all workloads, as docs/performance.md has them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			titles, err := regexp.Compile(match)
			if err != nil {
				return fmt.Errorf("--match: %w", err)
			}
			jobs, runs := suiteJobs(o.contestants, titles)
			if runs == 0 {
				return fmt.Errorf("--contestants %v --match %q: nothing in the suite is of both", o.contestants, match)
			}
			runs *= o.rounds
			if least := time.Duration(runs) * (minDuration + o.warmup); budget < least || budget > 24*time.Hour {
				return fmt.Errorf("--budget %v is out of range: allowed are %v to 24h for these %d runs", budget, least, runs)
			}
			b := &spender{deadline: time.Now().Add(budget), runs: runs, warmup: o.warmup}
			return o.measure(cmd, jobs, func(i int) time.Duration { return b.next(time.Now(), len(jobs[i].contestants)*o.rounds) })
		},
	}
	o.register(cmd)
	cmd.Flags().StringVar(&match, "match", "", "measure only groups whose title matches this `REGEXP`")
	cmd.Flags().DurationVar(&budget, "budget", 13*time.Minute, "about how long the whole takes; it decides how long each run does")
	return cmd
}

// spender divides the time until a deadline among the runs that are left.
type spender struct {
	deadline time.Time
	warmup   time.Duration
	runs     int // that are left, those under way included

	// What is under way.
	started time.Time
	current int           // runs
	planned time.Duration // of each of these

	done     int           // runs that have ended
	overhead time.Duration // of all of these: starting and ending processes
}

// firstOverhead is what the overhead of a run is taken for before it is known.
const firstOverhead = 300 * time.Millisecond

// next returns how long each of the next n runs is measured, at least minDuration. It is called
// when the runs before have ended.
func (s *spender) next(now time.Time, n int) time.Duration {
	overhead := firstOverhead
	if s.current > 0 {
		s.done += s.current
		s.runs -= s.current
		s.overhead += now.Sub(s.started) - time.Duration(s.current)*s.planned
		overhead = s.overhead / time.Duration(s.done)
	}
	d := max(minDuration, s.deadline.Sub(now)/time.Duration(s.runs)-s.warmup-overhead)
	s.started, s.current, s.planned = now, n, d+s.warmup
	return d
}

// suiteJobs returns what the suite measures in the groups whose titles match, with the named
// contestants only if there are any; and the number of runs of a round.
func suiteJobs(names []string, titles *regexp.Regexp) ([]job, int) {
	var jobs []job
	runs := 0
	for _, group := range scenario.Suite() {
		if !titles.MatchString(group.Title) {
			continue
		}
		for _, k := range group.Cases {
			contestants := contestant.Suite(k.Workload)
			if len(names) > 0 {
				contestants = slices.DeleteFunc(contestants, func(c *contestant.Contestant) bool { return !slices.Contains(names, c.Name) })
			}
			if len(contestants) > 0 {
				jobs = append(jobs, job{group: group.Title, contestants: contestants, c: k})
				runs += len(contestants)
			}
		}
	}
	return jobs, runs
}
