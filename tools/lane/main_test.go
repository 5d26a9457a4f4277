package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain lets the test binary also run as the script of TestLinesAndTable, because the
// tests may run where there is no shell, and in the roles of play.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv("ZCRX_LANE") == "script":
		fmt.Print("ok one\nFAIL two\nnote three\nskip four\n")
		os.Exit(7)
	case os.Getenv(role) != "":
		play(os.Getenv(role))
	}
	os.Exit(m.Run())
}

// TestLinesAndTable runs a script and checks its lines, its status and the table.
func TestLinesAndTable(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	status, err := run([]string{"-dir", dir, "-lines", "script", "--", self}, &out, 0)
	if status != 7 || err != nil {
		t.Fatalf("status %d, %v; want 7", status, err)
	}
	wantText(t, out.String(), "FAIL two\n", "note three\n", "lane script: 2 ran, 1 failed, 1 skipped\n")

	out.Reset()
	status, err = run([]string{"-dir", dir, "-table", "script", "other"}, &out, 0)
	if status != 1 || err != nil {
		t.Fatalf("status %d, %v; want 1", status, err)
	}
	wantText(t, out.String(), "did not run", "\n1 passed, 2 failed, 1 skipped\n")

	if _, err = run([]string{"-dir", dir, "-reset"}, &out, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("-reset left the folder")
	}
}
