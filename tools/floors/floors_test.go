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

// floorRow is a row of the table in docs/architecture.md, floorFile a file in it.
var (
	floorRow  = regexp.MustCompile("(?m)^\\| [a-zA-Z ]+ \\| `.*$")
	floorFile = regexp.MustCompile("`([a-z_0-9]+\\.go)`")
)

// hollow imports any package as an empty one: what the declarations of one package name
// of each other resolves without.
type hollow struct{}

func (hollow) Import(p string) (*types.Package, error) {
	pkg := types.NewPackage(p, path.Base(p))
	pkg.MarkComplete()
	return pkg, nil
}

// upwardNames holds the package in dir against a table whose rows are floors, the highest
// first, and returns a line for every name that a file uses of a floor above its own, and
// for every file that is in no row.
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
		// Names of other packages stay unresolved, which is no error here.
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		conf := types.Config{Importer: hollow{}, FakeImportC: true, Error: func(error) {}}
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

// TestFloors holds the root package against the table in docs/architecture.md.
func TestFloors(t *testing.T) {
	table, err := os.ReadFile("../../docs/architecture.md")
	require.NoError(t, err)
	found, err := upwardNames("../..", string(table))
	require.NoError(t, err)
	assert.Empty(t, found)
}

// TestFloorsFindsUpwardNames: a tree that breaks the rule is found out.
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
