package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOutputKeepsTheFileUntilAllIsReceived interrupts a recv in the middle of a connection:
// what the file had before is still there, and what came is beside it.
func TestOutputKeepsTheFileUntilAllIsReceived(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("before"), 0o600))
	content := func(name string) string {
		b, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			return "(absent)"
		}
		require.NoError(t, err)
		return string(b)
	}

	recv := startRecv(t, "-o", file)
	peer := connect(t, recv.address())
	_, err := peer.Write([]byte("half"))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return content(file+partialSuffix) == "half" }, 30*time.Second, time.Millisecond)
	recv.stop()
	recv.fail(exitFailed)
	require.NoError(t, peer.Close())
	assert.Equal(t, "before", content(file))
	assert.Equal(t, "half", content(file+partialSuffix))

	require.NoError(t, os.Remove(file+partialSuffix))

	recv = startRecv(t, "-o", file) // nobody comes
	_ = recv.address()
	recv.stop()
	recv.succeed()
	assert.Empty(t, content(file), "all that came is in it")
	assert.Equal(t, "(absent)", content(file+partialSuffix))

	recv = startRecv(t, "-o", file, "--once")
	start(t, bytes.NewReader([]byte("all of it")), "send", recv.address(), "-").succeed()
	recv.succeed()
	assert.Equal(t, "all of it", content(file))
	assert.Equal(t, "(absent)", content(file+partialSuffix))
}

// TestOutputToADevice writes to what cannot be replaced.
func TestOutputToADevice(t *testing.T) {
	noLeaks(t)
	recv := startRecv(t, "-o", os.DevNull, "--once")
	start(t, bytes.NewReader([]byte("gone")), "send", recv.address(), "-").succeed()
	recv.succeed()
	info, err := os.Stat(os.DevNull)
	require.NoError(t, err)
	assert.False(t, info.Mode().IsRegular())
}

// TestSendEndsWhileItsInputIsIdle stops a send whose standard input has nothing to read.
func TestSendEndsWhileItsInputIsIdle(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	idle, end := io.Pipe()
	defer end.Close()
	send := start(t, idle, "send", ln.Addr().String(), "-")
	peer, err := ln.Accept()
	require.NoError(t, err)
	defer peer.Close()
	send.stop()
	send.fail(exitFailed)
}

// TestOutputThatIsLost prints to a full device: the status says so.
func TestOutputThatIsLost(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--help"}, {"help", "send"}, {"probe"}, {"--version"}} {
		var complaints bytes.Buffer
		status := run(t.Context(), args, streams{in: bytes.NewReader(nil), out: fullDevice{}, err: &complaints})
		assert.Equal(t, exitFailed, status, "%v", args)
		assert.Contains(t, complaints.String(), "no space left", "%v", args)
	}
}

type fullDevice struct{}

func (fullDevice) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestEmptyListenAddress(t *testing.T) {
	recv := start(t, nil, "recv", "--listen", "")
	recv.fail(exitUsage)
	assert.Contains(t, recv.err.String(), "--listen is empty")
}
