package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/runner"
)

// options are the flags of every command that measures.
type options struct {
	contestants  []string
	rounds       int
	warmup       time.Duration
	threads      int
	address      string
	iface        string
	queues       []int
	serverPrefix string
	clientPrefix string
	results      string
	benchstat    string
	note         string
}

func (o *options) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&o.contestants, "contestants", nil, "`NAMES` of the contestants (default: those of the suite; \"bench list\" prints all)")
	flags.IntVar(&o.rounds, "rounds", 3, "how often each contestant is measured, 1 to 1000")
	flags.DurationVar(&o.warmup, "warmup", 200*time.Millisecond, "how long each run goes on before it is measured")
	flags.IntVar(&o.threads, "threads", max(1, runtime.NumCPU()/2), "event loops of each server that has them, 1 to 1024")
	flags.StringVar(&o.address, "listen", "127.0.0.1:0", "`ADDRESS` that servers listen on")
	flags.StringVar(&o.iface, "interface", "", "network `INTERFACE` for mode zerocopy")
	flags.IntSliceVar(&o.queues, "queues", nil, "hardware receive `QUEUES` of the interface")
	flags.StringVar(&o.serverPrefix, "server-prefix", "", "`COMMAND` that runs the server, for instance \"taskset -c 1\"")
	flags.StringVar(&o.clientPrefix, "client-prefix", "", "`COMMAND` that runs the client, for instance \"ip netns exec client\"")
	flags.StringVar(&o.results, "results", "", "write the results to `FILE`, a JSON value a line")
	flags.StringVar(&o.benchstat, "benchstat", "", "write the results to `FILE` as benchstat reads them")
	flags.StringVar(&o.note, "note", "", "a `SENTENCE` about the machine that goes into the results")
}

func (o *options) check() error {
	switch {
	case o.rounds < 1 || o.rounds > 1000:
		return fmt.Errorf("--rounds %d is out of range: allowed are 1 to 1000", o.rounds)
	case o.threads < 1 || o.threads > 1024:
		return fmt.Errorf("--threads %d is out of range: allowed are 1 to 1024", o.threads)
	case o.warmup < 0 || o.warmup > time.Hour:
		return fmt.Errorf("--warmup %v is out of range: allowed are 0s to 1h", o.warmup)
	case o.iface == "" && len(o.queues) > 0:
		return fmt.Errorf("--queues %v needs --interface", o.queues)
	case o.iface != "" && len(o.queues) == 0:
		return fmt.Errorf("--interface %s needs --queues", o.iface)
	}
	_, err := contestant.Find(o.contestants)
	return err
}

// runner returns how each run is done, but for how long it is measured.
func (o *options) runner() (runner.Options, error) {
	program, err := os.Executable()
	if err != nil {
		return runner.Options{}, err
	}
	return runner.Options{
		Program:      program,
		ServerPrefix: strings.Fields(o.serverPrefix), ClientPrefix: strings.Fields(o.clientPrefix),
		Warmup: o.warmup,
		Server: contestant.Config{Threads: o.threads, Address: o.address, Interface: o.iface, Queues: o.queues},
	}, nil
}
