//go:build linux

package main

import (
	"bytes"
	"flag"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/vm"
)

func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func TestFlags(t *testing.T) {
	o, err := parse([]string{
		"--kernel", "6.18", "--memory=2G", "--cpus", "1", "--timeout", "90s", "--accel", "tcg",
		"--tcg-thread", "single", "--env", "A=1", "--env", "HOST_VALUE", "--file", "f", "--file", "a:b:/c",
		"--sysctl", "kernel.io_uring_disabled=2", "--module", "m.ko", "--user", "1000", "--out", "o",
		"--append", "loglevel=7", "--quiet", "--update", "/bin/sh", "-c", "--quiet", "x",
	}, environment(map[string]string{"HOST_VALUE": "v w"}), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, vm.Config{
		Kernel: "6.18", Update: true, Program: "/bin/sh", Args: []string{"-c", "--quiet", "x"},
		Env: []string{"A=1", "HOST_VALUE=v w"}, UID: 1000,
		Files:   []vm.File{{Host: "f"}, {Host: "a:b", Guest: "/c"}},
		Outputs: []vm.Output{{Guest: "/out/", Host: "o"}},
		Sysctls: []string{"kernel.io_uring_disabled=2"}, Modules: []string{"m.ko"},
		Memory: "2G", CPUs: 1, Accel: vm.AccelTCG, TCGThread: vm.TCGThreadSingle,
		Append: "loglevel=7", Timeout: 90 * time.Second,
	}, o.config)
	assert.True(t, o.quiet)
}

func TestEnvironmentStandsForFlags(t *testing.T) {
	getenv := environment(map[string]string{
		"VMRUN_KERNEL": "6.1", "VMRUN_TCG_THREAD": "single", "VMRUN_TIMEOUT": "7m", "VMRUN_QUIET": "true",
		"VMRUN_ENV": "A=1,2;B=3", "VMRUN_SYSCTL": "net.ipv4.tcp_rmem=1 2 3", "VMRUN_USER": "5",
	})
	o, err := parse([]string{"--kernel", "7.0", "--env", "C=4", "/bin/sh"}, getenv, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, "7.0", o.config.Kernel, "a flag wins")
	assert.Equal(t, vm.TCGThreadSingle, o.config.TCGThread)
	assert.Equal(t, 7*time.Minute, o.config.Timeout)
	assert.Equal(t, []string{"A=1,2", "B=3", "C=4"}, o.config.Env)
	assert.Equal(t, []string{"net.ipv4.tcp_rmem=1 2 3"}, o.config.Sysctls)
	assert.Equal(t, 5, o.config.UID)
	assert.True(t, o.quiet)

	_, err = parse([]string{"/bin/sh"}, environment(map[string]string{"VMRUN_CPUS": "two"}), io.Discard)
	require.ErrorContains(t, err, `VMRUN_CPUS="two"`)
}

func TestWrongUse(t *testing.T) {
	none := environment(nil)
	_, err := parse(nil, none, io.Discard)
	require.ErrorContains(t, err, "no program to run")
	_, err = parse([]string{"no-such-program-anywhere"}, none, io.Discard)
	require.ErrorContains(t, err, "no-such-program-anywhere")
	_, err = parse([]string{"-h"}, none, io.Discard)
	require.ErrorIs(t, err, flag.ErrHelp)
	_, err = parse([]string{"--fetch-only"}, none, io.Discard)
	require.NoError(t, err, "needs no program")

	var stderr bytes.Buffer
	assert.Equal(t, statusFailure, run(nil, none, io.Discard, &stderr))
	assert.Equal(t, "vmrun: no program to run (vmrun -h explains)\n", stderr.String())
}

func TestTestdataGoesIn(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("testdata", 0o755))
	o, err := parse([]string{"/bin/sh"}, environment(nil), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, []vm.File{{Host: "testdata"}}, o.config.Files)
}

func TestOutputsOfATestBinary(t *testing.T) {
	assert.Equal(t, []vm.Output{
		{Guest: "/w/cov/", Host: "/w/cov"},
		{Guest: "/w/c.out", Host: "/w/c.out"},
		{Guest: "/pkg/cpu.out", Host: "/pkg/cpu.out"},
	}, testOutputs([]string{
		"-test.v=true", "-test.gocoverdir=/w/cov", "-test.coverprofile=/w/c.out",
		"--test.cpuprofile=cpu.out", "-test.outputdir=/pkg", "-test.trace=",
	}))
	assert.Empty(t, testOutputs([]string{"-test.cpuprofile=cpu.out", "coverprofile=/x"}))
}
