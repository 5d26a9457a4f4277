package floors

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// house writes a package and returns what TestFloors would say of it, with roof.go above
// cellar.go.
func house(t *testing.T, table string, files map[string]string) []string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	found, err := upwardNames(dir, "| floor | files | |\n"+table)
	require.NoError(t, err)
	return found
}

const twoFloors = "| top | `roof.go` | |\n| bottom | `cellar.go` | |\n"

// TestReviewMethodOfAValueFromAnotherPackage calls a method of a lower floor's type that a
// higher floor declares, as the loop floor could call one of atomic.Pointer[T].Load(). The
// empty importer leaves the type of such a value unknown, and its methods unresolved.
func TestReviewMethodOfAValueFromAnotherPackage(t *testing.T) {
	found := house(t, twoFloors, map[string]string{
		"roof.go": "package house\n\nfunc (c *Cellar) leak() {}\n",
		"cellar.go": "package house\n\nimport \"sync/atomic\"\n\ntype Cellar struct{}\n\n" +
			"func flood(p *atomic.Pointer[Cellar]) { p.Load().leak() }\n",
	})
	assert.Equal(t, []string{"cellar.go:7: leak is of a floor above (roof.go)"}, found)
}

// TestReviewFilesOfOtherBuilds has a file for the race detector, as generation_atomic.go.
func TestReviewFilesOfOtherBuilds(t *testing.T) {
	found := house(t, "| top | `roof.go` | |\n| bottom | `cellar.go` `cellar_race.go` | |\n", map[string]string{
		"roof.go":        "package house\n\ntype Roof struct{}\n",
		"cellar.go":      "//go:build !race\n\npackage house\n",
		"cellar_race.go": "//go:build race\n\npackage house\n\nvar above Roof\n",
	})
	assert.Equal(t, []string{"cellar_race.go:5: Roof is of a floor above (roof.go)"}, found)
}

// TestReviewRowsWithoutAFile has a table that is out of date.
func TestReviewRowsWithoutAFile(t *testing.T) {
	found := house(t, "| top | `roof.go` `attic.go` | |\n| bottom | `cellar.go` | |\n", map[string]string{
		"roof.go":   "package house\n",
		"cellar.go": "package house\n",
	})
	assert.NotEmpty(t, found, "attic.go does not exist")
}
