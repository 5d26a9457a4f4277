package report

import (
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/bench/internal/load"
	"github.com/zcrx-go/zcrx/bench/internal/result"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// results returns two contestants over three numbers of connections, of which one fails once.
func results() []result.Result {
	var list []result.Result
	for round := 1; round <= 3; round++ {
		for _, n := range []int{1, 16, 64} {
			for i, name := range []string{"net", "handler"} {
				r := result.Result{
					Contestant: name, Baseline: "net", Group: "Echo of 100 bytes", Round: round,
					Case:   scenario.Case{Workload: scenario.Echo, Connections: n, Size: 100},
					Server: result.Usage{Seconds: 1, User: 0.5, System: 0.5},
					Client: load.Report{Requests: int64(1000 * (i + 1)), Seconds: 1, Latency: &load.Latency{P50: 1000, P90: 2000, P99: 9000, P999: 90000}},
				}
				if n == 64 && i == 1 && round == 2 {
					r = result.Result{Contestant: name, Baseline: "net", Group: r.Group, Round: round, Case: r.Case, Error: "first\nsecond"}
				}
				list = append(list, r)
			}
		}
	}
	return list
}

func write(t *testing.T, page string) (string, error) {
	folder := t.TempDir()
	path := filepath.Join(folder, "page.md")
	require.NoError(t, os.WriteFile(path, []byte(page), 0o600))
	require.NoError(t, os.MkdirAll(filepath.Join(folder, "plots"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(folder, "plots", "old.svg"), nil, 0o600))
	err := Write(path, filepath.Join(folder, "plots"), result.Machine{Kernel: "6.18", CPUs: 2, LoadAverage: "0.1 0 0", Note: "A note."}, results())
	text, rerr := os.ReadFile(path)
	require.NoError(t, rerr)
	return string(text), err
}

func TestWriteReplacesTheSection(t *testing.T) {
	text, err := write(t, "before\n"+Begin+"\nold\n"+End+"\nafter\n")
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(text, "before\n"+Begin))
	assert.True(t, strings.HasSuffix(text, End+"\nafter\n"))
	assert.NotContains(t, text, "old")
	assert.NotContains(t, text, "not quiet")
	assert.Contains(t, text, "A note.")
	assert.Contains(t, text, "### Echo of 100 bytes\n")
	assert.Contains(t, text, "| rate, requests/s | 1 connection | 16 connections | 64 connections |\n|---|---|---|---|\n"+
		"| net | 1000 | 1000 | 1000 |\n| handler | 2000 **2.00** (2.00 to 2.00) |")
	assert.Contains(t, text, "handler failed in 1 of its runs with 64 connections: first; second\n")
}

func TestWriteDrawsPlots(t *testing.T) {
	for _, g := range groupsOf(results()) {
		drawn, err := plotsOf(g)
		require.NoError(t, err)
		var names []string
		for _, d := range drawn {
			names = append(names, d.name)
			assert.Contains(t, string(d.svg), ">handler</text>")
			decoder := xml.NewDecoder(strings.NewReader(string(d.svg)))
			for err = error(nil); err == nil; {
				_, err = decoder.Token()
			}
			assert.ErrorIs(t, err, io.EOF, d.name)
		}
		assert.Equal(t, []string{"echo-of-100-bytes-rate.svg", "echo-of-100-bytes-cpu.svg", "echo-of-100-bytes-latency.svg"}, names)
	}
}

func TestWriteRemovesOldPlots(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, writePlots(folder, map[string][]byte{"a.svg": []byte("a"), "b.svg": nil}))
	require.NoError(t, writePlots(folder, map[string][]byte{"a.svg": []byte("c")}))
	left, err := filepath.Glob(filepath.Join(folder, "*"))
	require.NoError(t, err)
	assert.Equal(t, []string{filepath.Join(folder, "a.svg")}, left)
}

func TestPagesWithoutTheMarkersAreLeftAlone(t *testing.T) {
	for _, page := range []string{"", Begin, End + Begin, Begin + Begin + End, Begin + End + Begin + End, Begin + End + End} {
		text, err := write(t, page)
		assert.ErrorContains(t, err, "it must have the lines "+Begin+" and "+End+" once, in this order", page)
		assert.Equal(t, page, text)
	}
}
