package main

import (
	"os"
	"strings"
	"testing"
)

// TestReviewLaneThatRunsNothing runs a lane whose command has no test: a -run or a build tag
// that fits nothing any more, or a script that ends before its first check. Such a lane has
// shown nothing, and must not be green.
func TestReviewLaneThatRunsNothing(t *testing.T) {
	for _, lines := range []bool{false, true} {
		args := []string{"-dir", t.TempDir()}
		if lines {
			args = append(args, "-lines")
		}
		var out strings.Builder
		status, err := run(append(args, "none", "--", os.Args[0], "-test.run", "^$"), &out, 0)
		if err != nil {
			t.Fatal(err)
		}
		if status == 0 {
			t.Errorf("lines %v: status 0 after:\n%s", lines, out.String())
		}
	}
}

// TestReviewSkipsOfScripts has a script skip a check that no lane may skip.
func TestReviewSkipsOfScripts(t *testing.T) {
	var out strings.Builder
	c := &collector{out: &out, mayskip: func(string) bool { return false }}
	c.scriptLine("skip  something\n")
	if c.failed != 1 {
		t.Errorf("failed %d, skipped %d: the skip is in no list", c.failed, c.skipped)
	}
}
