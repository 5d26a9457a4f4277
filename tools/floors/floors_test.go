package floors

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// floorRow matches a row of the table in docs/architecture.md, floorFile a file in a row.
var (
	floorRow  = regexp.MustCompile("(?m)^\\| [a-zA-Z ]+ \\| `.*$")
	floorFile = regexp.MustCompile("`([a-z_0-9]+\\.go)`")
)

// emptyImporter imports each package as an empty one. That is enough to resolve the names
// that the files of one package use of each other.
type emptyImporter struct{}

func (emptyImporter) Import(p string) (*types.Package, error) {
	pkg := types.NewPackage(p, path.Base(p))
	pkg.MarkComplete()
	return pkg, nil
}

// upwardNames checks the package in dir against a table whose rows are floors, the highest
// first. It returns a line for each use of a name that a higher floor declares, and for
// each file that is in no row.
func upwardNames(dir, table string) ([]string, error) {
	floor := map[string]int{} // by file; 0 is the top
	for i, row := range floorRow.FindAllString(table, -1) {
		for _, m := range floorFile.FindAllStringSubmatch(row, -1) {
			floor[m[1]] = i
		}
	}
	var found []string
	for _, system := range []string{"linux", "darwin"} {
		ctx := build.Default
		ctx.GOOS, ctx.CgoEnabled = system, system == "linux"
		pkg, err := ctx.ImportDir(dir, 0)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range slices.Concat(pkg.GoFiles, pkg.CgoFiles) {
			if _, listed := floor[name]; !listed {
				found = append(found, name+" is in no row of the table")
			}
			f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
		// Names of other packages stay unresolved: ignore the errors.
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		conf := types.Config{Importer: emptyImporter{}, FakeImportC: true, Error: func(error) {}}
		self, _ := conf.Check(pkg.Name, fset, files, info)
		for id, o := range info.Uses {
			if o.Pkg() != self || !o.Pos().IsValid() {
				continue
			}
			from, to := fset.Position(id.Pos()), fset.Position(o.Pos())
			user, owner := filepath.Base(from.Filename), filepath.Base(to.Filename)
			if floor[owner] < floor[user] {
				found = append(found, fmt.Sprintf("%s:%d: %s is of a floor above (%s)", user, from.Line, id.Name, owner))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// TestFloors checks the root package against the table in docs/architecture.md.
func TestFloors(t *testing.T) {
	table, err := os.ReadFile("../../docs/architecture.md")
	require.NoError(t, err)
	found, err := upwardNames("../..", string(table))
	require.NoError(t, err)
	assert.Empty(t, found)
}

// TestFloorsFindsUpwardNames checks a package that breaks the rule.
func TestFloorsFindsUpwardNames(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"roof.go":       "package house\n\ntype Roof struct{ on *Cellar }\n\nfunc (r *Roof) Leak() {}\n",
		"cellar.go":     "package house\n\ntype Cellar struct {\n\tabove *Roof\n}\n\nfunc (c *Cellar) flood() { c.above.Leak() }\n",
		"shed_linux.go": "package house\n\nvar shed Cellar\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	found, err := upwardNames(dir, "| floor | files | |\n| top | `roof.go` | |\n| bottom | `cellar.go` | |\n")
	require.NoError(t, err)
	assert.Equal(t, []string{
		"cellar.go:4: Roof is of a floor above (roof.go)",
		"cellar.go:7: Leak is of a floor above (roof.go)",
		"shed_linux.go is in no row of the table",
	}, found)
}
