package runner

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/bench/internal/contestant"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

func TestBusyTicks(t *testing.T) {
	busy, err := busyTicks("cpu  100 20 30 4000 500 6 7 8 90 0")
	require.NoError(t, err)
	assert.InDelta(t, 1.71, busy, 1e-9)
	for _, line := range []string{"", "cpu 1 2 3", "cpu 1 2 3 4 5 6 7 x", "cpu0 1 2 3 4 5 6 7 8"} {
		_, err := busyTicks(line)
		assert.ErrorContains(t, err, "/proc/stat begins with")
	}
	_, err = machineCPU()
	assert.NoError(t, err)
}

func TestPeakMemory(t *testing.T) {
	n, err := peakMemory()
	require.NoError(t, err)
	assert.Greater(t, n, int64(1<<20))
}

func TestTailKeepsTheEnd(t *testing.T) {
	var log tail
	for range 3 {
		_, err := log.Write([]byte(strings.Repeat("a", maxTail)))
		require.NoError(t, err)
	}
	_, err := log.Write([]byte("the end\n"))
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(log.String(), "the end"))
	assert.Len(t, log.kept, maxTail)
}

// A program that has no roles is an error with what it printed, and not the end of the others.
func TestProgramsThatFail(t *testing.T) {
	net, err := contestant.Find([]string{"net"})
	require.NoError(t, err)
	k := scenario.Case{Workload: scenario.Echo, Connections: 1, Size: 1}
	for program, want := range map[string]string{"false": "serve process: ", "ls": "cannot access 'serve'", "/does/not/exist": "no such file"} {
		r, err := Run(context.Background(), Options{Program: program}, net[0], k)
		require.NoError(t, err)
		assert.Contains(t, r.Error, want)
	}
}
