package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// grid is a table whose last column may be empty.
type grid struct{ w *tabwriter.Writer }

func newGrid(out io.Writer) grid { return grid{tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)} }

func (g grid) row(cells ...string) {
	fmt.Fprintln(g.w, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
}

func (g grid) flush() { _ = g.w.Flush() } // fails where the output does
