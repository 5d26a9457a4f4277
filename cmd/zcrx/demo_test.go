package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func sha(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// generated is what send and demo generate.
func generated(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(generator(), b)
	require.NoError(t, err)
	return b
}

// exact runs a demo that must move data, and returns its report.
func exact(t *testing.T, data []byte, args ...string) demoReport {
	t.Helper()
	noLeaks(t)
	c := start(t, bytes.NewReader(data), append([]string{"demo", "--json"}, args...)...)
	c.succeed()
	assert.Empty(t, c.err.String())
	reports := decode[demoReport](t, c.out.String())
	require.Len(t, reports, 1)
	r := reports[0]
	assert.Equal(t, header{Schema: 1, Command: "demo"}, r.header)
	assert.True(t, r.OK)
	assert.Empty(t, r.Error)
	assert.EqualValues(t, len(data), r.BytesSent)
	assert.EqualValues(t, len(data), r.BytesReceived)
	assert.Equal(t, sha(data), r.SHA256Sent)
	assert.Equal(t, sha(data), r.SHA256Received)
	assert.Positive(t, r.Seconds)
	assert.Zero(t, r.Outstanding)
	assert.Equal(t, r.Leased, r.Returned)
	assert.EqualValues(t, len(data), r.Pool.Bytes)
	assert.Equal(t, r.RearmsByCause.total(), r.Rearms)
	assert.EqualValues(t, len(data), r.CopiedBytes, "these modes copy")
	assert.Zero(t, r.Pool.DoubleReleases)
	assert.Zero(t, r.Pool.UsesAfterRelease)
	assert.Zero(t, r.Loop.Strays)
	return r
}

func TestDemoExact(t *testing.T) {
	for _, mode := range modes() {
		for _, n := range []int{0, 1, 4096, 4097, zcrxtest.Volume(64 << 20)} {
			t.Run(mode+"/"+strconv.Itoa(n), func(t *testing.T) {
				r := exact(t, generated(t, n), "--mode", mode, "--size", strconv.Itoa(n))
				assert.Equal(t, mode, r.Mode)
				assert.Equal(t, "asked for with --mode "+mode, r.ModeReason)
				if mode == "socket" {
					assert.Zero(t, r.Loop)
				} else {
					assert.Positive(t, r.Loop.Turns)
				}
			})
		}
	}
}

func TestDemoFile(t *testing.T) {
	data := generated(t, 1<<20+1)
	file := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	r := exact(t, data, file)
	assert.Equal(t, "provided", r.Mode, "auto never takes deviceless")
	assert.Contains(t, r.ModeReason, "no interface was named")
}

func TestDemoAutoFallsBack(t *testing.T) {
	r := exact(t, generated(t, 1<<20), "--size", "1MiB", "-i", "lo")
	assert.Equal(t, "provided", r.Mode)
	assert.Contains(t, r.ModeReason, "(device)")
}

func TestDemoStdin(t *testing.T) {
	exact(t, generated(t, 100_000), "-")
}

// A consumer that holds back what it may is not stopped by a connection's share of the
// pool, which is less than half of it here.
func TestDemoSlowConsumer(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			exact(t, generated(t, 4<<20), "--mode", mode, "--size", "4MiB", "--num-buffers", "200", "--consume-delay", "1ns")
		})
	}
}

// With few buffers, a small completion queue and a consumer that holds half of
// the buffers back, receives end all the time and nothing is lost.
func TestDemoStarved(t *testing.T) {
	for _, mode := range ringModes() {
		t.Run(mode, func(t *testing.T) {
			r := exact(t, generated(t, 2<<20), "--mode", mode, "--size", "2MiB",
				"--num-buffers", "8", "--cq-entries", "8", "--consume-delay", "20us")
			assert.Equal(t, 8, r.NumBuffers)
			assert.Positive(t, r.RearmsByCause.NoBuffer)
		})
		t.Run(mode+"/one buffer", func(t *testing.T) {
			r := exact(t, generated(t, 1<<20), "--mode", mode, "--size", "1MiB",
				"--num-buffers", "1", "--refill-entries", "1", "--consume-delay", "1us")
			assert.Equal(t, 1, r.NumBuffers)
			assert.Positive(t, r.RearmsByCause.NoBuffer)
		})
		t.Run(mode+"/small completion queue", func(t *testing.T) {
			r := exact(t, generated(t, 16<<20), "--mode", mode, "--size", "16MiB", "--cq-entries", "4")
			if mode != "provided" { // there bundles make completions few
				assert.Positive(t, r.Rearms)
			}
		})
	}
	t.Run("socket", func(t *testing.T) {
		r := exact(t, generated(t, 2<<20), "--mode", "socket", "--size", "2MiB", "--num-buffers", "1", "--buffer-size", "8KiB")
		assert.Equal(t, 1, r.NumBuffers)
		assert.Equal(t, 8<<10, r.BufferSize)
		assert.Zero(t, r.Rearms)
	})
}

func TestDemoText(t *testing.T) {
	noLeaks(t)
	c := start(t, nil, "demo", "--size", "100000")
	c.succeed()
	for _, part := range []string{
		"mode              provided (no interface was named for zero copy)\n",
		"sent              100000 bytes, sha256 " + sha(generated(t, 100_000)) + "\n",
		"received          100000 bytes, sha256 " + sha(generated(t, 100_000)) + "\n",
		"throughput  ", " leased, ", " returned, outstanding 0\n", "completions  ", "refill flushes    0\n",
		"re-arms  ", "copied by kernel  100000 bytes\n", "CQ overflows\n",
	} {
		assert.Contains(t, c.out.String(), part)
	}

	c = start(t, nil, "demo", "--size", "100000", "--mode", "socket")
	c.succeed()
	assert.Contains(t, c.out.String(), "buffers           4096 of 65536 bytes\n")
	assert.NotContains(t, c.out.String(), "loop", "it has none")
}

// A sender that fails in the middle resets the connection: its receiver must
// not take what it got for everything.
func TestDemoReset(t *testing.T) {
	for _, mode := range modes() {
		t.Run(mode, func(t *testing.T) {
			noLeaks(t)
			broken := io.MultiReader(bytes.NewReader(generated(t, 5<<20)), iotest.ErrReader(errors.New("the disk is on fire")))
			c := start(t, broken, "demo", "-", "--json", "--mode", mode)
			c.fail(exitFailed, "send: read what to send: the disk is on fire", "receive: ", "connection reset by peer")
			r := decode[demoReport](t, c.out.String())[0]
			assert.False(t, r.OK)
			assert.Equal(t, lastLine(c.err.String()), "zcrx: "+r.Error)
			assert.EqualValues(t, 5<<20, r.BytesSent)
			assert.LessOrEqual(t, r.BytesReceived, r.BytesSent)
			assert.Zero(t, r.Outstanding)
		})
	}
}

func TestDemoInterrupted(t *testing.T) {
	for _, delay := range []string{"0s", "1h"} {
		t.Run(delay, func(t *testing.T) {
			noLeaks(t)
			started, never := make(chan struct{}), make(chan struct{})
			c := start(t, io.MultiReader(bytes.NewReader(generated(t, 1<<20)), readerFunc(func([]byte) (int, error) {
				close(started)
				<-never
				return 0, io.EOF
			})), "demo", "-", "--consume-delay", delay)
			<-started
			c.stop()
			// What waits for standard input cannot be woken, but by it.
			close(never)
			c.fail(exitFailed, "interrupted")
			assert.Contains(t, c.out.String(), "outstanding 0")
		})
	}
}

type readerFunc func(b []byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestDemoVerify(t *testing.T) {
	good := demoReport{BytesSent: 1, BytesReceived: 1, SHA256Sent: "a", SHA256Received: "a"}
	require.NoError(t, good.verify())
	for part, spoil := range map[string]func(*demoReport){
		"1 bytes were sent and 0 received": func(r *demoReport) { r.BytesReceived = 0 },
		"their sha256 differ":              func(r *demoReport) { r.SHA256Received = "b" },
		"2 buffers are outstanding":        func(r *demoReport) { r.Outstanding = 2 },
	} {
		bad := good
		spoil(&bad)
		require.ErrorContains(t, bad.verify(), part)
	}
}

// A result that cannot be printed is no success.
func TestOutputFails(t *testing.T) {
	for _, args := range []string{"demo --size 1", "demo --size 1 --json", "probe", "probe --json"} {
		t.Run(args, func(t *testing.T) {
			noLeaks(t)
			var stderr lockedBuffer
			full := writerFunc(func([]byte) (int, error) { return 0, errors.New("the disk is full") })
			status := run(t.Context(), strings.Fields(args), streams{out: full, err: &stderr})
			assert.Equal(t, exitFailed, status)
			assert.Contains(t, stderr.String(), "the disk is full")
		})
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
