package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func startRecv(t *testing.T, args ...string) *running {
	t.Helper()
	return start(t, nil, append([]string{"recv", "-l", "127.0.0.1:0"}, args...)...)
}

func connect(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := dial(t.Context(), address)
	require.NoError(t, err)
	return conn
}

// reset breaks a connection off after it has sent some bytes.
func reset(t *testing.T, address string) {
	t.Helper()
	conn := connect(t, address)
	_, err := conn.Write(make([]byte, 100_000))
	require.NoError(t, err)
	time.Sleep(50 * time.Millisecond) // a reset throws away what was not read
	require.NoError(t, conn.SetLinger(0))
	require.NoError(t, conn.Close())
}

// reported waits until recv has printed that many reports. The library closes a
// connection when it has come in, which its sender sees before it is consumed.
func reported(t *testing.T, recv *running, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Count(recv.out.String(), "\n") == n }, time.Minute, time.Millisecond)
}

func TestSendRecv(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			noLeaks(t)
			data := generated(t, 8<<20+1)
			dir := t.TempDir()
			file, copied := filepath.Join(dir, "file"), filepath.Join(dir, "copied")
			require.NoError(t, os.WriteFile(file, data, 0o600))
			require.NoError(t, os.WriteFile(copied, make([]byte, 9<<20), 0o600)) // is cut

			recv := startRecv(t, "--mode", mode, "--once", "--json", "-o", copied)
			send := start(t, nil, "send", recv.address(), file, "--json")
			send.succeed()
			recv.succeed()

			written, err := os.ReadFile(copied)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, written), "%d of %d bytes", len(written), len(data))
			sent := decode[sendReport](t, send.out.String())[0]
			assert.Equal(t, header{1, "send"}, sent.header)
			assert.Equal(t, recv.address(), sent.Peer)
			received := decode[connectionReport](t, recv.out.String())
			require.Len(t, received, 1)
			r := received[0]
			assert.Equal(t, header{1, "recv"}, r.header)
			assert.Equal(t, mode, r.Mode)
			for _, transfer := range []transferReport{sent.transferReport, r.transferReport} {
				assert.EqualValues(t, len(data), transfer.Bytes)
				assert.Equal(t, sha(data), transfer.SHA256)
				assert.Positive(t, transfer.Seconds)
				assert.Positive(t, transfer.BytesPerSecond)
			}
			assert.True(t, sent.OK)
			assert.True(t, r.OK)
			assert.Zero(t, r.Pool.Outstanding)
			assert.EqualValues(t, len(data), r.Pool.Bytes)
		})
	}
}

func TestSendText(t *testing.T) {
	noLeaks(t)
	recv := startRecv(t, "--once")
	send := start(t, strings.NewReader("hello"), "send", recv.address(), "-")
	send.succeed()
	recv.succeed()
	want := "5 bytes, sha256 " + sha([]byte("hello")) + ", "
	assert.True(t, strings.HasPrefix(send.out.String(), want), send.out.String())
	assert.Empty(t, send.err.String(), "no progress bar where no terminal is")
	assert.Contains(t, recv.out.String(), ": "+want)
}

// With -o - the data has standard output for itself.
func TestRecvToStdout(t *testing.T) {
	noLeaks(t)
	data := generated(t, 1<<20)
	recv := startRecv(t, "--once", "-o", "-", "--json")
	start(t, nil, "send", recv.address(), "--size", "1MiB").succeed()
	recv.succeed()
	assert.Equal(t, sha(data), sha([]byte(recv.out.String())))
	r := decode[connectionReport](t, lastLine(recv.err.String()))
	assert.Equal(t, sha(data), r[0].SHA256)
}

func TestRecvFileOfSeveral(t *testing.T) {
	noLeaks(t)
	file := filepath.Join(t.TempDir(), "file")
	recv := startRecv(t, "-o", file)
	var want []byte
	for _, part := range []string{"one ", "", "two ", "three"} {
		start(t, strings.NewReader(part), "send", recv.address(), "-").succeed()
		want = append(want, part...)
	}
	reported(t, recv, 4)
	recv.stop()
	recv.succeed()
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

// The connection that waits for its turn leaves buffers to the one that has it.
func TestRecvInTurn(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			noLeaks(t)
			file := filepath.Join(t.TempDir(), "file")
			recv := startRecv(t, "--mode", mode, "-o", file, "--num-buffers", "8")
			first := connect(t, recv.address())
			defer first.Close()
			second := start(t, nil, "send", recv.address(), "--size", "4MiB")
			data := bytes.Repeat([]byte("first "), 1<<20)
			_, err := first.Write(data)
			require.NoError(t, err)
			require.NoError(t, first.CloseWrite())
			second.succeed()
			reported(t, recv, 2)
			recv.stop()
			recv.succeed()
			got, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, sha(append(data, generated(t, 4<<20)...)), sha(got))
		})
	}
}

func TestRecvMany(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			noLeaks(t)
			recv := startRecv(t, "--mode", mode, "--json", "--stats", "5ms", "--num-buffers", "64")
			const connections = 20
			var senders sync.WaitGroup
			for range connections {
				senders.Go(func() {
					var stderr lockedBuffer
					status := run(t.Context(), []string{"send", recv.address(), "--size", "1MiB"}, streams{out: io.Discard, err: &stderr})
					assert.Equal(t, exitOK, status, stderr.String())
				})
			}
			senders.Wait()
			reported(t, recv, connections)
			require.Eventually(t, func() bool { return strings.Contains(recv.err.String(), "\nstats: ") }, 10*time.Second, time.Millisecond)
			recv.stop()
			recv.succeed()
			reports := decode[connectionReport](t, recv.out.String())
			require.Len(t, reports, connections)
			want := sha(generated(t, 1<<20))
			for _, r := range reports {
				assert.Equal(t, want, r.SHA256)
				assert.True(t, r.OK)
			}
			assert.Contains(t, recv.err.String(), " re-arms, ")
		})
	}
}

func TestRecvReset(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			noLeaks(t)
			recv := startRecv(t, "--mode", mode, "--once", "--json")
			reset(t, recv.address())
			recv.fail(exitFailed, "1 of 1 connections did not end in order", "connection reset by peer")
			r := decode[connectionReport](t, recv.out.String())[0]
			assert.False(t, r.OK)
			assert.Contains(t, r.Error, "connection reset by peer")
			assert.EqualValues(t, 100_000, r.Bytes)
			assert.Zero(t, r.Pool.Outstanding)
		})
	}
}

// A broken connection does not end the server, but is remembered.
func TestRecvGoesOnAfterReset(t *testing.T) {
	noLeaks(t)
	recv := startRecv(t)
	reset(t, recv.address())
	reported(t, recv, 1)
	start(t, nil, "send", recv.address(), "--size", "1").succeed()
	reported(t, recv, 2)
	recv.stop()
	recv.fail(exitFailed, "1 of 2 connections did not end in order")
}

func TestRecvInterrupted(t *testing.T) {
	for _, output := range []string{"", "/dev/null"} {
		t.Run("output "+output, func(t *testing.T) {
			noLeaks(t)
			recv := startRecv(t, "-o", output)
			conn := connect(t, recv.address())
			defer conn.Close()
			_, err := conn.Write([]byte("begun"))
			require.NoError(t, err)
			time.Sleep(50 * time.Millisecond)
			recv.stop()
			recv.fail(exitFailed, "1 of 1 connections did not end in order", "interrupted")
			assert.Contains(t, recv.out.String(), ": 5 bytes, ")
		})
	}
}

func TestRecvIdle(t *testing.T) {
	noLeaks(t)
	for _, args := range [][]string{nil, {"--once"}} {
		recv := startRecv(t, args...)
		recv.address()
		recv.stop()
		recv.succeed()
		assert.Empty(t, recv.out.String())
	}
}

// A full disk ends the connection; the peer learns that not everything was
// taken.
func TestRecvOutputFails(t *testing.T) {
	noLeaks(t)
	recv := startRecv(t, "--once", "-o", "/dev/full")
	send := start(t, nil, "send", recv.address(), "--size", "64MiB")
	recv.fail(exitFailed, "no space left on device")
	send.fail(exitFailed)
}

func TestSendReset(t *testing.T) {
	noLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	send := start(t, nil, "send", ln.Addr().String(), "--size", "64MiB", "--json")
	conn, err := ln.Accept()
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 1000))
	require.NoError(t, err)
	require.NoError(t, conn.Close()) // with unread bytes: a reset
	send.fail(exitFailed)
	r := decode[sendReport](t, send.out.String())[0]
	assert.False(t, r.OK)
	assert.NotEmpty(t, r.Error)
}

func TestSendInterrupted(t *testing.T) {
	noLeaks(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	send := start(t, nil, "send", ln.Addr().String(), "--size", "1T")
	conn, err := ln.Accept()
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.ReadFull(conn, make([]byte, 1000))
	require.NoError(t, err)
	send.stop()
	send.fail(exitFailed, "interrupted")
	_, err = io.Copy(io.Discard, conn)
	require.ErrorContains(t, err, "connection reset by peer")
}
