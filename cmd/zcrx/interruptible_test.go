package main

import (
	"context"
	"io"
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

// TestWriterThatIsStuck stops a writer whose bytes nobody takes: the error tells how many
// may be lost, and later writes do not wait again.
func TestWriterThatIsStuck(t *testing.T) {
	r, pipe := io.Pipe()
	defer r.Close()
	ctx, stop := context.WithCancel(t.Context())
	w := newInterruptibleWriter(ctx, pipe)
	w.patience = time.Millisecond
	stop()
	_, err := w.Write([]byte("lost"))
	require.ErrorIs(t, err, errInterrupted)
	assert.ErrorContains(t, err, "last 4 bytes were not written")
	w.patience = time.Hour
	_, again := w.Write([]byte("more"))
	assert.Equal(t, err, again)
}

// TestWriterThatIsSlow stops a writer whose bytes are taken late: none is lost.
func TestWriterThatIsSlow(t *testing.T) {
	r, pipe := io.Pipe()
	ctx, stop := context.WithCancel(t.Context())
	w := newInterruptibleWriter(ctx, pipe)
	w.patience = time.Hour
	written := make(chan error, 1)
	go func() {
		_, err := w.Write([]byte("all"))
		written <- err
	}()
	stop()
	b := make([]byte, 3)
	_, err := io.ReadFull(r, b)
	require.NoError(t, err)
	assert.Equal(t, "all", string(b))
	require.NoError(t, <-written)
}

// TestSendEndsWithItsPeer resets a connection whose sender has nothing to send: it learns
// that before its input has more.
func TestSendEndsWithItsPeer(t *testing.T) {
	noLeaks(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	idle, err := os.OpenFile(fifo, os.O_RDWR, 0)
	require.NoError(t, err)
	defer idle.Close()
	stdin, more := io.Pipe()
	defer more.Close()
	for name, input := range map[string]io.Writer{"-": more, fifo: idle} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		send := start(t, stdin, "send", ln.Addr().String(), name, "--json")
		peer, err := ln.Accept()
		require.NoError(t, err)
		require.NoError(t, ln.Close())
		_, err = input.Write([]byte{1})
		require.NoError(t, err)
		_, err = peer.Read(make([]byte, 1)) // now it waits for more
		require.NoError(t, err)
		require.NoError(t, peer.(*net.TCPConn).SetLinger(0))
		require.NoError(t, peer.Close())
		send.fail(exitFailed, "connection reset by peer")
		assert.NotContains(t, send.err.String(), "read what to send")
		assert.False(t, decode[sendReport](t, send.out.String())[0].OK)
	}
}

// TestNamedPipeWithoutOtherEnd stops commands that wait for a pipe's other end, after they
// have said so.
func TestNamedPipeWithoutOtherEnd(t *testing.T) {
	noLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	for _, args := range []string{"recv -l 127.0.0.1:0 -o", "send " + ln.Addr().String(), "demo --mode socket"} {
		fifo := filepath.Join(t.TempDir(), "fifo")
		require.NoError(t, syscall.Mkfifo(fifo, 0o600))
		waits := start(t, nil, append(strings.Fields(args), fifo)...)
		require.Eventually(t, func() bool { return strings.Contains(waits.err.String(), "waiting for the other end of "+fifo) }, time.Minute, time.Millisecond)
		waits.stop()
		waits.fail(exitFailed, "interrupted")
		both, err := os.OpenFile(fifo, os.O_RDWR, 0) // ends the goroutine that was left waiting
		require.NoError(t, err)
		defer both.Close()
	}
}

// TestRecvIntoANamedPipe reads the pipe only after recv has begun to wait for that.
func TestRecvIntoANamedPipe(t *testing.T) {
	noLeaks(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	recv := startRecv(t, "-o", fifo, "--once")
	require.Eventually(t, func() bool { return strings.Contains(recv.err.String(), "waiting") }, time.Minute, time.Millisecond)
	reader, err := os.Open(fifo)
	require.NoError(t, err)
	defer reader.Close()
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(reader)
		got <- sha(b)
	}()
	start(t, nil, "send", recv.address(), "--size", "1MiB").succeed()
	recv.succeed()
	assert.Equal(t, sha(generated(t, 1<<20)), <-got)
}
