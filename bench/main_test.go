package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/report"
	"github.com/zcrx-go/zcrx/bench/internal/result"
	"github.com/zcrx-go/zcrx/bench/internal/runner"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// The test binary has the roles of the program.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && slices.Contains([]string{runner.ServerRole, runner.ClientRole}, os.Args[1]) {
		main()
		return
	}
	// With the race detector each process would otherwise wait for a second at its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// tooShort is the error of a run in which nothing came back: on a busy machine a short one.
const tooShort = "measure for longer"

// bench runs the program and returns its exit status and what it printed.
func bench(t *testing.T, args ...string) (int, string, string) {
	var stdout, stderr bytes.Buffer
	status := execute(t.Context(), args, &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

// Each contestant of the suite completes each of its workloads, and the results have what the
// tables and the plots are made of.
func TestEachContestantCompletesItsWorkloads(t *testing.T) {
	folder := t.TempDir()
	const some = "net,c-sqe,handler,fiber"
	for _, args := range [][]string{
		{"--workload", "bulk", "--size", "4096"},
		{"--workload", "bulk", "--buffer-size", "16384", "--contestants", some},
		{"--workload", "echo"},
		{"--workload", "echo", "--rate", "1000"},
		{"--workload", "echo", "--size", "65536", "--contestants", some},
		{"--workload", "churn"},
		{"--workload", "http"},
	} {
		name := strings.Join(args, " ")
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(folder, "results")
			args = slices.Concat([]string{"run"}, args, []string{"--connections", "2", "--rounds", "1", "--threads", "1",
				"--warmup", "0s", "--results", file, "--benchstat", file + ".txt"})
			status, out, errors := 1, "", tooShort
			for d := 50 * time.Millisecond; strings.Contains(out+errors, tooShort) && d < 20*time.Second; d *= 4 {
				status, out, errors = bench(t, append(args, "--duration", d.String())...)
			}
			require.Equal(t, 0, status, out+errors)

			machine, results := read(t, file)
			assert.Equal(t, 1, machine.Rounds)
			workload, err := scenario.ParseWorkload(args[2])
			require.NoError(t, err)
			if slices.Contains(args, some) {
				require.Len(t, results, strings.Count(some, ",")+1)
			} else {
				require.Len(t, results, len(contestant.Suite(workload)))
			}
			for _, r := range results {
				checkFigures(t, r)
				assert.Contains(t, out, "\n"+r.Contestant+" ")
			}
			text, err := os.ReadFile(file + ".txt")
			require.NoError(t, err)
			assert.Equal(t, len(results), strings.Count(string(text), "\nBenchmark"))
		})
	}
}

func read(t *testing.T, file string) (result.Machine, []result.Result) {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	machine, results, err := result.Read(f)
	require.NoError(t, err)
	return machine, results
}

func checkFigures(t *testing.T, r result.Result) {
	assert.Empty(t, r.Error, r.Contestant)
	assert.Positive(t, result.Rate.Of(r), r.Contestant)
	assert.Positive(t, r.Server.PeakMemory, r.Contestant)
	assert.GreaterOrEqual(t, r.Server.CPU(), 0.0, r.Contestant)
	if r.Case.Workload == scenario.Bulk {
		assert.Nil(t, r.Client.Latency)
		return
	}
	assert.Positive(t, result.P50.Of(r), r.Contestant)
	assert.LessOrEqual(t, result.P99.Of(r), result.P999.Of(r), r.Contestant)
}

func TestSuiteAndReport(t *testing.T) {
	folder := t.TempDir()
	file, page := filepath.Join(folder, "results"), filepath.Join(folder, "page.md")
	require.NoError(t, os.WriteFile(page, []byte("before\n"+report.Begin+"\nold\n"+report.End+"\nafter\n"), 0o600))
	contestants, match := "net,handler,fasthttp-net,fasthttp-fiber", "^One exchange|^HTTP|larger messages"
	_, runs := suiteJobs(strings.Split(contestants, ","), regexp.MustCompile(match))
	status, out, errors := 1, "", tooShort
	for budget := time.Duration(runs) * minDuration; strings.Contains(out+errors, tooShort) && budget < time.Hour; budget *= 4 {
		status, out, errors = bench(t, "suite", "--contestants", contestants, "--match", match, "--rounds", "1", "--warmup", "0s",
			"--budget", budget.String(), "--results", file)
	}
	require.Equal(t, 0, status, out+errors)
	status, _, errors = bench(t, "report", file, "--page", page, "--plots", filepath.Join(folder, "plots"))
	require.Equal(t, 0, status, errors)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Equal(t, 3, strings.Count(string(text), "\n### "))
	plots, err := filepath.Glob(filepath.Join(folder, "plots", "*.svg"))
	require.NoError(t, err)
	assert.Len(t, plots, 7)
	for _, plot := range plots {
		assert.Contains(t, string(text), "(plots/"+filepath.Base(plot)+")")
	}
}

func TestSpenderKeepsTheDeadline(t *testing.T) {
	now := time.Unix(0, 0)
	s := &spender{deadline: now.Add(100 * time.Second), runs: 50, warmup: 200 * time.Millisecond}
	assert.Equal(t, 2*time.Second-200*time.Millisecond-firstOverhead, s.next(now, 10))
	// Each run took a second longer than planned.
	now = now.Add(10 * (2*time.Second - firstOverhead + time.Second))
	left := s.deadline.Sub(now)
	assert.Equal(t, left/40-1200*time.Millisecond, s.next(now, 39))
	assert.Equal(t, minDuration, s.next(s.deadline, 1))
}

func TestBadFlagsAreRefused(t *testing.T) {
	for want, args := range map[string][]string{
		`workload "ech" is unknown`:                                                 {"run", "--workload", "ech"},
		`contestant "nett" is unknown`:                                              {"run", "--contestants", "nett"},
		"connections 0 is out of range: allowed are 1 to 10000":                     {"run", "--connections", "0"},
		"--rounds 0 is out of range: allowed are 1 to 1000":                         {"run", "--rounds", "0"},
		"--threads 0 is out of range: allowed are 1 to 1024":                        {"run", "--threads", "0"},
		"--duration 0s is out of range: allowed are 1ms to 1h":                      {"run", "--duration", "0s"},
		"--warmup -1s is out of range: allowed are 0s to 1h":                        {"run", "--warmup", "-1s"},
		"--queues [1] needs --interface":                                            {"run", "--queues", "1"},
		"--interface eth0 needs --queues":                                           {"run", "--interface", "eth0"},
		"--budget 1s is out of range: allowed are":                                  {"suite", "--budget", "1s"},
		`--contestants [read-zerocopy] --match "": nothing in the suite is of both`: {"suite", "--contestants", "read-zerocopy"},
		"--match: error parsing regexp":                                             {"suite", "--match", "("},
		"accepts 1 arg(s), received 0":                                              {"report"},
	} {
		status, _, errors := bench(t, args...)
		assert.Equal(t, 1, status)
		assert.Contains(t, errors, want)
	}
}

// A contestant that cannot start is a failure with its reason, and the others are measured.
func TestFailuresAreReported(t *testing.T) {
	status, out, errors := bench(t, "run", "--contestants", "read-zerocopy,net", "--connections", "1", "--rounds", "1",
		"--warmup", "0s", "--duration", "50ms")
	assert.Equal(t, 1, status)
	assert.Contains(t, out, "read-zerocopy failed: contestant read-zerocopy: zcnet: mode zerocopy needs Config.Interface and Config.Queues")
	assert.Contains(t, errors, "failed: the tables say why")
	assert.Contains(t, out, "\nnet ")
}

func TestTheEndOfTheContextEndsARun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var stderr bytes.Buffer
	cancel()
	assert.Equal(t, 1, execute(ctx, []string{"run", "--contestants", "net", "--duration", "1h"}, &stderr, &stderr))
	assert.Contains(t, stderr.String(), context.Canceled.Error())
}

func TestList(t *testing.T) {
	status, out, _ := bench(t, "list")
	assert.Equal(t, 0, status)
	for _, name := range contestant.Names() {
		assert.Contains(t, out, name+" ")
	}
}
