//go:build linux

package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestIsNotTheGuest(t *testing.T) {
	assert.False(t, Is())
}

func TestPack(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sub", "f"), []byte("text"), 0o644))
	require.NoError(t, os.Symlink("sub/f", filepath.Join(dir, "link")))
	require.NoError(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644))

	var b bytes.Buffer
	require.NoError(t, pack(&b, []string{dir + "/", filepath.Join(dir, "never-written")}))
	var got []string
	archive := tar.NewReader(&b)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		text, err := io.ReadAll(archive)
		require.NoError(t, err)
		name := strings.TrimPrefix("/"+header.Name, dir)
		got = append(got, name+"|"+header.Linkname+"|"+string(text))
	}
	assert.Equal(t, []string{"||", "/link|sub/f|", "/sub||", "/sub/f||text"}, got)
}

func TestUnpack(t *testing.T) {
	dir := t.TempDir()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: filepath.Join(dir, "a", "f"), Typeflag: tar.TypeReg, Size: 4, Mode: 0o640},
		{Name: filepath.Join(dir, "d"), Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: filepath.Join(dir, "link"), Typeflag: tar.TypeSymlink, Linkname: "a/f"},
	} {
		require.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := w.Write([]byte("text"))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	require.NoError(t, unpack(tar.NewReader(&b)))
	text, err := os.ReadFile(filepath.Join(dir, "link"))
	require.NoError(t, err)
	assert.Equal(t, "text", string(text))
	assert.DirExists(t, filepath.Join(dir, "d"))

	err = unpackOne(&tar.Header{Name: filepath.Join(dir, "p"), Typeflag: tar.TypeFifo}, nil)
	require.ErrorContains(t, err, "cannot unpack")
}

func TestSysctlNeedsAValue(t *testing.T) {
	require.ErrorContains(t, setSysctl("net.core.somaxconn"), "want KEY=VALUE")
	require.ErrorContains(t, setSysctl("no.such.key=1"), "sysctl no.such.key=1")
}
