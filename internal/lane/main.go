// Command lane runs the tests of one lane and reports on them.
//
//	lane [-skips FILE] NAME -- go test -json ...   run go test, count its tests
//	lane -lines NAME -- COMMAND ...  run a script that prints "ok ..." and "FAIL ..." lines
//	lane -reset                      forget what earlier runs recorded
//	lane -table NAME...              print what the named lanes recorded, and the totals
//
// The command runs with ZCRX_LANE=NAME. Failures are shown in full, every
// skipped test with its reason, and one line at the end says how many tests
// ran, failed and were skipped. The exit status is the command's.
//
// Tests are counted where something was decided: a test with subtests counts
// only if it failed or was skipped itself. What fails outside any test (a
// build, a panic in TestMain, a runner that cannot start) counts as one failure.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"time"
)

func main() {
	status, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "lane: %v\n", err)
		status = 2
	}
	os.Exit(status)
}

var errUsage = errors.New("usage: lane [-dir DIR] [-lines] [-skips FILE] NAME -- COMMAND [ARG...] | -reset | -table NAME")

func run(args []string, out io.Writer) (int, error) {
	flags := flag.NewFlagSet("lane", flag.ContinueOnError)
	dir := flags.String("dir", "bin/lanes", "where the lanes' results are recorded")
	lines := flags.Bool("lines", false, `the command prints "ok ..." and "FAIL ..." lines instead of go test's JSON`)
	skips := flags.String("skips", "", "the file that lists the skips that are expected: any other is a failure")
	reset := flags.Bool("reset", false, "forget what earlier runs recorded")
	table := flags.Bool("table", false, "print what the named lanes recorded, and the totals")
	if err := flags.Parse(args); err != nil {
		return 2, errUsage
	}
	args = flags.Args()
	switch {
	case *reset:
		return 0, os.RemoveAll(*dir)
	case *table:
		return printTable(out, *dir, args)
	case len(args) < 3 || args[1] != "--":
		return 2, errUsage
	}
	expected, err := readSkips(*skips, args[0])
	if err != nil {
		return 2, err
	}
	c := &collector{out: out, wd: workingDir(), mayskip: expected}
	parse := c.readJSON
	if *lines {
		parse = c.readLines
	}
	return runLane(c, parse, args[0], args[2:], *dir)
}

// runLane runs argv, feeds its standard output to parse, prints the lane's line
// and records the result in dir.
func runLane(c *collector, parse func(io.Reader) error, name string, argv []string, dir string) (int, error) {
	start := time.Now()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "ZCRX_LANE="+name)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 2, err
	}
	// A terminal's interrupt goes to the command as well: let it end first, so
	// that its last words are shown. Caught, not ignored, because a child
	// inherits what is ignored.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return 2, err
	}
	parseErr := parse(stdout)
	if parseErr != nil {
		// Nobody reads any more; without this the command blocks on a full pipe.
		_, _ = io.Copy(io.Discard, stdout)
	}
	status, err := exitStatus(cmd.Wait())
	if err != nil {
		return 2, err
	}
	c.finish(status)
	if c.unexpected > 0 && status == 0 {
		status = 1
	}
	res := result{
		Lane: name, Passed: c.passed, Failed: c.failed, Skipped: c.skipped,
		Seconds: time.Since(start).Seconds(), Status: status,
	}
	fmt.Fprintln(c.out, res)
	if err := res.write(dir); err != nil {
		return 2, err
	}
	return status, parseErr
}

// exitStatus turns the outcome of a command into its exit status; a command
// that a signal ended gets 1.
func exitStatus(err error) (int, error) {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}

func workingDir() string {
	wd, err := os.Getwd()
	if err != nil {
		return ""
	}
	return wd
}
