package runner

import (
	"context"
	"errors"
	"time"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/result"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// Options say how to run, whatever is run.
type Options struct {
	// Program is the path of this program, which has the roles.
	Program string
	// ServerPrefix and ClientPrefix are commands that the program is the argument of, for
	// instance "taskset -c 1" or "ip netns exec client".
	ServerPrefix, ClientPrefix []string
	// Warmup and Duration are how long messages are sent before and during the measurement.
	// Bulk is warmed up for longer if its first bytes take long, unless Warmup is 0.
	Warmup, Duration time.Duration
	// Server has everything but the case.
	Server contestant.Config
}

// patience is how long a run may take longer than it should. A run that hangs is an error.
const patience = time.Minute

// Run measures a contestant with a case. What goes wrong is in the Result's Error, but for the
// end of ctx.
func Run(ctx context.Context, o Options, c *contestant.Contestant, k scenario.Case) (result.Result, error) {
	r := result.Result{Contestant: c.Name, Baseline: c.Baseline, Case: k}
	limited, cancel := context.WithTimeoutCause(ctx, o.Warmup+o.Duration+patience, errors.New("the run hangs"))
	defer cancel()
	if err := o.run(limited, c, &r); err != nil {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if limited.Err() != nil {
			err = errors.Join(context.Cause(limited), err)
		}
		r.Error = err.Error()
	}
	return r, nil
}

func (o Options) run(ctx context.Context, c *contestant.Contestant, r *result.Result) (err error) {
	cfg := o.Server
	cfg.Case = r.Case
	var ready serverReady
	server, err := startProcess(ctx, o.ServerPrefix, o.Program, ServerRole, serverSpec{c.Name, cfg}, &ready)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	r.Mode = ready.Mode
	client, err := startProcess(ctx, o.ClientPrefix, o.Program, ClientRole, clientSpec{ready.Address, r.Case}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.stop()) }()
	if err := o.warmUp(ctx, server, r.Case.Workload); err != nil {
		return err
	}
	return measure(ctx, server, client, o.Duration, r)
}

// The buffers of a server of Bulk are new memory until it has used all of them. It takes a
// multiple of the time to receive into that. So the warm-up goes on until the server has
// received warmBytes, but no longer than longWarmup.
const (
	warmBytes  = 128 << 20
	longWarmup = 3 * time.Second
)

func (o Options) warmUp(ctx context.Context, server *process, w scenario.Workload) error {
	if err := sleep(ctx, o.Warmup); err != nil || w != scenario.Bulk || o.Warmup == 0 {
		return err
	}
	for limit := time.Now().Add(longWarmup); time.Now().Before(limit); {
		var bytes int64
		if err := server.call(received, &bytes); err != nil || bytes >= warmBytes {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// measure has both processes count for so long.
func measure(ctx context.Context, server, client *process, d time.Duration, r *result.Result) error {
	before, err := machineCPU()
	if err != nil {
		return err
	}
	if err := errors.Join(server.call(begin, nil), client.call(begin, nil)); err != nil {
		return err
	}
	if err := sleep(ctx, d); err != nil {
		return err
	}
	if err := server.call(end, &r.Server); err != nil {
		return err
	}
	after, err := machineCPU()
	if err != nil {
		return err
	}
	var report clientReport
	if err := client.call(end, &report); err != nil {
		return err
	}
	if r.Case.Workload != scenario.Bulk && report.Requests == 0 || r.Case.Workload == scenario.Bulk && r.Server.Received == 0 {
		return errors.New("nothing was answered: measure for longer")
	}
	r.Client = report.Report
	r.ClientCPU = report.CPU / report.Seconds
	r.OtherCPU = max(0, (after-before-r.Server.CPU()-report.CPU)/r.Server.Seconds)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
