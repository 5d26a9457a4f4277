package vm

import (
	"io"
	"os"
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
