package floors

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// floorRow matches a row of the table in docs/architecture.md, floorFile a file in a row.
var (
	floorRow  = regexp.MustCompile("(?m)^\\| [a-zA-Z ]+ \\| `.*$")
	floorFile = regexp.MustCompile("`([a-z_0-9]+\\.go)`")
)

// builds are those whose files are checked: together they have every file. The other
// packages are those of the system's build, as the export data of go list describes them.
var builds = []struct {
	system, arch string
	cgo          bool
	tags         []string
}{
	{system: "linux", arch: "amd64", cgo: true},
	{system: "linux", arch: "amd64", cgo: true, tags: []string{"race"}},
	{system: "linux", arch: "386"},
	{system: "darwin", arch: "arm64"},
}

// exports returns the file of export data of each package that the one in dir imports.
func exports(dir, system string, cgo bool) (map[string]string, error) {
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", ".")
	list.Dir = dir
	list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	if cgo {
		list.Env = append(list.Env, "CGO_ENABLED=1")
	}
	var complaints strings.Builder
	list.Stderr = &complaints
	b, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w: %s", list, err, complaints.String())
	}
	files := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		files[name] = file
	}
	return files, nil
}

// upwardNames checks the package in dir against a table whose rows are floors, the highest
// first. It returns a line for each use of a name that a higher floor declares, for each
// file that is in no row or several, or in none of the builds, and for each file of a row
// that does not exist. A package that does not compile is an error: a name that cannot be
// resolved could be any.
func upwardNames(dir, table string) ([]string, error) {
	var found []string
	floor := map[string]int{} // by file; 0 is the top
	for i, row := range floorRow.FindAllString(table, -1) {
		for _, m := range floorFile.FindAllStringSubmatch(row, -1) {
			if _, again := floor[m[1]]; again {
				found = append(found, m[1]+" is in the table twice")
			}
			floor[m[1]] = i
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				found = append(found, m[1]+" is in the table and does not exist")
			}
		}
	}
	checked := map[string]bool{} // by file
	for _, b := range builds {
		ctx := build.Default
		ctx.GOOS, ctx.GOARCH, ctx.CgoEnabled, ctx.BuildTags = b.system, b.arch, b.cgo, b.tags
		pkg, err := ctx.ImportDir(dir, 0)
		if err != nil {
			return nil, err
		}
		packages, err := exports(dir, b.system, b.cgo)
		if err != nil {
			return nil, err
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range slices.Concat(pkg.GoFiles, pkg.CgoFiles) {
			checked[name] = true
			f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		conf := types.Config{
			Importer: importer.ForCompiler(fset, "gc", func(name string) (io.ReadCloser, error) { return os.Open(packages[name]) }),
			// What C code has stays unresolved, without an error.
			FakeImportC: true,
		}
		self, err := conf.Check(pkg.Name, fset, files, info)
		if err != nil {
			return nil, fmt.Errorf("%s/%s: %w", b.system, b.arch, err)
		}
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
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		name = filepath.Base(name)
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if _, listed := floor[name]; !listed {
			found = append(found, name+" is in no row of the table")
		}
		if !checked[name] {
			found = append(found, name+" is in no build that is checked")
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

// TestFloorsFindsUpwardNames checks packages that break the rules.
func TestFloorsFindsUpwardNames(t *testing.T) {
	const table = "| floor | files | |\n| top | `roof.go` | |\n| bottom | `cellar.go` `tank.go` `tank_atomic.go` `tank_small.go` `gone.go` | |\n| lowest | `cellar.go` | |\n"
	house := func(files map[string]string) string {
		dir := t.TempDir()
		files["go.mod"] = "module house\n\ngo 1.26\n"
		for name, text := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
		}
		return dir
	}
	t.Setenv("GOWORK", "off")
	dir := house(map[string]string{
		"roof.go":        "package house\n\ntype Roof struct{ on *Cellar }\n\nfunc (r *Roof) Leak() {}\n",
		"cellar.go":      "package house\n\nimport \"sync/atomic\"\n\ntype Cellar struct {\n\tabove *Roof\n\tlater atomic.Pointer[Roof]\n}\n\nfunc (c *Cellar) flood() { c.above.Leak() }\n\nfunc (c *Cellar) wait() { c.later.Load().Leak() }\n",
		"tank.go":        "//go:build !race && !386\n\npackage house\n",
		"tank_atomic.go": "//go:build race\n\npackage house\n\nvar tank Roof\n",
		"tank_small.go":  "//go:build !race && 386\n\npackage house\n\nvar tank Roof\n",
		"shed_linux.go":  "package house\n\nvar shed Cellar\n",
		"barn.go":        "//go:build barn\n\npackage house\n",
	})
	found, err := upwardNames(dir, table)
	require.NoError(t, err)
	assert.Equal(t, []string{
		"barn.go is in no build that is checked",
		"barn.go is in no row of the table",
		"cellar.go is in the table twice",
		"cellar.go:10: Leak is of a floor above (roof.go)",
		"cellar.go:12: Leak is of a floor above (roof.go)",
		"cellar.go:6: Roof is of a floor above (roof.go)",
		"cellar.go:7: Roof is of a floor above (roof.go)",
		"gone.go is in the table and does not exist",
		"shed_linux.go is in no row of the table",
		"tank_atomic.go:5: Roof is of a floor above (roof.go)",
		"tank_small.go:5: Roof is of a floor above (roof.go)",
	}, found)

	_, err = upwardNames(house(map[string]string{"roof.go": "package house\n\nvar r = missing\n"}), "| top | `roof.go` | |\n")
	assert.ErrorContains(t, err, "undefined: missing")
}
