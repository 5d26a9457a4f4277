package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/zcrx-go/zcrx/tools/matrix/answers"
)

const preface = `# Kernels

What zcrx can do on each kernel. ` + "`make test-matrix-update`" + ` writes this page: it boots each
kernel in a virtual machine and runs the library there. ` + "`make test-matrix`" + ` fails if the page
differs from a run. Do not edit it.

A cell is "yes", or the layer in which the feature is missing: *kernel* (too old, or built without
it), *sandbox* (seccomp, a security module or ` + "`kernel.io_uring_disabled`" + `), *privilege* (a
capability or a limit), *device* (the network interface), or "–" if the kernel does not have the
situation. The virtual machines have no interface that can do zero copy, so the best result of
registering a pool on ` + "`lo`" + ` is *device*.
`

// render returns the text of the document.
func render(series []string, kernels []answers.Kernel) string {
	var b strings.Builder
	b.WriteString(preface)
	b.WriteString("\nKernels of this run: Debian's cloud kernels")
	for i, k := range kernels {
		separator := ", "
		if i == 0 {
			separator = " "
		}
		fmt.Fprintf(&b, "%s%s", separator, k.Release)
	}
	b.WriteString(" (x86-64).\n")
	for _, situation := range situations(kernels) {
		fmt.Fprintf(&b, "\n## As %s\n", situation)
		of := func(k answers.Kernel) *answers.Answers {
			for i := range k.Situations {
				if k.Situations[i].Situation == situation {
					return &k.Situations[i]
				}
			}
			return nil // the kernel does not have the situation
		}
		table(&b, "feature", series, kernels, func(k answers.Kernel) map[string]string {
			if a := of(k); a != nil {
				return a.Features
			}
			return nil
		})
		table(&b, "operation", series, kernels, func(k answers.Kernel) map[string]string {
			if a := of(k); a != nil {
				return a.Operations
			}
			return nil
		})
	}
	return b.String()
}

// situations returns the situations of all kernels, in the order of the newest.
func situations(kernels []answers.Kernel) []string {
	var names []string
	for _, k := range slices.Backward(kernels) {
		for _, a := range k.Situations {
			if !slices.Contains(names, a.Situation) {
				names = append(names, a.Situation)
			}
		}
	}
	return names
}

// table writes a row for each name for which a kernel has a result. Names with the same
// results share a row.
func table(b *strings.Builder, what string, series []string, kernels []answers.Kernel, of func(answers.Kernel) map[string]string) {
	fmt.Fprintf(b, "\n| %s | %s |\n|---|%s\n", what, strings.Join(series, " | "), strings.Repeat("---|", len(series)))
	names := map[string]bool{}
	for _, k := range kernels {
		for name := range of(k) {
			names[name] = true
		}
	}
	rows := map[string][]string{} // names by their results
	for _, name := range slices.Sorted(maps.Keys(names)) {
		var cells []string
		for _, k := range kernels {
			cells = append(cells, cell(of(k), name))
		}
		answered := strings.Join(cells, " | ")
		rows[answered] = append(rows[answered], name)
	}
	for _, answered := range slices.SortedFunc(maps.Keys(rows), func(x, y string) int {
		return strings.Compare(rows[x][0], rows[y][0])
	}) {
		fmt.Fprintf(b, "| %s | %s |\n", strings.Join(rows[answered], ", "), answered)
	}
}

func cell(answered map[string]string, name string) string {
	if answered == nil {
		return "–"
	}
	return answered[name]
}

var version = regexp.MustCompile(`\b(\d+\.\d+)\.\d+\S*`)

// withoutVersions reduces each exact kernel version to its series.
func withoutVersions(doc string) string { return version.ReplaceAllString(doc, "$1") }
