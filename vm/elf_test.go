package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckStatic(t *testing.T) {
	dir := t.TempDir()
	source := write(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() {}\n", 0o644)
	build := func(env ...string) string {
		out := filepath.Join(dir, "program")
		cmd := exec.Command("go", "build", "-o", out, source)
		cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"), env...)
		text, err := cmd.CombinedOutput()
		require.NoError(t, err, string(text))
		return out
	}
	require.NoError(t, checkStatic(build(), "remedy"))
	require.ErrorContains(t, checkStatic(build("GOARCH=arm64"), "remedy"), "GOARCH=amd64")
	require.ErrorContains(t, checkStatic(build("GOFLAGS=-buildmode=pie"), "do this"), "do this")
	require.ErrorContains(t, checkStatic(source, "remedy"), "not a readable ELF executable")
}
