// Command graph prints the packages of this project, layer by layer from the bottom, each
// with the packages that it imports. Imports that only its tests have are in parentheses.
// It fails if a package imports one of a higher layer, or is in no layer.
//
//	graph [-q] [-dir DIR]
//
// The layers are in layers.go. The packages are those of all modules of the workspace, as
// go list reports them for Linux with cgo and for another system without it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "graph: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("graph", flag.ContinueOnError)
	quiet := flags.Bool("q", false, "print only what is wrong")
	dir := flags.String("dir", ".", "the top of the repository")
	if err := flags.Parse(args); err != nil {
		return err
	}
	g, err := load(ctx, *dir)
	if err != nil {
		return err
	}
	if !*quiet {
		g.print(out, layers)
	}
	if faults := g.faults(layers); len(faults) > 0 {
		return errors.New(strings.Join(faults, "\ngraph: "))
	}
	return nil
}

// builds are the environments of go list. Together they have the files with cgo, without
// it, and off Linux.
var builds = [][]string{
	{"GOOS=linux", "CGO_ENABLED=1"},
	{"GOOS=darwin", "CGO_ENABLED=0"},
	{"GOOS=windows", "CGO_ENABLED=0"},
}

// load returns the packages of the project and their imports, from go list.
func load(ctx context.Context, dir string) (graph, error) {
	g := graph{}
	for _, env := range builds {
		cmd := exec.CommandContext(ctx, "go", "list", "-tags", "nic,matrix,vmtest",
			"-json=ImportPath,Imports,TestImports,XTestImports", project+"/...")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		text, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("go list: %w\n%s", err, stderr.String())
		}
		for d := json.NewDecoder(bytes.NewReader(text)); ; {
			var l listed
			if err := d.Decode(&l); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("go list: %w", err)
			}
			g.add(l)
		}
	}
	if len(g) == 0 {
		return nil, fmt.Errorf("no package of %s below %s", project, dir)
	}
	return g, nil
}
