//go:build linux && cgo

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain runs in the top of the repository, as the command does.
func TestMain(m *testing.M) {
	if err := os.Chdir("../.."); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// TestFilesAreFresh fails if the files that uringgen writes are not what the pinned headers
// say, and if the table of liburing's functions has a gap. "make generate" writes them.
func TestFilesAreFresh(t *testing.T) {
	require.NoError(t, run(&bytes.Buffer{}, true, ""))
}

func TestPinnedHeaders(t *testing.T) {
	a, err := read(pinned)
	require.NoError(t, err)
	count := map[kind]int{}
	for _, f := range a.functions {
		count[f.kind]++
	}
	assert.Equal(t, map[kind]int{external: 82, inline: 149, localInline: 4, macro: 2}, count)
	assert.Len(t, a.structs, 44)
	assert.Len(t, preps(a), 103)
	assert.Len(t, callable(a), 82)
	sqe := a.structs[0]
	assert.Equal(t, "io_uring_sqe", sqe.name)
	assert.EqualValues(t, 64, sqe.size)
	offsets := map[string]uint64{}
	sqe.each("", func(path string, f *field) { offsets[path] = f.offset })
	for path, want := range map[string]uint64{"user_data": 32, "cmd_op": 8, "optname": 20, "addr_len": 44, "optval": 48} {
		assert.Equal(t, want, offsets[path], path)
	}
}

// changedHeaders returns a folder of headers: the pinned ones, with a text instead of another.
func changedHeaders(t *testing.T, old, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(pinned)))
	name := filepath.Join(dir, "liburing.h")
	raw, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Contains(t, string(raw), old)
	require.NoError(t, os.WriteFile(name, []byte(strings.Replace(string(raw), old, text, 1)), 0o600))
	return dir
}

const nopPrep = "IOURINGINLINE void io_uring_prep_nop(struct io_uring_sqe *sqe)"

// A function more, a function less and another declaration are found.
func TestTableFindsDrift(t *testing.T) {
	c, err := readCode("uring")
	require.NoError(t, err)
	reasons, err := readReasons("tools/uringgen/reasons.txt")
	require.NoError(t, err)
	wrong := func(old, text string) string {
		a, err := read(changedHeaders(t, old, text))
		require.NoError(t, err)
		_, err = parity(a, c, reasons)
		require.Error(t, err)
		return err.Error()
	}
	assert.Contains(t, wrong(nopPrep, "IOURINGINLINE void io_uring_prep_more(struct io_uring_sqe *sqe)\n{\n}\n"+nopPrep),
		"io_uring_prep_more: no Go form claims it")
	assert.Contains(t, wrong("int io_uring_submit(struct io_uring *ring)", "int io_uring_submit(struct io_uring *ring, int how)"),
		"Ring.SubmitOnly implements")
	assert.Contains(t, wrong("int io_uring_get_events(struct io_uring *ring) LIBURING_NOEXCEPT;", ""),
		"Ring.GetEvents implements io_uring_get_events, which liburing does not have")
	a, err := read(pinned)
	require.NoError(t, err)
	reasons["io_uring_gone"] = "it was there once"
	reasons["io_uring_submit"] = "nobody needs it"
	delete(c.tests, "PrepStatx")
	_, err = parity(a, c, reasons)
	require.ErrorContains(t, err, "io_uring_gone: liburing has no such function")
	require.ErrorContains(t, err, "io_uring_submit: Ring.SubmitOnly claims it, but there is a reason")
	require.ErrorContains(t, err, "IORING_OP_STATX: no test calls PrepStatx")
}

func TestDifference(t *testing.T) {
	var out bytes.Buffer
	other := changedHeaders(t, "int io_uring_submit(struct io_uring *ring)", "int io_uring_submit(struct io_uring *ring, int how)")
	require.NoError(t, run(&out, false, other))
	assert.Equal(t, "liburing 2.15 to 2.15\n"+
		"~ function io_uring_submit: int io_uring_submit(struct io_uring *ring, int how) -> int io_uring_submit(struct io_uring *ring)\n", out.String())
	require.Error(t, run(&out, false, t.TempDir()), "no headers")
}

func TestStructs(t *testing.T) {
	all, err := structures(`struct one { __u8 a; union { __u16 b[2]; struct { __u8 c, d; } e; } __attribute__((packed)); };`)
	require.ErrorContains(t, err, "several fields in one declaration")
	assert.Empty(t, all)
	all, err = structures(`struct one { __u8 a; union { __u16 b[2]; struct two *p; } __attribute__((packed)); __u8 rest[]; };
		struct three { struct one in; };`)
	require.NoError(t, err)
	require.Len(t, all, 2)
	assert.Equal(t, "b", all[0].fields[1].inner.fields[0].name)
	assert.Equal(t, "2", all[0].fields[1].inner.fields[0].array)
	assert.True(t, all[0].fields[2].isArray)
	assert.Equal(t, "struct one", all[1].fields[0].ctype)
	_, err = structures("struct one { __u8 a;")
	require.ErrorContains(t, err, "no end")
}
