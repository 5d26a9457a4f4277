package zcrxtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Patience is how long a test waits for something that happens at once unless something
// is broken.
const Patience = 20 * time.Second

// Eventually calls done every millisecond until it returns true. It fails the test with
// what after Patience.
func Eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !done(); time.Sleep(time.Millisecond) {
		require.True(t, time.Now().Before(deadline), what)
	}
}

// Within fails the test if fn does not return within Patience.
func Within(t testing.TB, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(Patience):
		t.Fatal("it does not end: ", what)
	}
}

// TCPPair returns both ends of a connection over loopback. It closes the sender when the
// test ends; the caller must close the receiver.
func TCPPair(t testing.TB) (sender, receiver *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	s, err := ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// OpenFDs returns the number of file descriptors that this process has open.
func OpenFDs(t testing.TB) int {
	t.Helper()
	startPoller()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// startPoller has the Go runtime open the file descriptors of its poller, which it keeps
// open from the first socket on.
var startPoller = sync.OnceFunc(func() {
	if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		ln.Close()
	}
})

// Settled waits until this process has no more file descriptors and goroutines than
// given. It waits because a ring's memory and threads end a moment after its Close.
func Settled(t testing.TB, fds, goroutines int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		nowFDs, nowGoroutines := OpenFDs(t), runtime.NumGoroutine()
		if nowFDs <= fds && nowGoroutines <= goroutines {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("fds %d, were %d; goroutines %d, were %d", nowFDs, fds, nowGoroutines, goroutines)
		}
	}
}

// Mappings returns the number of memory mappings of this process.
func Mappings(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return bytes.Count(b, []byte("\n"))
}

// Heap returns the number of bytes of the objects in use on the heap.
func Heap() uint64 {
	runtime.GC()
	runtime.GC() // frees what finalizers kept alive
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Amount returns the number in an environment variable, usual if it is not set.
func Amount(t testing.TB, variable string, usual int) int {
	t.Helper()
	value := os.Getenv(variable)
	if value == "" {
		return usual
	}
	n, err := strconv.Atoi(value)
	require.NoError(t, err, variable)
	return n
}

// StressTime returns how long a test of random calls runs: 2s, with -short less, or ZCRX_STRESS_TIME.
func StressTime(t testing.TB) time.Duration {
	t.Helper()
	value := os.Getenv("ZCRX_STRESS_TIME")
	if value == "" {
		return time.Duration(Volume(int(2 * time.Second)))
	}
	d, err := time.ParseDuration(value)
	require.NoError(t, err, "ZCRX_STRESS_TIME")
	return d
}

// Child returns a command that runs one test of this test binary with additional
// environment variables.
func Child(test string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.v", "-test.timeout=1h")
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// Volume returns n, how much a test repeats or sends, and with -short a quarter of it. The
// lanes in emulated machines run with -short: all cases, but fewer rounds.
func Volume(n int) int {
	if testing.Short() {
		return max(1, n/4)
	}
	return n
}
