package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// receiveInto has recv -o write text to a file.
func receiveInto(t *testing.T, file, text string) {
	t.Helper()
	recv := startRecv(t, "--mode", "socket", "-o", file, "--once")
	start(t, strings.NewReader(text), "send", recv.address(), "-").succeed()
	recv.succeed()
}

// TestOutputKeepsASymbolicLink writes to a symbolic link: the file that it leads to
// gets the bytes, and the link stays. (-o /dev/stdout with standard output in a file is such
// a link: root replaces /dev/stdout itself.)
func TestOutputKeepsASymbolicLink(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	require.NoError(t, os.WriteFile(target, []byte("before"), 0o600))
	require.NoError(t, os.Symlink(target, link))
	receiveInto(t, link, "after")
	info, err := os.Lstat(link)
	require.NoError(t, err)
	assert.NotZero(t, info.Mode()&os.ModeSymlink, "the link is a file now")
	text, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, "after", string(text))
}

// TestOutputKeepsPermissions overwrites a file that only its owner may read.
func TestOutputKeepsPermissions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
	require.NoError(t, os.Chmod(file, 0o600))
	receiveInto(t, file, "after")
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// endsSoon waits a few seconds for a command that was stopped. release lets it end at last,
// so that nothing is left behind.
func endsSoon(t *testing.T, r *running, release func()) {
	t.Helper()
	select {
	case status := <-r.status:
		t.Log("status", status, r.err.String())
	case <-time.After(5 * time.Second):
		t.Error("the command still runs 5 s after it was stopped")
		release()
		select {
		case <-r.status:
		case <-time.After(30 * time.Second):
			t.Error("and it does not end at all")
		}
	}
}

// TestSendOfAnIdlePipeEnds stops a send whose FILE is a named pipe that nobody writes
// to. (/dev/stdin and a terminal are the same.)
func TestSendOfAnIdlePipeEnds(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	writer, err := os.OpenFile(pipe, os.O_RDWR, 0)
	require.NoError(t, err)
	defer writer.Close()
	send := start(t, nil, "send", ln.Addr().String(), pipe)
	peer, err := ln.Accept()
	require.NoError(t, err)
	defer peer.Close()
	time.Sleep(500 * time.Millisecond) // it reads the pipe by then
	send.stop()
	endsSoon(t, send, func() { _ = writer.Close(); _ = peer.Close() })
}

// TestMessagesNameFlags: with an interface the range of --num-buffers is that of zero
// copy, and the library refuses the number, in its own words, when it falls back.
func TestMessagesNameFlags(t *testing.T) {
	demo := start(t, nil, "demo", "-i", "lo", "--num-buffers", "40000", "--size", "1")
	demo.fail(exitFailed, "--num-buffers")
	assert.NotContains(t, demo.err.String(), "PoolConfig.")
}

// TestOnceWithoutAConnectionKeepsTheFile interrupts recv --once before anybody came:
// the one connection that it was to receive has not been received.
func TestOnceWithoutAConnectionKeepsTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
	recv := startRecv(t, "--mode", "socket", "-o", file, "--once")
	_ = recv.address()
	recv.stop()
	recv.succeed()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "before", string(text))
}

// TestOutputLeavesOtherFiles has a file of somebody else's beside FILE, under the name
// that recv uses meanwhile.
func TestOutputLeavesOtherFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file+partialSuffix, []byte("of an earlier run"), 0o600))
	recv := startRecv(t, "--mode", "socket", "-o", file)
	recv.fail(exitFailed, file+partialSuffix+" exists")
	text, err := os.ReadFile(file + partialSuffix)
	require.NoError(t, err)
	assert.Equal(t, "of an earlier run", string(text))
}
