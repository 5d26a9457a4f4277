package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/zcrx-go/zcrx"
)

// What --json prints is described in docs/json.md: keep them in step. A field
// that goes or changes its meaning makes a new schema version; a new one does
// not.
const schemaVersion = 1

// header begins every object.
type header struct {
	Schema  int    `json:"schema"`
	Command string `json:"command"`
}

// modeReport tells how the bytes came into which buffers.
type modeReport struct {
	Kernel     string `json:"kernel"`
	Mode       string `json:"mode"`
	ModeReason string `json:"mode_reason"`
	NumBuffers int    `json:"num_buffers"`
	BufferSize int    `json:"buffer_size"`
}

func (e *engine) report() modeReport {
	features, _ := zcrx.ProbeFeatures() // the kernel's release is there in any case
	return modeReport{
		Kernel: features.Kernel,
		Mode:   e.Mode().String(), ModeReason: e.reason(),
		NumBuffers: e.pool.NumBuffers(), BufferSize: e.pool.BufferSize(),
	}
}

// transferReport is one direction of a stream.
type transferReport struct {
	Bytes          int64   `json:"bytes"`
	SHA256         string  `json:"sha256"`
	Seconds        float64 `json:"seconds"`
	BytesPerSecond float64 `json:"bytes_per_second"`
}

func (t *tally) report() transferReport {
	return transferReport{Bytes: t.bytes, SHA256: t.sha256(), Seconds: t.seconds(), BytesPerSecond: t.perSecond()}
}

// connectionReport is what recv prints for every connection.
type connectionReport struct {
	header
	modeReport
	Peer string `json:"peer"`
	transferReport
	OK    bool           `json:"ok"`
	Error string         `json:"error,omitempty"`
	Pool  zcrx.PoolStats `json:"pool"`
	Loop  zcrx.LoopStats `json:"loop"`

	Device *placement `json:"device,omitempty"`
}

func (r connectionReport) print(out io.Writer) {
	fmt.Fprintf(out, "%s: %d bytes, sha256 %s, %s", r.Peer, r.Bytes, r.SHA256, speed(r.BytesPerSecond, r.Seconds))
	if r.Device != nil {
		fmt.Fprintf(out, " (%v)", r.Device)
	}
	if !r.OK {
		fmt.Fprintf(out, ": %s", r.Error)
	}
	fmt.Fprintln(out)
}

// sendReport is what send prints.
type sendReport struct {
	header
	Peer string `json:"peer"`
	transferReport
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

func (r sendReport) print(out io.Writer) {
	fmt.Fprintf(out, "%d bytes, sha256 %s, %s\n", r.Bytes, r.SHA256, speed(r.BytesPerSecond, r.Seconds))
}

// demoReport is what demo prints.
type demoReport struct {
	header
	modeReport
	BytesSent      int64   `json:"bytes_sent"`
	BytesReceived  int64   `json:"bytes_received"`
	SHA256Sent     string  `json:"sha256_sent"`
	SHA256Received string  `json:"sha256_received"`
	Seconds        float64 `json:"seconds"`
	BytesPerSecond float64 `json:"bytes_per_second"`

	Leased        uint64         `json:"leased"`
	Returned      uint64         `json:"returned"`
	Outstanding   int            `json:"outstanding"`
	Completions   uint64         `json:"completions"`
	Flushes       uint64         `json:"flushes"`
	Rearms        uint64         `json:"rearms"`
	RearmsByCause rearms         `json:"rearms_by_cause"`
	CopiedBytes   uint64         `json:"copied_bytes"`
	Pool          zcrx.PoolStats `json:"pool"`
	Loop          zcrx.LoopStats `json:"loop"`
	Device        *placement     `json:"device,omitempty"`

	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// rearms are the receives that the kernel ended and the library armed again.
type rearms struct {
	NoBuffer  uint64 `json:"no_buffer"`
	QueueFull uint64 `json:"queue_full"`
	Other     uint64 `json:"other"`
}

func (r rearms) total() uint64 { return r.NoBuffer + r.QueueFull + r.Other }

func rearmsOf(s zcrx.PoolStats) rearms {
	return rearms{NoBuffer: s.RearmedNoBuffer, QueueFull: s.RearmedQueueFull, Other: s.RearmedOther}
}

// count fills in what pool and loop counted.
func (r *demoReport) count(pool zcrx.PoolStats, loop zcrx.LoopStats) {
	r.Pool, r.Loop = pool, loop
	r.Leased = pool.Completions // a data completion is a lease
	r.Returned, r.Outstanding = pool.Returned, pool.Outstanding
	r.Completions, r.Flushes, r.CopiedBytes = pool.Completions, pool.Flushes, pool.CopiedBytes
	r.RearmsByCause = rearmsOf(pool)
	r.Rearms = r.RearmsByCause.total()
}

func (r demoReport) print(out io.Writer) {
	t := newGrid(out)
	t.row("kernel", r.Kernel)
	t.row("mode", fmt.Sprintf("%s (%s)", r.Mode, r.ModeReason))
	t.row("sent", fmt.Sprintf("%d bytes, sha256 %s", r.BytesSent, r.SHA256Sent))
	t.row("received", fmt.Sprintf("%d bytes, sha256 %s", r.BytesReceived, r.SHA256Received))
	t.row("throughput", speed(r.BytesPerSecond, r.Seconds))
	t.row("buffers", fmt.Sprintf("%d of %d bytes", r.NumBuffers, r.BufferSize))
	t.row("leases", fmt.Sprintf("%d leased, %d returned, outstanding %d", r.Leased, r.Returned, r.Outstanding))
	t.row("completions", fmt.Sprintf("%d", r.Completions))
	t.row("refill flushes", fmt.Sprintf("%d", r.Flushes))
	t.row("re-arms", fmt.Sprintf("%d (no buffer %d, queue full %d, other %d)",
		r.Rearms, r.RearmsByCause.NoBuffer, r.RearmsByCause.QueueFull, r.RearmsByCause.Other))
	t.row("copied by kernel", fmt.Sprintf("%d bytes", r.CopiedBytes-r.Pool.RescuedBytes))
	if n := r.Pool.RescuedBytes; n > 0 {
		t.row("rescued", fmt.Sprintf("%d bytes that the kernel had no buffer to copy into", n))
	}
	if r.Device != nil {
		t.row("device", r.Device.String())
	}
	for _, warning := range r.Pool.Warnings {
		t.row("warning", warning)
	}
	if r.Mode != zcrx.Socket.String() {
		t.row("loop", fmt.Sprintf("%d turns, %d calls, %d CQ overflows", r.Loop.Turns, r.Loop.Calls, r.Loop.Overflows))
	}
	t.flush()
}

func speed(bytesPerSecond, seconds float64) string {
	return fmt.Sprintf("%.1f MB/s (%.2f Gbit/s) in %.3f s", bytesPerSecond/1e6, bytesPerSecond*8/1e9, seconds)
}

// printable is a report for a person; as JSON it is for programs.
type printable interface{ print(out io.Writer) }

// emit prints a report, which is the command's result: failing to is an error.
func emit(out io.Writer, asJSON bool, r printable) error {
	w := &checkedWriter{w: out}
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(r) // nothing in a report cannot be encoded, so it fails where w does
	} else {
		r.print(w)
	}
	return w.err
}

// checkedWriter remembers the first error.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	if c.err == nil {
		c.err = err
	}
	return n, err
}
