package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // something was refused, or did not end as it should
	exitUsage  = 2 // the command line cannot be understood
)

// usageError is a mistake in the command line.
type usageError struct {
	err  error
	help string // the command that explains
}

func (e *usageError) Error() string { return fmt.Sprintf("%v (%s --help explains)", e.err, e.help) }
func (e *usageError) Unwrap() error { return e.err }

// run is the whole program but for its exit. The end of ctx is a request to
// stop.
func run(ctx context.Context, args []string, std streams) int {
	out := &checkedWriter{w: newInterruptibleWriter(ctx, std.out)}
	std.out = out
	root := newRoot(std)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil && out.err != nil {
		err = fmt.Errorf("print: %w", out.err)
	}
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(std.err, errorLine(err))
	if _, misused := errors.AsType[*usageError](err); misused {
		return exitUsage
	}
	return exitFailed
}

// errorLine puts an error on one line that starts with the program's name.
func errorLine(err error) string {
	return "zcrx: " + errorText(err)
}

// errorText is an error on one line, without the names of the library's packages, which
// may stand at the beginning of every joined and every wrapped error.
func errorText(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	for i, line := range lines {
		for _, name := range []string{"zcrx: ", "zcnet: "} {
			line = strings.ReplaceAll(strings.TrimPrefix(line, name), ": "+name, ": ")
		}
		lines[i] = flagNames.Replace(line)
	}
	return strings.Join(lines, "; ")
}

// flagNames are of the library's fields that flags set.
var flagNames = strings.NewReplacer(
	"PoolConfig.NumBuffers", "--num-buffers", "PoolConfig.BufferSizeHint", "--buffer-size",
	"PoolConfig.RefillEntries", "--refill-entries", "LoopConfig.CQEntries", "--cq-entries",
)

func newRoot(std streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "zcrx",
		Short:         "Zero-copy TCP receive over io_uring",
		Long:          "Zero-copy TCP receive over io_uring: what this machine can do, and streams sent and\nreceived through the library's buffer pools.",
		Version:       version().Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(misused)
	root.SetHelpCommand(newHelp())
	root.AddCommand(newProbe(std), newRecv(std), newSend(std), newDemo(std), newVersion(std))
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		// Without these an unknown shell would print help and be no error.
		completion.Args = noArgs
		completion.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	return root
}

// newHelp is cobra's help command, but a command that does not exist is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Describe a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = fmt.Errorf("unknown command %q for %q", rest[0], of.CommandPath())
			}
			if err != nil {
				return misused(cmd.Root(), err)
			}
			return of.Help()
		},
	}
}

func misused(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err, help: cmd.CommandPath()}
}

func noArgs(cmd *cobra.Command, args []string) error {
	return misused(cmd, cobra.NoArgs(cmd, args))
}

// rangeArgs wants low to high arguments.
func rangeArgs(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		return misused(cmd, cobra.RangeArgs(low, high)(cmd, args))
	}
}
