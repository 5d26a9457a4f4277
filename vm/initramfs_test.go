package vm

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/u-root/u-root/pkg/cpio"
)

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	initPath := write(t, filepath.Join(dir, "some-init"), "I am init", 0o644)
	b := write(t, filepath.Join(dir, "b.ko"), "module b", 0o600)
	a := write(t, filepath.Join(dir, "a.ko"), "module a", 0o600)
	name := filepath.Join(dir, "initramfs")
	require.NoError(t, writeInitramfs(name, initPath, []string{b, a}))

	file, err := os.Open(name)
	require.NoError(t, err)
	defer file.Close()
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(file))
	require.NoError(t, err)
	got := make(map[string]cpio.Record)
	for _, r := range records {
		got[r.Name] = r
	}
	assert.Equal(t, uint64(cpio.S_IFREG|0o755), got["init"].Mode, "init is executable whatever its file is")
	assert.Equal(t, "I am init", content(t, got["init"]))
	assert.Equal(t, "module b", content(t, got["modules/00-b.ko"]), "in the order given")
	assert.Equal(t, "module a", content(t, got["modules/01-a.ko"]))
	console := got["dev/console"]
	assert.Equal(t, []uint64{cpio.S_IFCHR | 0o600, 5, 1}, []uint64{console.Mode, console.Rmajor, console.Rminor})

	require.ErrorIs(t, writeInitramfs(name, filepath.Join(dir, "none"), nil), os.ErrNotExist)
}

func content(t *testing.T, r cpio.Record) string {
	t.Helper()
	text, err := io.ReadAll(io.NewSectionReader(r, 0, int64(r.FileSize)))
	require.NoError(t, err)
	return string(text)
}

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
