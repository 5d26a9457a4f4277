// Package result is what a run measured: the figures, their statistics, and the formats in
// which they are written.
package result

import (
	"github.com/zcrx-go/zcrx/bench/internal/load"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// Result is one run: one contestant with one case in one round.
type Result struct {
	Contestant string        `json:"contestant"`
	Baseline   string        `json:"baseline"` // the contestant that ratios are to
	Case       scenario.Case `json:"case"`
	Group      string        `json:"group,omitempty"` // of the suite
	Round      int           `json:"round"`           // from 1
	Mode       string        `json:"mode,omitempty"`  // that the library chose

	Server Usage       `json:"server"`
	Client load.Report `json:"client"`
	// ClientCPU is the CPU time of the client, OtherCPU that of everything else on the
	// machine, both in seconds for each second of the run.
	ClientCPU float64 `json:"client_cpu"`
	OtherCPU  float64 `json:"other_cpu"`

	// Error says why there are no figures.
	Error string `json:"error,omitempty"`
}

// Requests returns the number of messages in the server's measurement, which a busy machine may
// begin and end at other moments than the client's. It assumes that the rate was the same.
func (r Result) Requests() float64 {
	return float64(r.Client.Requests) / r.Client.Seconds * r.Server.Seconds
}

// Usage is what the server's process used, from the beginning to the end of the run.
type Usage struct {
	Seconds     float64 `json:"seconds"` // wall time
	Received    int64   `json:"received"`
	User        float64 `json:"user"`   // CPU seconds
	System      float64 `json:"system"` // CPU seconds
	Voluntary   int64   `json:"voluntary_switches"`
	Involuntary int64   `json:"involuntary_switches"`
	Mallocs     uint64  `json:"mallocs"`     // of Go
	Allocated   uint64  `json:"allocated"`   // bytes of Go
	PeakMemory  int64   `json:"peak_memory"` // resident bytes, since the process began
}

// CPU returns the CPU time in seconds.
func (u Usage) CPU() float64 { return u.User + u.System }
