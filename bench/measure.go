package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/result"
	"github.com/zcrx-go/zcrx/bench/internal/runner"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// job is a case and who is measured with it.
type job struct {
	group       string // of the suite, or ""
	c           scenario.Case
	contestants []*contestant.Contestant
}

// measure does the jobs, prints a table for each and writes the files. duration returns how long
// each run of job number i is measured. If a run fails measure goes on, and returns an error in
// the end.
func (o *options) measure(cmd *cobra.Command, jobs []job, duration func(i int) time.Duration) (err error) {
	r, err := o.runner()
	if err != nil {
		return err
	}
	machine := result.ThisMachine()
	machine.Threads, machine.Rounds, machine.Note = o.threads, o.rounds, o.note
	machine.Command = commandLine(cmd)
	files, err := o.create(machine)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.close()) }()
	failed := 0
	for i, j := range jobs {
		r.Duration = duration(i)
		fmt.Fprintf(cmd.ErrOrStderr(), "%d of %d: %v, %d contestants, %d rounds of %v\n", i+1, len(jobs), j.c,
			len(j.contestants), o.rounds, r.Duration.Round(time.Millisecond))
		results, err := j.rounds(cmd, r, o.rounds)
		for _, res := range results {
			if err := files.write(res); err != nil {
				return err
			}
			if res.Error != "" {
				failed++
			}
		}
		if err != nil {
			return err
		}
		for _, t := range result.Tables(results) {
			if err := result.WriteText(cmd.OutOrStdout(), &t); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout())
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d runs failed: the tables say why", failed)
	}
	return nil
}

// commandLine returns the command with the flags that decide what is measured.
func commandLine(cmd *cobra.Command) string {
	line := cmd.CommandPath()
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name != "note" && f.Name != "results" && f.Name != "benchstat" {
			line += fmt.Sprintf(" --%s %s", f.Name, strings.Trim(f.Value.String(), "[]"))
		}
	})
	return line
}

// rounds measures every contestant in turn, again and again. It returns what there is when ctx
// ends.
func (j job) rounds(cmd *cobra.Command, o runner.Options, rounds int) ([]result.Result, error) {
	var results []result.Result
	for round := 1; round <= rounds; round++ {
		for _, c := range j.contestants {
			r, err := runner.Run(cmd.Context(), o, c, j.c)
			if err != nil {
				return results, err
			}
			r.Group, r.Round = j.group, round
			results = append(results, r)
		}
	}
	return results, nil
}

// files are where results go, besides the terminal.
type files struct{ results, benchstat io.WriteCloser }

// create creates the files that the flags name.
func (o *options) create(m result.Machine) (files, error) {
	f := files{nowhere{}, nowhere{}}
	var err error
	if o.results != "" {
		if f.results, err = os.Create(o.results); err != nil {
			return f, err
		}
	}
	if o.benchstat != "" {
		if f.benchstat, err = os.Create(o.benchstat); err != nil {
			return f, errors.Join(err, f.results.Close())
		}
	}
	if err := result.WriteMachine(f.results, m); err != nil {
		return f, errors.Join(err, f.close())
	}
	if _, err := fmt.Fprintf(f.benchstat, "goos: linux\ngoarch: %s\ncpu: %s\npkg: github.com/zcrx-go/zcrx/bench\n", m.Arch, m.CPU); err != nil {
		return f, errors.Join(err, f.close())
	}
	return f, nil
}

func (f files) write(r result.Result) error {
	return errors.Join(result.Write(f.results, r), result.WriteBenchmark(f.benchstat, r))
}

func (f files) close() error { return errors.Join(f.results.Close(), f.benchstat.Close()) }

// nowhere drops what is written to it.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) Close() error                { return nil }
