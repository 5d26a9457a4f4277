package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOwnTimeOfSubtests(t *testing.T) {
	const limit = 10 * time.Second
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestA")
	for i := range 5 {
		name := fmt.Sprintf("TestA/%d", i)
		c.events("run " + name)
		if hung := c.pass(8*time.Second, limit); hung != nil {
			t.Fatalf("%v hung, a parent of subtests and the subtests within their limit", hung)
		}
		c.events("pass " + name)
	}
	c.events("run TestA/slow", "run TestA/slow/leaf/with a slash")
	if hung := c.pass(11*time.Second, limit); !slices.Equal(hung, []string{"TestA/slow/leaf/with a slash"}) {
		t.Errorf("%v hung, want the leaf", hung)
	}
}

func TestOwnTimeWithoutSubtests(t *testing.T) {
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestA", "run TestA/x")
	// test2json reports the end of a subtest only after the next line.
	c.add(event{Action: "output", Package: "p", Test: "TestA/x", Output: "    --- PASS: TestA/x (0.00s)\n"})
	if hung := c.pass(11*time.Second, 10*time.Second); !slices.Equal(hung, []string{"TestA"}) {
		t.Errorf("%v hung, want the parent", hung)
	}
}

func TestPausedTestsAreNotBlamed(t *testing.T) {
	const limit = 10 * time.Second
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestP", "pause TestP", "run TestQ", "run TestQ/sub", "pause TestQ/sub")
	// TestQ may wait for its paused subtest. It counts as running only if no other test
	// runs.
	for i := range 3 {
		name := fmt.Sprintf("TestS%d", i)
		c.events("run " + name)
		if hung := c.pass(8*time.Second, limit); hung != nil {
			t.Fatalf("%v hung", hung)
		}
		c.events("pass " + name)
	}
	c.events("cont TestP")
	if hung := c.pass(11*time.Second, limit); !slices.Equal(hung, []string{"TestP"}) {
		t.Errorf("%v hung, want the one that goes on", hung)
	}
}

func TestIdlePackageIsEnded(t *testing.T) {
	var c clock
	c.collector = &collector{out: &c.out, mayskip: func(string) bool { return true }}
	c.events("start", "run TestA", "pass TestA")
	c.pass(9*time.Second, 10*time.Second)
	c.events("run TestB", "pass TestB")
	c.pass(9*time.Second, 10*time.Second)
	wantCounts(t, c.collector, 0, 0, 0)
	c.pass(12*time.Second, 10*time.Second)
	c.add(event{Action: "output", Package: "p", Output: "in TestMain\n"})
	c.events("fail")
	wantCounts(t, c.collector, 2, 1, 0)
	wantText(t, c.out.String(), "FAIL  p: none of its tests has run for 10s\n", "in TestMain")
}

// clock is a collector for which time passes in pass only.
type clock struct {
	*collector
	out strings.Builder
}

func (c *clock) events(lines ...string) {
	for _, line := range lines {
		action, test, _ := strings.Cut(line, " ")
		c.add(event{Action: action, Package: "p", Test: test})
	}
}

// pass lets d pass and returns the tests that hung meanwhile.
func (c *clock) pass(d, limit time.Duration) (hung []string) {
	for range d / time.Second {
		c.overdue(time.Second, limit)
	}
	for _, test := range c.packages["p"].order {
		if test.hung != "" {
			hung = append(hung, test.name)
		}
	}
	return hung
}
