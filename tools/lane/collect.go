package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of `go test -json` (go doc test2json, go help buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output and build-fail
	Test       string
	Elapsed    float64
	Output     string
}

// Outcomes that test2json reports of tests and packages.
const (
	actPass = "pass"
	actFail = "fail"
	actSkip = "skip"
)

// collector counts tests from a stream of events and prints what matters.
type collector struct {
	out io.Writer
	wd  string // cut off file names in the skip reasons

	passed, failed, skipped int
	unexpected              int // skips that are not allowed, which failed includes
	mayskip                 func(test string) bool
	packages                map[string]*pkg
}

// pkg is one package whose tests are running.
type pkg struct {
	name   string
	tests  map[string]*test
	order  []*test // as they started
	output []string
	done   bool

	idle  time.Duration // how long none of its tests has run
	ended string        // why lane ends its processes, "" if it does not
	dump  []string      // what the processes have printed since then
	shown bool          // dump has been printed
}

// test is one test or subtest.
type test struct {
	name    string
	result  string // "" while it runs
	elapsed float64
	parent  bool // has subtests
	output  []string

	paused bool          // waits for its turn (t.Parallel)
	over   bool          // has printed its result, which test2json has not reported yet
	own    time.Duration // how long it has run, not counting its subtests
	hung   string        // why it is taken to hang, "" if it is not
}

// jsonLine reads a line of `go test -json`. It prints lines that are no events: messages
// of the go command itself.
func (c *collector) jsonLine(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
		c.add(e)
	} else {
		fmt.Fprint(c.out, line)
	}
}

// scriptLine reads a line of a script that prints one line per check.
func (c *collector) scriptLine(line string) {
	word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch word {
	case "ok":
		c.passed++
		return // not printed: only failures matter
	case "FAIL":
		c.failed++
	case "skip":
		c.skipped++
	}
	fmt.Fprint(c.out, strings.TrimSuffix(line, "\n"), "\n")
}

func (c *collector) add(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(c.out, e.Output)
		return
	case "build-fail":
		return // the package's own event follows
	}
	p := c.packageOf(e.Package)
	if e.Action == "output" && p.ended != "" {
		// test2json may report it as the output of another test than the one that
		// hung.
		p.dump = append(p.dump, clean(e.Output))
		return
	}
	if e.Test == "" {
		switch e.Action {
		case "output":
			p.output = append(p.output, e.Output)
		case actPass, actFail, actSkip:
			c.closePackage(p, e.Action, e.Elapsed)
		}
		return
	}
	t := p.testOf(e.Test)
	switch e.Action {
	case "pause":
		t.paused = true
	case "cont":
		t.paused = false
	case "output":
		t.output = append(t.output, clean(e.Output))
		t.over = t.over || isResult(e.Output, e.Test)
	case actPass, actFail, actSkip:
		t.result, t.elapsed = e.Action, e.Elapsed
		if e.Action == actPass {
			t.output = nil // never printed, so do not keep it
		}
	}
}

func (c *collector) packageOf(name string) *pkg {
	if c.packages == nil {
		c.packages = make(map[string]*pkg)
	}
	p := c.packages[name]
	if p == nil || p.done {
		p = &pkg{name: name, tests: make(map[string]*test)}
		c.packages[name] = p
	}
	return p
}

// testOf returns the test with that name, adds it if it is new, and marks the tests that
// it is a subtest of as parents. A name that comes again after its test's end (-count,
// -cpu) is another test.
func (p *pkg) testOf(name string) *test {
	t := p.tests[name]
	if t == nil || t.result != "" {
		t = &test{name: name}
		p.tests[name] = t
		p.order = append(p.order, t)
	}
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if up := p.tests[name[:i]]; up != nil {
			up.parent = true
		}
	}
	return t
}

// closePackage counts a package's tests and prints its failures and skips.
func (c *collector) closePackage(p *pkg, result string, elapsed float64) {
	p.done = true
	counted, failures := 0, 0
	var broken []string // names of failed tests
	for _, t := range slices.Backward(p.order) {
		switch {
		case t.hung != "":
			t.result, t.elapsed = actFail, t.own.Seconds()
		case t.result == "" && p.ended != "":
			t.result = actFail
			t.output = append(t.output, "(the test did not end before its package was ended: "+p.ended+")\n")
		case t.result == "":
			t.result = actFail
			t.output = append(t.output, "(the test did not end)\n")
		}
		// A test that failed only because a subtest did is not counted. Subtests come
		// after their parents in p.order, so this loop sees them first.
		inherited := slices.ContainsFunc(broken, func(name string) bool {
			return strings.HasPrefix(name, t.name+"/")
		})
		switch {
		case t.result == actFail:
			broken = append(broken, t.name)
			if !inherited {
				failures++
			}
		case t.result == actSkip && !c.mayskip(p.name+"."+t.name):
			c.unexpected++
			c.failed++
		case t.result == actSkip:
			c.skipped++
		case t.parent:
			continue
		default:
			c.passed++
		}
		counted++
	}
	c.printTests(p)
	switch {
	case result == actFail || p.ended != "":
		if failures == 0 {
			failures = 1
			why := "failed outside its tests"
			if p.ended != "" {
				why = p.ended
			}
			fmt.Fprintf(c.out, "FAIL  %s: %s\n", p.name, why)
		}
		c.indent(p.output)
		c.printDump(p) // if no test that hung has printed it
	case counted > 0:
		fmt.Fprintf(c.out, "ok    %s (%d tests, %.1fs)\n", p.name, counted, elapsed)
	}
	c.failed += failures
	p.tests, p.order, p.output, p.dump = nil, nil, nil, nil
}

func (c *collector) printTests(p *pkg) {
	for _, t := range p.order {
		switch {
		case t.hung != "":
			fmt.Fprintf(c.out, "FAIL  %s.%s (%.2fs): %s\n", p.name, t.name, t.elapsed, t.hung)
			c.indent(t.output)
			c.printDump(p)
		case t.result == actFail:
			fmt.Fprintf(c.out, "FAIL  %s.%s (%.2fs)\n", p.name, t.name, t.elapsed)
			c.indent(t.output)
		case t.result == actSkip:
			word := "skip "
			if !c.mayskip(p.name + "." + t.name) {
				word = "FAIL  skipped although its lane must run it:"
			}
			fmt.Fprintf(c.out, "%s %s.%s: %s\n", word, p.name, t.name, c.reason(t.output))
		}
	}
}

// printDump prints once what a package's processes printed after lane began to end them.
func (c *collector) printDump(p *pkg) {
	if p.ended == "" || p.shown {
		return
	}
	p.shown = true
	if len(p.dump) == 0 {
		fmt.Fprintln(c.out, "      (its processes printed nothing after SIGQUIT)")
	} else {
		fmt.Fprintln(c.out, "      What its processes printed after SIGQUIT:")
		c.indent(p.dump)
	}
}

// finish closes the packages that have not ended, and counts one failure if the command
// failed and no test did.
func (c *collector) finish(status int) {
	for _, p := range c.packages {
		if !p.done {
			c.closePackage(p, actFail, 0)
		}
	}
	if status != 0 && c.failed == 0 {
		c.failed++
		fmt.Fprintf(c.out, "FAIL  the command failed with status %d outside any test\n", status)
	}
	if c.passed+c.failed+c.skipped == 0 {
		c.failed++
		fmt.Fprintln(c.out, "FAIL  the lane ran nothing")
	}
}

func (c *collector) indent(output []string) {
	for line := range strings.Lines(strings.Join(output, "")) {
		if strings.HasPrefix(line, "=== ") {
			continue
		}
		fmt.Fprint(c.out, "      ", line)
	}
}

// reason returns the output of a skipped test on one line.
func (c *collector) reason(output []string) string {
	var said []string
	for line := range strings.Lines(strings.Join(output, "")) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		said = append(said, strings.TrimPrefix(line, c.wd+"/"))
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// clean removes what a serial console adds to a line.
func clean(s string) string {
	return strings.ReplaceAll(s, "\r\n", "\n")
}
