package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// overdue adds dt to the time of whatever runs, and returns the packages in which
// something has now run for longer than limit (0: nothing ever does). They are
// marked as being ended, and what is said from then on is kept as their dump.
//
// The time of a test is its own: it stands still while the test is paused, and
// while a subtest runs, which the test waits for.
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
			fmt.Fprintf(c.out, "lane: %s: %s: asking its processes where\n", p.name, p.ended)
			found = append(found, p.name)
		}
	}
	return found
}

// cutOff marks all packages as being ended, and what runs in them as hung.
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

// running returns the tests that run by themselves now.
func (p *pkg) running() []*test {
	waits := make(map[string]bool) // for subtests that run
	holds := make(map[string]bool) // subtests that are paused
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
	// One whose subtests are paused may just wait for them, and they for those
	// that take up -parallel now. When nothing else runs, it is its own doing.
	if alone {
		found = slices.DeleteFunc(found, func(t *test) bool { return holds[t.name] })
	}
	return found
}

// reports tells whether a test's output is the line about its end.
func reports(output, name string) bool {
	line := strings.TrimLeft(output, " ")
	for _, word := range []string{"PASS", "FAIL", "SKIP"} {
		if strings.HasPrefix(line, "--- "+word+": "+name+" (") {
			return true
		}
	}
	return false
}
