package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// overdue adds dt to the time of the tests that run, and returns the packages in which a
// test has run for longer than limit (0: no limit). It marks them as ended; what their
// processes print from then on becomes their dump.
//
// The time of a test does not grow while the test is paused, nor while it waits for a
// subtest that runs.
func (c *collector) overdue(dt, limit time.Duration) []string {
	var found []string
	for _, p := range c.packages {
		if p.done || p.ended != "" {
			continue
		}
		running := p.running()
		if len(running) == 0 {
			p.idle += dt
		} else {
			p.idle = 0
		}
		for _, t := range running {
			t.own += dt
			if limit > 0 && t.own > limit {
				t.hung = fmt.Sprintf("hung, its limit is %v", limit)
				p.ended = t.name + " hung"
			}
		}
		if limit > 0 && p.idle > limit {
			p.ended = fmt.Sprintf("none of its tests has run for %v", limit)
		}
		if p.ended != "" {
			fmt.Fprintf(c.out, "lane: %s: %s: sending its processes SIGQUIT\n", p.name, p.ended)
			found = append(found, p.name)
		}
	}
	return found
}

// cutOff marks all packages as ended, and the tests that run in them as hung.
func (c *collector) cutOff(why string) {
	for _, p := range c.packages {
		if p.done || p.ended != "" {
			continue
		}
		p.ended = why
		for _, t := range p.running() {
			t.hung = "still ran when " + why
		}
	}
	c.failed++
	fmt.Fprintf(c.out, "FAIL  %s\n", why)
}

// running returns the tests that run now and do not wait for a subtest.
func (p *pkg) running() []*test {
	waits := make(map[string]bool) // tests with a subtest that runs
	holds := make(map[string]bool) // tests with a subtest that is paused
	for _, t := range p.order {
		if t.result != "" || t.over {
			continue
		}
		for i := strings.LastIndexByte(t.name, '/'); i > 0; i = strings.LastIndexByte(t.name[:i], '/') {
			if t.paused {
				holds[t.name[:i]] = true
			} else {
				waits[t.name[:i]] = true
			}
		}
	}
	var found []*test
	alone := false
	for _, t := range p.order {
		if t.result == "" && !t.over && !t.paused && !waits[t.name] {
			found = append(found, t)
			alone = alone || !holds[t.name]
		}
	}
	// A test with paused subtests may wait for them, and they for other tests, because
	// -parallel limits how many run. If no other test runs, it is the one that hangs.
	if alone {
		found = slices.DeleteFunc(found, func(t *test) bool { return holds[t.name] })
	}
	return found
}

// isResult reports whether output is the line with the result of the test.
func isResult(output, name string) bool {
	line := strings.TrimLeft(output, " ")
	for _, word := range []string{"PASS", "FAIL", "SKIP"} {
		if strings.HasPrefix(line, "--- "+word+": "+name+" (") {
			return true
		}
	}
	return false
}
