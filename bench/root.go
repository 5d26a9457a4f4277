package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/runner"
)

// execute is the whole program but for its exit, and returns its exit status.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "bench",
		Short: "Compare this library with others",
		Long: "Compare this library with package net, other Go libraries and C. Server and client are\n" +
			"processes of their own. Contestants take turns, so that a machine that becomes slower\n" +
			"does so for all of them.",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.NoArgs,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.AddCommand(newRun(), newSuite(), newReport(), newList(),
		newRole(runner.ServerRole, runner.Serve), newRole(runner.ClientRole, runner.Load))
	return root
}

// newRole is the command that a process of a role is started with.
func newRole(name string, run func(context.Context) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, Args: cobra.NoArgs,
		// Only the end of its input ends a role: a signal from the terminal is for the
		// process that started it.
		RunE: func(cmd *cobra.Command, _ []string) error { return run(context.WithoutCancel(cmd.Context())) },
	}
}

func newList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print the contestants and their workloads",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, c := range contestant.All() {
				fmt.Fprintf(w, "%s\t%v\t%s\n", c.Name, c.Workloads, c.About)
			}
			return w.Flush()
		},
	}
}
