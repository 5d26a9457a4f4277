package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/zcrx-go/zcrx"
)

// probeReport is what probe prints.
type probeReport struct {
	header
	Kernel   string          `json:"kernel"`
	Liburing string          `json:"liburing"` // empty without cgo
	Features []featureReport `json:"features"`
	Device   *deviceReport   `json:"device,omitempty"`
	Modes    []modeVerdict   `json:"modes"`

	RefillHeaderSize  int `json:"refill_header_size"`
	RefillHeaderAlign int `json:"refill_header_align"`
	EventTypes        int `json:"event_types"`
	EventStatsSize    int `json:"event_stats_size"`
	EventStatsAlign   int `json:"event_stats_align"`
}

// verdict is yes, no or unknown, and why.
type verdict struct {
	State  string `json:"state"`
	Layer  string `json:"layer,omitempty"`
	Seen   string `json:"seen,omitempty"`
	Remedy string `json:"remedy,omitempty"`
}

type featureReport struct {
	Name      string `json:"name"`
	MinKernel string `json:"min_kernel"`
	verdict
}

type deviceReport struct {
	Interface string `json:"interface"`
	Queue     int    `json:"queue"`
	verdict
	Warnings []string `json:"warnings,omitempty"` // what would not fit in a pool there
}

type modeVerdict struct {
	Mode      string `json:"mode"`
	Interface string `json:"interface,omitempty"` // on which zerocopy works
	verdict
}

// judge turns an error of a probe into a verdict.
func judge(err error) verdict {
	if err == nil {
		return verdict{State: "yes"}
	}
	unsupported, ok := errors.AsType[*zcrx.UnsupportedError](err)
	if !ok {
		busy, ok := errors.AsType[*zcrx.KernelError](err)
		if !ok || errors.Is(err, zcrx.ErrInconclusive) {
			return verdict{State: "unknown", Seen: errorText(err)}
		}
		return verdict{State: "no", Layer: zcrx.LayerDevice.String(), Seen: busy.Meaning, Remedy: busy.Remedy}
	}
	v := verdict{State: "no", Layer: unsupported.Layer.String(), Remedy: unsupported.Remedy}
	if unsupported.Err != nil {
		v.Seen = errorText(unsupported.Err)
	}
	return v
}

func (m *machine) report() probeReport {
	fs := m.features
	r := probeReport{
		header: header{schemaVersion, "probe"}, Kernel: fs.Kernel, Liburing: fs.Liburing,
		RefillHeaderSize: fs.RefillHeaderSize, RefillHeaderAlign: fs.RefillHeaderAlign,
		EventTypes: fs.EventTypes, EventStatsSize: fs.EventStatsSize, EventStatsAlign: fs.EventStatsAlign,
	}
	for _, f := range zcrx.AllFeatures() {
		r.Features = append(r.Features, featureReport{Name: f.String(), MinKernel: f.MinKernel(), verdict: judge(fs.Have(f))})
	}
	if m.iface != "" {
		r.Device = &deviceReport{Interface: m.iface, Queue: m.queue, verdict: judge(m.device), Warnings: m.warnings}
	}
	for _, mode := range probedModes {
		v := modeVerdict{Mode: mode.String(), verdict: judge(m.modes[mode])}
		if mode == zcrx.ZeroCopy && v.State == "yes" {
			if v.Interface = m.iface; v.Interface == "" {
				v.Interface = m.found
			}
		}
		r.Modes = append(r.Modes, v)
	}
	return r
}

func (r probeReport) print(out io.Writer) {
	liburing := r.Liburing
	if liburing == "" {
		liburing = "none"
	}
	fmt.Fprintf(out, "kernel %s, liburing %s\n\n", r.Kernel, liburing)
	features := newGrid(out)
	features.row("FEATURE", "HERE", "SINCE", "WHY NOT")
	for _, f := range r.Features {
		features.row(f.Name, f.State, f.MinKernel, f.why())
	}
	features.flush()
	fmt.Fprintln(out)
	if d := r.Device; d != nil {
		device := newGrid(out)
		device.row("DEVICE", "WORKS", "WHY NOT")
		device.row(fmt.Sprintf("%s queue %d", d.Interface, d.Queue), d.State, d.why())
		device.flush()
		for _, warning := range d.Warnings {
			fmt.Fprintln(out, "warning:", warning)
		}
		fmt.Fprintln(out)
	}
	modes := newGrid(out)
	modes.row("MODE", "WORKS", "WHY NOT")
	for _, m := range r.Modes {
		why := m.why()
		if m.Interface != "" {
			why = "(on " + m.Interface + ")"
		}
		modes.row(m.Mode, m.State, why)
	}
	modes.flush()
}

// why names the layer, what was seen there and the remedy.
func (v verdict) why() string {
	var parts []string
	for _, part := range []string{v.Seen, v.Remedy} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	text := strings.Join(parts, "; ")
	if v.Layer != "" {
		text = v.Layer + ": " + text
	}
	return text
}
