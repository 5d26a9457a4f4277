package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"
)

// result is the result of one run of a lane.
type result struct {
	Lane    string  `json:"lane"`
	Passed  int     `json:"passed"`
	Failed  int     `json:"failed"`
	Skipped int     `json:"skipped"`
	Seconds float64 `json:"seconds"`
	Status  int     `json:"status"` // the command's exit status
}

// String returns the line that a run ends with.
func (r result) String() string {
	return fmt.Sprintf("lane %s: %d ran, %d failed, %d skipped", r.Lane, r.Passed+r.Failed, r.Failed, r.Skipped)
}

func (r result) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Lane+".json"), data, 0o644)
}

func readResult(dir, lane string) (result, error) {
	var r result
	data, err := os.ReadFile(filepath.Join(dir, lane+".json"))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("the record of lane %s: %w", lane, err)
	}
	return r, nil
}

// printTable prints a row for each lane, and the totals on a line of their own. It returns
// status 1 if any lane failed, or has recorded nothing because it did not reach its end.
func printTable(out io.Writer, dir string, lanes []string) (int, error) {
	status := 0
	var total result
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "lane\tran\tfailed\tskipped\tseconds\t")
	for _, lane := range lanes {
		r, err := readResult(dir, lane)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			total.Failed++
			status = 1
			fmt.Fprintf(w, "%s\tdid not run\t1\t-\t-\t\n", lane)
			continue
		case err != nil:
			return 2, err
		}
		total.Passed += r.Passed
		total.Failed += r.Failed
		total.Skipped += r.Skipped
		if r.Status != 0 {
			status = 1
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%.0f\t\n", r.Lane, r.Passed+r.Failed, r.Failed, r.Skipped, r.Seconds)
	}
	if err := w.Flush(); err != nil {
		return 2, err
	}
	if total.Failed > 0 {
		status = 1
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", total.Passed, total.Failed, total.Skipped)
	return status, nil
}
