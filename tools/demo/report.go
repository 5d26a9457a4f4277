package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// report is the part of `zcrx demo --json` that the table shows.
type report struct {
	Mode           string  `json:"mode"`
	ModeReason     string  `json:"mode_reason"`
	BytesSent      int64   `json:"bytes_sent"`
	BytesReceived  int64   `json:"bytes_received"`
	SHA256Sent     string  `json:"sha256_sent"`
	SHA256Received string  `json:"sha256_received"`
	Seconds        float64 `json:"seconds"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	Leased         int64   `json:"leased"`
	Returned       int64   `json:"returned"`
	Outstanding    int64   `json:"outstanding"`
	Completions    int64   `json:"completions"`
	Flushes        int64   `json:"flushes"`
	Rearms         int64   `json:"rearms"`
	CopiedBytes    int64   `json:"copied_bytes"`

	where string
}

func parseReport(data []byte) (report, error) {
	var r report
	if err := json.Unmarshal(bytes.TrimSpace(data), &r); err != nil {
		return r, fmt.Errorf("zcrx demo --json printed no report: %w", err)
	}
	return r, nil
}

// check returns an error if the report is not what a file of size bytes must give. It
// checks again what the command's exit status says already.
func (r report) check(size int64) error {
	var errs []error
	if r.BytesSent != size || r.BytesReceived != size {
		errs = append(errs, fmt.Errorf("%d bytes sent and %d received of a file of %d", r.BytesSent, r.BytesReceived, size))
	}
	if r.SHA256Sent == "" || r.SHA256Sent != r.SHA256Received {
		errs = append(errs, fmt.Errorf("sha256 sent %q, received %q", r.SHA256Sent, r.SHA256Received))
	}
	if r.Outstanding != 0 {
		errs = append(errs, fmt.Errorf("%d buffers outstanding", r.Outstanding))
	}
	return errors.Join(errs...)
}

// print prints the whole report.
func (r report) print(out io.Writer) {
	if r.Mode == "" {
		return
	}
	fmt.Fprintf(out, `mode:             %s (%s)
sent:             %d bytes, sha256 %s
received:         %d bytes, sha256 %s
throughput:       %.1f MB/s (%.3f s)
buffers:          %d leased, %d returned, %d outstanding
completions:      %d (%d refill flushes, %d re-arms)
copied by kernel: %d bytes
`, r.Mode, r.ModeReason, r.BytesSent, r.SHA256Sent, r.BytesReceived, r.SHA256Received,
		r.BytesPerSecond/1e6, r.Seconds, r.Leased, r.Returned, r.Outstanding,
		r.Completions, r.Flushes, r.Rearms, r.CopiedBytes)
}

// rows are the rows of the table.
var rows = []struct {
	label string
	value func(report) string
}{
	{"", func(r report) string { return r.where }},
	{"mode", func(r report) string { return r.Mode }},
	{"bytes received", func(r report) string { return fmt.Sprint(r.BytesReceived) }},
	{"sha256", func(r report) string {
		if r.SHA256Sent == "" || r.SHA256Sent != r.SHA256Received {
			return "DIFFERENT"
		}
		return "equal, " + r.SHA256Received[:min(12, len(r.SHA256Received))]
	}},
	{"seconds", func(r report) string { return fmt.Sprintf("%.3f", r.Seconds) }},
	{"MB/s", func(r report) string { return fmt.Sprintf("%.1f", r.BytesPerSecond/1e6) }},
	{"leased", func(r report) string { return fmt.Sprint(r.Leased) }},
	{"returned", func(r report) string { return fmt.Sprint(r.Returned) }},
	{"outstanding", func(r report) string { return fmt.Sprint(r.Outstanding) }},
	{"completions", func(r report) string { return fmt.Sprint(r.Completions) }},
	{"refill flushes", func(r report) string { return fmt.Sprint(r.Flushes) }},
	{"re-arms", func(r report) string { return fmt.Sprint(r.Rearms) }},
	{"bytes the kernel copied", func(r report) string { return fmt.Sprint(r.CopiedBytes) }},
}

// printTable prints a table with a column for each report. A report without a mode is of a
// run that failed before it made one: its column has dashes.
func printTable(out io.Writer, reports []report) error {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for i, row := range rows {
		fmt.Fprint(w, row.label)
		for _, r := range reports {
			value := "-"
			if i == 0 || r.Mode != "" {
				value = row.value(r)
			}
			fmt.Fprint(w, "\t", value)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
