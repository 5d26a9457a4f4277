package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnexpectedSkipFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skips")
	if err := os.WriteFile(file, []byte("# why\nvm p\\.TestAllowed(/x(#\\d+)?)? # and why\n\nhost p\\.Test.*\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	may, err := readSkips(file, "vm")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	c := &collector{mayskip: may, out: &out}
	for _, e := range []string{"TestAllowed", "TestAllowed/x#01", "TestOther"} {
		c.add(event{Action: "run", Package: "p", Test: e})
		c.add(event{Action: "skip", Package: "p", Test: e})
	}
	c.add(event{Action: "pass", Package: "p"})
	c.finish(0)
	wantCounts(t, c, 0, 1, 2)
	wantText(t, out.String(), "FAIL  skipped although its lane must run it: p.TestOther")
	if c.unexpected != 1 {
		t.Errorf("%d unexpected skips, want 1", c.unexpected)
	}
}

func TestBadSkipFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "skips")
	for _, bad := range []string{"vm", "vm a b", "vm ("} {
		if err := os.WriteFile(file, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := readSkips(file, "vm"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := readSkips(file+".not", "vm"); err == nil {
		t.Error("a missing file was taken")
	}
}
