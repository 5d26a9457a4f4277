//go:build linux && vmtest

package main

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// command returns a command that runs the boot tests' program under vmrun.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(build(t, "."), args...)
}

func build(t *testing.T, source string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "built")
	cmd := exec.Command("go", "build", "-o", out, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	return out
}

func TestStatuses(t *testing.T) {
	program := build(t, "../testdata/program")
	for want, args := range map[int][]string{
		3:             {"--quiet", program, "exit", "3"},
		statusTimeout: {"--timeout", "100ms", program, "sleep"},
		statusFailure: {"--quiet", program, "panic"},
	} {
		cmd := command(t, args...)
		text, err := cmd.CombinedOutput()
		require.Error(t, err)
		assert.Equal(t, want, cmd.ProcessState.ExitCode(), string(text))
	}
}

func TestSignalEndsVmrunAndQEMU(t *testing.T) {
	cmd := command(t, "--quiet", build(t, "../testdata/program"), "sleep")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "sleeping\n", line)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	assert.Equal(t, statusSignal+int(syscall.SIGTERM), cmd.ProcessState.ExitCode())
}

func TestSIGQUITAsksWhere(t *testing.T) {
	cmd := command(t, "--quiet", build(t, "../testdata/program"), "hang")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "hanging\n", line)
	require.NoError(t, cmd.Process.Signal(syscall.SIGQUIT))
	require.Error(t, cmd.Wait())
	assert.Equal(t, statusSignal+int(syscall.SIGQUIT), cmd.ProcessState.ExitCode())
	assert.Contains(t, stderr.String(), "vmrun: where the guest hangs")
	assert.Contains(t, stderr.String(), "main.hangsHere()")
}

func TestGoTestExec(t *testing.T) {
	profile := filepath.Join(t.TempDir(), "cover.out")
	cmd := exec.Command("go", "test", "-count=1", "-v", "-exec", build(t, "."), "-coverprofile", profile, "../wire")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "VMRUN_QUIET=1")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, string(text))
	assert.Contains(t, string(text), "--- PASS: TestFramesKeepOrderAndContent")
	assert.FileExists(t, profile)
}
