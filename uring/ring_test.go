//go:build linux && cgo

package uring

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// newTestRing locks the test's goroutine to its thread and makes a ring for it.
func newTestRing(t *testing.T, cfg Config) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(cfg)
	if cfg.Flags&SetupCQEMixed != 0 && errors.Is(err, syscall.EINVAL) {
		skip.Unless(t, "mixed completion sizes", "6.18", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

const ownerFlags = SetupSingleIssuer | SetupDeferTaskrun

// queue takes an entry, prepares it and sets its user data. The next reap submits it.
func queue(t *testing.T, r *Ring, userData uint64, prep func(*SQE)) {
	t.Helper()
	s := r.GetSQE()
	require.NotNil(t, s)
	prep(s)
	s.UserData = userData
}

// reap submits what is queued, waits for n completions and returns them.
func reap(t *testing.T, r *Ring, n int) []CQE {
	t.Helper()
	all := make([]CQE, n)
	got := 0
	for deadline := time.Now().Add(5 * time.Second); got < n; {
		got += r.Completions(all[got:])
		if got < n {
			require.True(t, time.Now().Before(deadline), "%d of %d completions", got, n)
			_, err := r.SubmitAndWait(1, 100*time.Millisecond)
			require.NoError(t, err)
		}
	}
	return all
}

const (
	eventuallyWithin = 20 * time.Second
	eventuallyEvery  = time.Millisecond
)

// countFDs returns how many fds this process has open.
func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func assertRefused(t *testing.T, err error, call string, errno syscall.Errno) {
	t.Helper()
	assert.Equal(t, &os.SyscallError{Syscall: call, Err: errno}, err)
}

// mapped maps size bytes of memory until the test ends.
func mapped(t *testing.T, size int) []byte {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(mem)) })
	return mem
}

func TestSubmissionQueueFull(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	for taken := range r.SQEntries() {
		assert.Equal(t, r.SQEntries()-taken, r.SQSpaceLeft())
		queue(t, r, 0, (*SQE).PrepNop)
	}
	assert.Nil(t, r.GetSQE())
	assert.Zero(t, r.SQSpaceLeft())
	calls := r.Calls()
	n, err := r.Submit()
	require.NoError(t, err)
	assert.Equal(t, r.SQEntries(), n)
	assert.NotNil(t, r.GetSQE())
	assert.Equal(t, calls+1, r.Calls(), "taking entries enters no C")
}

func TestWaitTimesOut(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	n, err := r.SubmitAndWait(1, 10*time.Millisecond)
	assert.NoError(t, err)
	assert.Zero(t, n)
	_, err = r.SubmitAndWait(-1, 0)
	assert.ErrorContains(t, err, "-1 is out of range: allowed are 0 to 8")
}

func TestRingRefusesOtherThreads(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags | SetupDisabled})
	require.NoError(t, r.Enable())
	errs := make(chan []error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, submit := r.Submit()
		_, probe := r.Probe()
		errs <- []error{submit, probe, r.Enable(), r.Close(), r.RegisterNAPI(0, false), r.UnregisterNAPI(),
			r.RegisterBufRing(nil, 1, 0, 0), r.UnregisterBufRing(0), r.RegisterRingFD(), r.SetIOWait(false), r.Check("mine")}
	}()
	for i, err := range <-errs {
		assert.ErrorIs(t, err, ErrWrongThread, "call %d", i)
		assert.ErrorIs(t, err, syscall.EEXIST, "call %d", i)
		assert.ErrorContains(t, err, "called off the thread that owns the ring")
		_, ok := errors.AsType[*os.SyscallError](err)
		assert.True(t, ok, "call %d", i)
	}
	_, err := r.Submit()
	assert.NoError(t, err, "the owner still can")
}

func TestClosedRing(t *testing.T) {
	closed := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	assert.NotNil(t, closed.Pointer())
	require.NoError(t, closed.Close())
	for name, r := range map[string]*Ring{"closed": closed, "zero": {}} {
		require.NoError(t, r.Close(), name)
		_, err := r.Submit()
		assert.ErrorIs(t, err, os.ErrClosed, name)
		assert.ErrorIs(t, r.Enable(), os.ErrClosed, name)
		assert.ErrorIs(t, r.Check("mine"), os.ErrClosed, name)
		assert.Equal(t, -1, r.FD(), name)
		assert.Nil(t, r.Pointer(), name)
		_, err = r.SubmitAndWait(0, 0)
		assert.ErrorIs(t, err, os.ErrClosed, name)
		assert.Nil(t, r.GetSQE(), name)
		assert.Zero(t, r.SQSpaceLeft(), name)
		assert.Zero(t, r.SQEntries(), name)
		assert.Zero(t, r.CQEntries(), name)
		assert.Zero(t, r.Completions(make([]CQE, 4)), name)
		assert.Zero(t, r.Pending(), name)
		assert.False(t, r.CQNearlyFull(), name)
		assert.False(t, r.Overflown(), name)
		assert.Zero(t, r.Dropped(), name)
	}
}

// TestKernelErrorsNameTheCall lets the kernel refuse a ring, a registration and a
// submission.
func TestKernelErrorsNameTheCall(t *testing.T) {
	_, err := New(Config{Entries: 4, Flags: SetupDeferTaskrun}) // alone
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags | SetupDisabled})
	_, err = r.Submit()
	assertRefused(t, err, "io_uring_enter", syscall.EBADFD)
	require.NoError(t, r.Enable())
	assertRefused(t, r.Enable(), "io_uring_enable_rings", syscall.EBADFD)
	assertRefused(t, r.UnregisterBufRing(7), "io_uring_unregister_buf_ring", syscall.ENOENT)
	assertRefused(t, r.RegisterBufRing(unsafe.Pointer(&mapped(t, os.Getpagesize())[0]), 3, 0, 0), "io_uring_register_buf_ring", syscall.EINVAL)
}

func TestRingConfigRanges(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Entries 0 is out of range: allowed are 1 to 32768":   {},
		"Entries 32769 is out of range":                       {Entries: 32769},
		"CQEntries 2 is out of range: allowed are 4 to 65536": {Entries: 4, CQEntries: 2},
		"CQEntries 65537 is out of range":                     {Entries: 4, CQEntries: 65537},
		"SetupCQE32 and SetupCQEMixed exclude each other":     {Entries: 4, Flags: SetupCQE32 | SetupCQEMixed},
	} {
		_, err := New(cfg)
		assert.ErrorContains(t, err, want)
	}
	r := newTestRing(t, Config{Entries: 1 << 20, Flags: SetupClamp})
	assert.Equal(t, MaxEntries, r.SQEntries())
}
