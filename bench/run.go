package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// runOptions are the flags of run.
type runOptions struct {
	options
	duration    time.Duration
	workload    string
	connections []int
	sizes       []int
	buffers     []int
	rate        int
}

func newRun() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Measure one workload",
		Long:    "Measure one workload with every combination of the numbers that the flags list.",
		Example: "  bench run --workload echo --connections 16 --contestants net,handler --rounds 3 --duration 1s",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.register(cmd)
	flags := cmd.Flags()
	flags.DurationVar(&o.duration, "duration", time.Second, "how long each run is measured, 1ms to 1h")
	flags.StringVar(&o.workload, "workload", "echo", "`WORKLOAD`: bulk, echo, churn or http")
	flags.IntSliceVar(&o.connections, "connections", []int{16}, "numbers of connections")
	flags.IntSliceVar(&o.sizes, "size", nil, "`BYTES` of a message, of a send, of the body (default 100; 262144 for bulk)")
	flags.IntSliceVar(&o.buffers, "buffer-size", []int{0}, "`BYTES` of the server's receive buffers; 0 leaves it to each contestant")
	flags.IntVar(&o.rate, "rate", 0, "`MESSAGES` per second over all connections; 0 sends the next one when the reply is there")
	return cmd
}

func (o *runOptions) run(cmd *cobra.Command) error {
	if err := o.check(); err != nil {
		return err
	}
	if o.duration < time.Millisecond || o.duration > time.Hour {
		return fmt.Errorf("--duration %v is out of range: allowed are 1ms to 1h", o.duration)
	}
	workload, err := scenario.ParseWorkload(o.workload)
	if err != nil {
		return err
	}
	contestants, err := contestant.Find(o.contestants)
	if err != nil {
		return err
	}
	if len(contestants) == 0 {
		contestants = contestant.Suite(workload)
	}
	var jobs []job
	for _, k := range o.cases(workload) {
		if err := k.Check(); err != nil {
			return err
		}
		jobs = append(jobs, job{contestants: contestants, c: k})
	}
	return o.measure(cmd, jobs, func(int) time.Duration { return o.duration })
}

// cases returns every combination.
func (o *runOptions) cases(w scenario.Workload) []scenario.Case {
	sizes := o.sizes
	if len(sizes) == 0 {
		sizes = []int{100}
		if w == scenario.Bulk {
			sizes = []int{256 << 10}
		}
	}
	var cases []scenario.Case
	for _, buffer := range o.buffers {
		for _, size := range sizes {
			for _, n := range o.connections {
				cases = append(cases, scenario.Case{Workload: w, Connections: n, Size: size, BufferSize: buffer, Rate: o.rate})
			}
		}
	}
	return cases
}
