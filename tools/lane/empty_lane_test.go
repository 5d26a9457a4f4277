package main

import (
	"strings"
	"testing"
)

// TestLaneThatRunsNothing runs a lane whose command has no test: a -run or a build tag
// that fits nothing any more, or a script that ends before its first check. Such a lane has
// shown nothing, and must not be green.
func TestLaneThatRunsNothing(t *testing.T) {
	for _, lines := range []bool{false, true} {
		args := []string{"-dir", t.TempDir()}
		if lines {
			args = append(args, "-lines")
		}
		var out strings.Builder
		status, err := run(append(args, "none", "--", "true"), &out, 0)
		if err != nil {
			t.Fatal(err)
		}
		if status == 0 {
			t.Errorf("lines %v: status 0 after:\n%s", lines, out.String())
		}
	}
}
