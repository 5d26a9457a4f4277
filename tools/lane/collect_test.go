package main

import (
	"strings"
	"testing"
)

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
