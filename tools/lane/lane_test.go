package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The test binary is also the script that TestLinesAndTable runs, because the
// tests run in places without a shell, and what hang_test.go runs.
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

func feed(t *testing.T, status int, lines ...string) (*collector, string) {
	t.Helper()
	var out strings.Builder
	c := &collector{mayskip: func(string) bool { return true }, out: &out, wd: "/src"}
	for _, line := range lines {
		c.jsonLine(line + "\n")
	}
	c.finish(status)
	return c, out.String()
}

func wantCounts(t *testing.T, c *collector, passed, failed, skipped int) {
	t.Helper()
	if c.passed != passed || c.failed != failed || c.skipped != skipped {
		t.Errorf("%d passed, %d failed, %d skipped; want %d, %d, %d",
			c.passed, c.failed, c.skipped, passed, failed, skipped)
	}
}

func wantText(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(out, part) {
			t.Errorf("output lacks %q:\n%s", part, out)
		}
	}
}

func TestCountsLeaves(t *testing.T) {
	c, out := feed(t, 1,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestA/x"}`,
		`{"Action":"run","Package":"p","Test":"TestA/y"}`,
		`{"Action":"output","Package":"p","Test":"TestA/y","Output":"    a_test.go:3: bad thing\r\n"}`,
		`{"Action":"pass","Package":"p","Test":"TestA/x"}`,
		`{"Action":"fail","Package":"p","Test":"TestA/y"}`,
		`{"Action":"fail","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestB"}`,
		`{"Action":"run","Package":"p","Test":"TestB/z"}`,
		`{"Action":"pass","Package":"p","Test":"TestB/z"}`,
		`{"Action":"pass","Package":"p","Test":"TestB"}`,
		`{"Action":"run","Package":"p","Test":"TestC"}`,
		`{"Action":"output","Package":"p","Test":"TestC","Output":"    /src/c_test.go:9: no zcrx here\n"}`,
		`{"Action":"output","Package":"p","Test":"TestC","Output":"--- SKIP: TestC (0.00s)\n"}`,
		`{"Action":"skip","Package":"p","Test":"TestC"}`,
		`{"Action":"fail","Package":"p"}`,
	)
	wantCounts(t, c, 2, 1, 1)
	wantText(t, out, "FAIL  p.TestA/y", "a_test.go:3: bad thing\n", "skip  p.TestC: c_test.go:9: no zcrx here\n")
}

func TestParentFailsAlone(t *testing.T) {
	c, _ := feed(t, 1,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestA/x"}`,
		`{"Action":"pass","Package":"p","Test":"TestA/x"}`,
		`{"Action":"fail","Package":"p","Test":"TestA"}`,
		`{"Action":"fail","Package":"p"}`,
	)
	wantCounts(t, c, 1, 1, 0)
}

func TestFailuresOutsideTests(t *testing.T) {
	c, out := feed(t, 1,
		`{"ImportPath":"p","Action":"build-output","Output":"x.go:1: syntax error\n"}`,
		`{"ImportPath":"p","Action":"build-fail"}`,
		`{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}`,
		`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
	)
	wantCounts(t, c, 0, 1, 0)
	wantText(t, out, "x.go:1: syntax error", "p: failed outside its tests", "[build failed]")

	c, out = feed(t, 1, `go: no such thing`)
	wantCounts(t, c, 0, 1, 0)
	wantText(t, out, "go: no such thing", "status 1")
}

func TestUnfinished(t *testing.T) {
	c, out := feed(t, 1,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"output","Package":"p","Test":"TestA","Output":"last words\n"}`,
	)
	wantCounts(t, c, 0, 1, 0)
	wantText(t, out, "last words", "did not end")
}

func TestSameNameTwice(t *testing.T) {
	c, _ := feed(t, 0,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"run","Package":"p","Test":"TestA"}`,
		`{"Action":"pass","Package":"p","Test":"TestA"}`,
		`{"Action":"pass","Package":"p"}`,
	)
	wantCounts(t, c, 2, 0, 0)
}

// Everything together: a script's lines, the command's status, the table.
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
