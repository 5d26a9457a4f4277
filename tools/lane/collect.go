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
	unexpected              int // skips that are not allowed; they count as failed
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
	ended string        // why its processes are being ended, "" if they are not
	dump  []string      // what they have said since
	shown bool          // the dump has been printed
}

// test is one test or subtest.
type test struct {
	name    string
	result  string // "" while it runs
	elapsed float64
	parent  bool // has subtests
	output  []string

	paused bool          // waits for its turn: t.Parallel
	over   bool          // said how it ended, though test2json holds that back
	own    time.Duration // how long it has run, its subtests' time left out
	hung   string        // how long was too long, "" if it was not
}

// jsonLine takes in a line of `go test -json`. One that is no event (go's own
// complaints) is passed on.
func (c *collector) jsonLine(line string) {
	var e event
	if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
		c.add(e)
	} else {
		fmt.Fprint(c.out, line)
	}
}

// scriptLine takes in a line of a script that prints one per check.
func (c *collector) scriptLine(line string) {
	word, _, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	switch word {
	case "ok":
		c.passed++
		return // a long list of what is well helps nobody
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
		// Whichever test it is taken for: it is about the one that hung.
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
		t.over = t.over || reports(e.Output, e.Test)
	case actPass, actFail, actSkip:
		t.result, t.elapsed = e.Action, e.Elapsed
		if e.Action == actPass {
			t.output = nil // never shown; a long lane would pile it up
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

// testOf finds or adds a test and marks the tests it belongs to as parents.
// A name seen again after its end (-count, -cpu) is another test.
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
		// Subtests come after their parents, so going backwards a parent knows
		// whether the failure is its own.
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
		c.printDump(p) // unless a test that hung has shown it
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

// printDump prints, once, what a package's processes said while they were ended.
func (c *collector) printDump(p *pkg) {
	if p.ended == "" || p.shown {
		return
	}
	p.shown = true
	if len(p.dump) == 0 {
		fmt.Fprintln(c.out, "      (asked where they hang, its processes said nothing)")
	} else {
		fmt.Fprintln(c.out, "      What its processes said when they were asked where they hang:")
		c.indent(p.dump)
	}
}

// finish closes packages whose end never came, and makes a failed command
// without a failed test count as one failure.
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
}

func (c *collector) indent(output []string) {
	for line := range strings.Lines(strings.Join(output, "")) {
		if strings.HasPrefix(line, "=== ") {
			continue
		}
		fmt.Fprint(c.out, "      ", line)
	}
}

// reason is what a skipped test said, on one line.
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
