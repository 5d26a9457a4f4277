// Command lane runs the tests of one lane and reports on them. A lane is a set of tests
// that run in one place: see the targets test-... of the Makefile, which run it through
// scripts/lane.
//
//	lane [FLAGS] NAME -- go test -json ...  run go test and count its tests
//	lane [FLAGS] -lines NAME -- COMMAND ... run a script that prints "ok ..." and "FAIL ..." lines
//	lane -reset                             remove what earlier runs recorded
//	lane -table NAME...                     print what the named lanes recorded, and the totals
//
// The command runs with ZCRX_LANE=NAME. Lane prints failures in full and each skipped test
// with its reason. Its last line says how many tests ran, failed and were skipped. Its
// exit status is the command's, but never 0 if something failed.
//
// A test with subtests counts only if it failed or was skipped itself, its subtests
// count by themselves. A failure outside the tests (a build, a panic in TestMain, a runner
// that cannot start) counts as one.
//
// A test that runs for longer than -limit is taken to hang. The processes of its package
// get SIGQUIT, which makes them print where they are, and are killed after -grace. Lane
// prints their output with the test's name, and go test goes on with the other packages.
// After -max the same happens to everything that runs, and lane ends the command.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"
)

func main() {
	status, err := run(os.Args[1:], os.Stdout, adoptOrphans())
	if err != nil {
		fmt.Fprintf(os.Stderr, "lane: %v\n", err)
		status = 2
	}
	os.Exit(status)
}

var errUsage = errors.New("usage: lane [-dir DIR] [-lines] [-skips FILE] [-limit D] [-max D] [-grace D] " +
	"NAME -- COMMAND [ARG...] | -reset | -table NAME")

// run runs lane with args and returns its exit status. adopter is the result of
// adoptOrphans.
func run(args []string, out io.Writer, adopter int) (int, error) {
	flags := flag.NewFlagSet("lane", flag.ContinueOnError)
	dir := flags.String("dir", "bin/lanes", "where the lanes' results are recorded")
	lines := flags.Bool("lines", false, `the command prints "ok ..." and "FAIL ..." lines instead of go test's JSON`)
	skips := flags.String("skips", "", "a file that lists the expected skips; any other skip is a failure")
	var l limits
	flags.DurationVar(&l.test, "limit", 0, "how long a test may run, not counting its subtests (0: for ever)")
	flags.DurationVar(&l.lane, "max", 0, "how long the lane may run (0: for ever)")
	flags.DurationVar(&l.grace, "grace", 30*time.Second, "how long tests that hang may take to print where; vmrun takes 20s")
	reset := flags.Bool("reset", false, "remove what earlier runs recorded")
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
	parse := c.jsonLine
	if *lines {
		parse = c.scriptLine
	}
	start := time.Now()
	status, err := runCommand(c, parse, l, adopter, args[0], args[2:])
	if err != nil {
		return 2, err
	}
	c.finish(status)
	if c.failed > 0 && status == 0 {
		status = 1 // for instance after an unexpected skip
	}
	res := result{
		Lane: args[0], Passed: c.passed, Failed: c.failed, Skipped: c.skipped,
		Seconds: time.Since(start).Seconds(), Status: status,
	}
	fmt.Fprintln(out, res)
	return status, res.write(*dir)
}

func workingDir() string {
	wd, err := os.Getwd()
	if err != nil {
		return ""
	}
	return wd
}
