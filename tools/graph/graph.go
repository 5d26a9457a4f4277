package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// A pkg is a package of this project. Packages are named by their folders, relative to the
// top of the repository.
type pkg struct {
	folder  string
	imports set // packages of this project that it imports
	tests   set // those that only its tests import
}

type set = map[string]bool

// A graph has the packages by their folders.
type graph map[string]*pkg

// listed is the part of go list's output that graph uses.
type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

// add adds the imports that a package has in one build. No single build has all files of
// a package.
func (g graph) add(l listed) {
	folder, ours := folderOf(l.ImportPath)
	if !ours {
		return
	}
	p := g[folder]
	if p == nil {
		p = &pkg{folder: folder, imports: set{}, tests: set{}}
		g[folder] = p
	}
	addImports := func(to set, paths []string) {
		for _, path := range paths {
			// An external test imports its own package.
			if f, ours := folderOf(path); ours && f != folder {
				to[f] = true
			}
		}
	}
	addImports(p.imports, l.Imports)
	addImports(p.tests, l.TestImports)
	addImports(p.tests, l.XTestImports)
	for f := range p.imports {
		delete(p.tests, f)
	}
}

// folderOf returns the folder of a package, and whether it is one of this project.
func folderOf(path string) (folder string, ours bool) {
	if path == project {
		return ".", true
	}
	return strings.CutPrefix(path, project+"/")
}

// layerOf returns the index of the layer of a folder: the one that has the folder itself,
// or else the longest path above it.
func layerOf(table []layer, folder string) (index int, known bool) {
	longest := 0
	for i, l := range table {
		for _, f := range l.folders {
			if (folder == f || strings.HasPrefix(folder, f+"/")) && len(f) > longest {
				index, known, longest = i, true, len(f)
			}
		}
	}
	return index, known
}

// faults returns a sentence for each package that is in no layer and for each import that
// the layers forbid.
func (g graph) faults(table []layer) []string {
	var faults []string
	for _, folder := range slices.Sorted(maps.Keys(g)) {
		at, known := layerOf(table, folder)
		if !known {
			faults = append(faults, fmt.Sprintf("%s is in no layer: add it to the table in tools/graph/layers.go", name(folder)))
			continue
		}
		check := func(imports set, who string) {
			for _, f := range slices.Sorted(maps.Keys(imports)) {
				to, known := layerOf(table, f)
				switch {
				case !known: // the outer loop reports it
				case to > at:
					faults = append(faults, fmt.Sprintf("%s imports %s, which is above it: layer %q is below %q",
						who, name(f), table[at].name, table[to].name))
				case to == at && table[at].apart && row(table[at], f) != row(table[at], folder):
					faults = append(faults, fmt.Sprintf("%s imports %s: the packages of layer %q do not import each other",
						who, name(f), table[at].name))
				}
			}
		}
		check(g[folder].imports, name(folder))
		check(g[folder].tests, "a test of "+name(folder))
	}
	return faults
}

// row returns the entry of l.folders that a folder belongs to.
func row(l layer, folder string) string {
	for _, f := range l.folders {
		if folder == f || strings.HasPrefix(folder, f+"/") {
			return f
		}
	}
	return ""
}

// print prints the packages, layer by layer from the bottom, each with its imports.
func (g graph) print(out io.Writer, table []layer) {
	width := 0
	for folder := range g {
		width = max(width, len(name(folder)))
	}
	for i, l := range table {
		first := true
		for _, folder := range slices.SortedFunc(maps.Keys(g), byName) {
			if at, known := layerOf(table, folder); !known || at != i {
				continue
			}
			if first {
				fmt.Fprintln(out, l.name)
				first = false
			}
			p := g[folder]
			imports := names(p.imports)
			if len(p.tests) > 0 {
				imports = strings.TrimSpace(imports + " (tests: " + names(p.tests) + ")")
			}
			line := fmt.Sprintf("  %-*s  %s", width, name(folder), imports)
			fmt.Fprintln(out, strings.TrimRight(line, " "))
		}
	}
}

func byName(a, b string) int { return cmp.Compare(name(a), name(b)) }

func names(s set) string {
	var list []string
	for _, folder := range slices.SortedFunc(maps.Keys(s), byName) {
		list = append(list, name(folder))
	}
	return strings.Join(list, " ")
}

// name returns the name that the output uses for the package in a folder.
func name(folder string) string {
	if folder == "." {
		return "zcrx"
	}
	return folder
}
