//go:build linux && cgo

package zcrx

import (
	"bytes"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
)

func reviewPair(t *testing.T) [2]int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fds[0]); unix.Close(fds[1]) })
	return fds
}

func collectGarbage() {
	for range 10 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

// TestPrepPanics: Do turns a panic into an error and the loop continues. What prep had
// filled in until then must not run with memory that nothing keeps.
func TestPrepPanics(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	fds := reviewPair(t)
	var collected atomic.Bool
	done := make(chan int32, 4)
	err := l.Do(t.Context(), func(*uring.Ring) error {
		return l.Start(func(s *uring.SQE) {
			b := new([64]byte)
			runtime.AddCleanup(b, func(*atomic.Bool) { collected.Store(true) }, &collected)
			s.PrepRead(fds[0], b[:], -1)
			panic("prep")
		}, func(c *uring.CQE) { done <- c.Res })
	})
	require.ErrorAs(t, err, new(*PanicError))
	collectGarbage()
	free := collected.Load()
	_, err = unix.Write(fds[1], []byte("late"))
	require.NoError(t, err)
	select {
	case res := <-done:
		assert.Falsef(t, free, "the kernel read %d bytes into memory that was collected", res)
	case <-time.After(100 * time.Millisecond):
	}
}

// TestPrepPanicsAtOnce: a request that was never prepared does not succeed.
func TestPrepPanicsAtOnce(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	done := make(chan int32, 4)
	err := l.Do(t.Context(), func(*uring.Ring) error {
		return l.Start(func(*uring.SQE) { panic("prep") }, func(c *uring.CQE) { done <- c.Res })
	})
	require.ErrorAs(t, err, new(*PanicError))
	select {
	case res := <-done:
		t.Errorf("done was called with %d for a request that prep did not fill in", res)
	case <-time.After(100 * time.Millisecond):
	}
}

// TestStartWhileClosing: a program that begins its request again whenever it ends does
// not keep Close from ending, nor leaves a request behind.
func TestStartWhileClosing(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	fds := reviewPair(t)
	var again func() error
	var begun, ended atomic.Int32
	again = func() error {
		err := l.Start(func(s *uring.SQE) { s.PrepRead(fds[0], make([]byte, 64), -1) }, func(*uring.CQE) {
			ended.Add(1)
			_ = again() // an error is the end
		})
		if err == nil {
			begun.Add(1)
		}
		return err
	}
	require.NoError(t, l.do(again))
	start := time.Now()
	require.NoError(t, l.Close())
	assert.Less(t, time.Since(start), time.Second, "Close")
	assert.Equal(t, begun.Load(), ended.Load(), "requests begun, and done called for")
}

// reviewSendUnacknowledged starts a zero-copy send that the peer does not read, and closes
// the loop.
func reviewSendUnacknowledged(t *testing.T, fd int, collected *atomic.Bool) (sent int) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	first := make(chan int32, 2)
	require.NoError(t, l.do(func() error {
		return l.Start(func(s *uring.SQE) {
			b := new([4 << 20]byte)
			for i := range b {
				b[i] = 'A'
			}
			runtime.AddCleanup(b, func(c *atomic.Bool) { c.Store(true) }, collected)
			s.PrepSendZC(fd, b[:], unix.MSG_DONTWAIT, 0)
		}, func(c *uring.CQE) {
			if c.Flags&uring.CQENotif == 0 {
				first <- c.Res
			}
		})
	}))
	sent = int(<-first)
	require.NoError(t, l.Close())
	return sent
}

// TestMemoryAfterClose: "The memory that prep names stays until then", the last
// completion. If the loop ends before that, the kernel still uses the memory.
func TestMemoryAfterClose(t *testing.T) {
	sender, receiver := zcrxtest.TCPPair(t)
	defer receiver.Close()
	file, err := sender.File()
	require.NoError(t, err)
	defer file.Close()
	var collected atomic.Bool
	sent := reviewSendUnacknowledged(t, int(file.Fd()), &collected)
	require.Positive(t, sent)
	runtime.GC()
	runtime.GC()
	secrets := make([][]byte, 0, 16)
	for range 16 {
		secrets = append(secrets, bytes.Repeat([]byte{'B'}, 4<<20))
	}
	collectGarbage()
	assert.False(t, collected.Load(), "the kernel still sends from it")
	got := make([]byte, sent)
	for n := 0; n < sent; {
		m, err := receiver.Read(got[n:])
		require.NoError(t, err)
		n += m
	}
	runtime.KeepAlive(secrets)
	assert.Zero(t, bytes.Count(got, []byte("B")), "bytes of %d that were other memory of the program", sent)
}

// TestMemlockInUserNamespace: the remedy for a used-up RLIMIT_MEMLOCK names it, also in
// a container with a user namespace of its own, whose root has no CAP_IPC_LOCK that counts.
func TestMemlockInUserNamespace(t *testing.T) {
	if os.Getenv("ZCRX_REVIEW_USERNS") != "" {
		require.NoError(t, unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}))
		_, err := NewLoop(LoopConfig{Entries: uring.MaxEntries})
		t.Log(err)
		if err != nil {
			assert.ErrorContains(t, err, "RLIMIT_MEMLOCK")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemlockInUserNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), "ZCRX_REVIEW_USERNS=1")
	ids := []syscall.SysProcIDMap{{Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids}
	out, err := cmd.CombinedOutput()
	assert.NoError(t, err, "%s", out)
}
