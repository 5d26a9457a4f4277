package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// actAsCommand makes the test binary the command itself, for tests that need a
// process of their own.
const actAsCommand = "ZCRX_TEST_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(actAsCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

// inVM tells whether the tests run on the kernel of the VM lane, which must have
// the device-less mode, and belongs to them alone.
func inVM() bool { return os.Getenv("ZCRX_LANE") == "vm" }

// modes are the modes that must work here. With -short, in emulated machines, Socket mode is
// left out: it depends on no kernel.
func modes() []string {
	all := []string{"provided"}
	if inVM() {
		all = append(all, "deviceless")
	}
	if !testing.Short() {
		all = append(all, "socket")
	}
	return all
}

// ringModes are those of them that have a loop.
func ringModes() []string {
	return slices.DeleteFunc(modes(), func(mode string) bool { return mode == "socket" })
}

// lockedBuffer is a bytes.Buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// running is a command that was started in this process.
type running struct {
	t        *testing.T
	out, err lockedBuffer
	stop     context.CancelFunc
	status   chan int
}

// start runs the command. It is stopped at the end of the test at the latest.
func start(t *testing.T, stdin io.Reader, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{t: t, stop: cancel, status: make(chan int, 1)}
	go func() { r.status <- run(ctx, args, streams{in: stdin, out: &r.out, err: &r.err}) }()
	t.Cleanup(cancel)
	return r
}

// wait returns the exit status.
func (r *running) wait() int {
	r.t.Helper()
	defer r.stop()
	select {
	case status := <-r.status:
		return status
	case <-time.After(2 * time.Minute):
		r.t.Fatalf("the command does not end; stderr: %s", r.err.String())
		return -1
	}
}

// succeed waits for an orderly end.
func (r *running) succeed() {
	r.t.Helper()
	require.Equal(r.t, exitOK, r.wait(), "stderr: %s", r.err.String())
}

// fail waits for an end with status, and one line that has every part.
func (r *running) fail(status int, parts ...string) {
	r.t.Helper()
	require.Equal(r.t, status, r.wait(), "stderr: %s", r.err.String())
	last := lastLine(r.err.String())
	assert.True(r.t, strings.HasPrefix(last, "zcrx: "), "%q", last)
	for _, part := range parts {
		assert.Contains(r.t, last, part)
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return lines[len(lines)-1]
}

var listening = regexp.MustCompile(`listening on (\S+),`)

// address waits for the address that recv listens on.
func (r *running) address() string {
	r.t.Helper()
	return address(r.t, &r.err)
}

// address waits for the address in what recv prints.
func address(t *testing.T, stderr *lockedBuffer) string {
	t.Helper()
	var match []string
	require.Eventually(t, func() bool {
		match = listening.FindStringSubmatch(stderr.String())
		return match != nil
	}, 30*time.Second, time.Millisecond, "recv does not listen")
	return match[1]
}

// decode reads what --json printed, one object per line.
func decode[T any](t *testing.T, text string) []T {
	t.Helper()
	var all []T
	decoder := json.NewDecoder(strings.NewReader(text))
	for {
		var one T
		err := decoder.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err, "%s", text)
		all = append(all, one)
	}
}

// noLeaks fails the test if it leaves fds or goroutines behind.
func noLeaks(t *testing.T) {
	t.Helper()
	// The first use of the network makes Go's poller, which stays.
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	fds, goroutines := openFDs(t), runtime.NumGoroutine()
	t.Cleanup(func() {
		if t.Failed() {
			return
		}
		// What was closed may take a moment to be gone.
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if len(openFDs(t)) <= len(fds) && runtime.NumGoroutine() <= goroutines {
				return
			}
		}
		stacks := make([]byte, 1<<20)
		t.Errorf("fds before %v, after %v; goroutines before %d, after %d:\n%s",
			fds, openFDs(t), goroutines, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
	})
}

func openFDs(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil || strings.HasSuffix(target, "/fd") {
			continue // the fd with which the folder was read
		}
		names = append(names, e.Name()+": "+target)
	}
	return names
}
