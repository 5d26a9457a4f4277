// Package report writes results into the documentation: tables in Markdown, and plots.
package report

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zcrx-go/zcrx/bench/internal/result"
)

// The markers of the section that is written.
const (
	Begin = "<!-- bench:begin -->"
	End   = "<!-- bench:end -->"
)

// Write replaces what is between the markers in the file page by the tables of the results, and
// writes the plots to the folder plots, which it makes if there is none. Plots of results that
// there were before are removed. On an error the page is unchanged.
func Write(page, plots string, m result.Machine, results []result.Result) error {
	old, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	relative, err := filepath.Rel(filepath.Dir(page), plots)
	if err != nil {
		return err
	}
	groups := groupsOf(results)
	section := bytes.NewBufferString(Begin + "\n\n")
	writeMachine(section, m, results)
	images := map[string][]byte{}
	for _, g := range groups {
		drawn, err := plotsOf(g)
		if err != nil {
			return fmt.Errorf("plots of %q: %w", g.title, err)
		}
		writeGroup(section, g, drawn, filepath.ToSlash(relative))
		for _, p := range drawn {
			images[p.name] = p.svg
		}
	}
	section.WriteString(End)
	text, err := replace(old, section.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	if err := writePlots(plots, images); err != nil {
		return err
	}
	return os.WriteFile(page, text, 0o644)
}

// replace replaces the section with its markers.
func replace(page, section []byte) ([]byte, error) {
	before, rest, _ := bytes.Cut(page, []byte(Begin))
	_, after, ends := bytes.Cut(rest, []byte(End))
	if !ends || bytes.Count(page, []byte(Begin)) != 1 || bytes.Count(page, []byte(End)) != 1 {
		return nil, fmt.Errorf("it must have the lines %s and %s once, in this order", Begin, End)
	}
	return bytes.Join([][]byte{before, section, after}, nil), nil
}

func writePlots(folder string, images map[string][]byte) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	old, err := filepath.Glob(filepath.Join(folder, "*.svg"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if images[filepath.Base(path)] == nil {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for name, svg := range images {
		if err := os.WriteFile(filepath.Join(folder, name), svg, 0o644); err != nil {
			return err
		}
	}
	return nil
}
