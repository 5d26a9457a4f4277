package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

type recvOptions struct {
	engine engineOptions
	listen string
	output string
	once   bool
	stats  time.Duration
	json   bool
}

func newRecv(std streams) *cobra.Command {
	o := recvOptions{}
	cmd := &cobra.Command{
		Use:   "recv",
		Short: "Receive TCP connections through a buffer pool",
		Long: "Receive TCP connections through a buffer pool, until a signal (or --once), and print what\n" +
			"came over each. With --output the connections are received one at a time, and their bytes\n" +
			"follow one another in the file; with \"--output -\" the reports go to standard error.\n" +
			"The exit status is 0 only if the peer of every connection ended it in order and every\n" +
			"buffer was returned.",
		Args: noArgs,
	}
	flags := cmd.Flags()
	o.engine.register(flags)
	flags.StringVarP(&o.listen, "listen", "l", ":9000", "address to listen on")
	flags.StringVarP(&o.output, "output", "o", "", "file for the received bytes, - for standard output (default: count and hash only); until all is received in order it is FILE.partial")
	flags.BoolVar(&o.once, "once", false, "end after the first connection")
	flags.DurationVar(&o.stats, "stats", 0, "print a line of statistics to standard error that often")
	flags.BoolVar(&o.json, "json", false, "print one JSON object per connection (docs/json.md)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.stats < 0 {
			return misused(cmd, fmt.Errorf("--stats %v is negative", o.stats))
		}
		if o.listen == "" {
			return misused(cmd, errNoAddress)
		}
		if err := o.engine.check(cmd); err != nil {
			return err
		}
		return o.run(cmd.Context(), std)
	}
	return cmd
}

var errNoAddress = errors.New("--listen is empty: want an address such as :9000 or 10.0.0.1:9000")

// run opens everything, serves, and closes everything.
func (o *recvOptions) run(ctx context.Context, std streams) (err error) {
	out, err := openOutput(ctx, o.output, std)
	if err != nil {
		return err
	}
	s := server{out: out.Writer, once: o.once, oneByOne: o.once || out.Writer != nil, reports: std.out, json: o.json}
	defer func() { // when all else has ended
		well := err == nil && (s.connections > 0 || !o.once)
		err = errors.Join(err, out.close(well))
	}()
	e, err := o.engine.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	ln, err := e.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}

	s.engine, s.ln, s.mode = e, ln, e.report()
	if o.output == "-" {
		s.reports = std.err
	}
	fmt.Fprintf(std.err, "zcrx: listening on %s, mode %s (%s), %d buffers of %d bytes\n",
		ln.Addr(), s.mode.Mode, s.mode.ModeReason, s.mode.NumBuffers, s.mode.BufferSize)
	if o.stats > 0 {
		stop := printStats(std.err, &s, o.stats)
		defer stop()
	}
	return s.serve(ctx)
}
