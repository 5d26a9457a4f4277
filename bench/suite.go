package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// overhead is about how long a run takes beside its warm-up and measurement.
const overhead = 150 * time.Millisecond

// minDuration is the shortest measurement of the suite: CPU times are counted in ticks of up to
// 10 ms on some kernels.
const minDuration = 200 * time.Millisecond

func newSuite() *cobra.Command {
	var o options
	var budget time.Duration
	cmd := &cobra.Command{
		Use:   "suite",
		Short: "Measure all workloads, as docs/performance.md has them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return err
			}
			jobs, runs := suiteJobs(o.contestants)
			if runs == 0 {
				return fmt.Errorf("--contestants %v: none of them is in the suite", o.contestants)
			}
			runs *= o.rounds
			d := budget/time.Duration(runs) - o.warmup - overhead
			if d < minDuration {
				return fmt.Errorf("--budget %v is too short for %d runs: allowed is %v or more", budget, runs,
					(time.Duration(runs) * (minDuration + o.warmup + overhead)).Round(time.Second))
			}
			return o.measure(cmd, jobs, d)
		},
	}
	o.register(cmd)
	cmd.Flags().DurationVar(&budget, "budget", 13*time.Minute, "about how long the whole takes; it decides how long each run does")
	return cmd
}

// suiteJobs returns what the suite measures, with the named contestants only if there are any,
// and the number of runs of a round.
func suiteJobs(names []string) ([]job, int) {
	var jobs []job
	runs := 0
	for _, group := range scenario.Suite() {
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
