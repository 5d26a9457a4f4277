package vm

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/vm/internal/wire"
)

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
	require.NoError(t, os.WriteFile(name, []byte(text), mode))
	return name
}

func TestSendJob(t *testing.T) {
	dir := t.TempDir()
	program := write(t, filepath.Join(dir, "p"), "program", 0o755)
	write(t, filepath.Join(dir, "data", "sub", "f"), "content", 0o600)
	require.NoError(t, os.Symlink("sub/f", filepath.Join(dir, "data", "link")))

	var line bytes.Buffer
	require.NoError(t, sendJob(&line, wire.Job{Path: "/bin/p"}, []File{
		{Host: program, Guest: "/bin/p"},
		{Host: filepath.Join(dir, "data"), Guest: "/guest/data"},
	}))

	in := bufio.NewReader(&line)
	first, err := in.ReadBytes('\n')
	require.NoError(t, err)
	var job wire.Job
	require.NoError(t, json.Unmarshal(first, &job))
	assert.Equal(t, "/bin/p", job.Path)

	var got []string
	archive := tar.NewReader(in)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		assert.Zero(t, header.Uid)
		text, err := io.ReadAll(archive)
		require.NoError(t, err)
		got = append(got, header.Name+"|"+header.Linkname+"|"+string(text))
	}
	assert.Equal(t, []string{
		"/bin/p||program",
		"/guest/data||",
		"/guest/data/link|sub/f|",
		"/guest/data/sub||",
		"/guest/data/sub/f||content",
	}, got)
}

func TestSendJobOfMissingFile(t *testing.T) {
	err := sendJob(io.Discard, wire.Job{}, []File{{Host: filepath.Join(t.TempDir(), "none")}})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// archive returns an archive as a guest sends it.
func archive(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		h.Mode = 0o755
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := w.Write([]byte(h.Name))
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return &b
}

func TestReceiveOutputs(t *testing.T) {
	dir := t.TempDir()
	outputs := []Output{
		{Guest: "/out/", Host: filepath.Join(dir, "new", "folder")},
		{Guest: "/tmp/cover.out", Host: filepath.Join(dir, "cover.out")},
	}
	require.NoError(t, receiveOutputs(archive(t,
		tar.Header{Name: "out/", Typeflag: tar.TypeDir},
		tar.Header{Name: "out/a/", Typeflag: tar.TypeDir},
		tar.Header{Name: "out/a/f", Typeflag: tar.TypeReg},
		tar.Header{Name: "out/link", Linkname: "a/f", Typeflag: tar.TypeSymlink},
		tar.Header{Name: "tmp/cover.out", Typeflag: tar.TypeReg},
	), outputs))
	for name, want := range map[string]string{
		"new/folder/a/f": "out/a/f", "new/folder/link": "out/a/f", "cover.out": "tmp/cover.out",
	} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(text))
	}
}

func TestReceiveOutputsStaysInside(t *testing.T) {
	dir := t.TempDir()
	outputs := []Output{{Guest: "/out/", Host: filepath.Join(dir, "in")}}
	require.ErrorContains(t, receiveOutputs(archive(t,
		tar.Header{Name: "out/../etc/passwd", Typeflag: tar.TypeReg},
	), outputs), "belongs to no output")
	require.Error(t, receiveOutputs(archive(t,
		tar.Header{Name: "out/up", Linkname: "..", Typeflag: tar.TypeSymlink},
		tar.Header{Name: "out/up/escaped", Typeflag: tar.TypeReg},
	), outputs))
	assert.NoFileExists(t, filepath.Join(dir, "escaped"))
	require.ErrorContains(t, receiveOutputs(archive(t,
		tar.Header{Name: "out/pipe", Typeflag: tar.TypeFifo},
	), outputs), "unexpected type")
}
