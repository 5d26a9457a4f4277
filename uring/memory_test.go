//go:build linux && cgo

package uring

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// growStack uses more stack than a goroutine begins with, so that it is moved.
func growStack(n int) byte {
	var frame [1 << 10]byte
	if n > 0 {
		frame[n&1023] = growStack(n - 1)
	}
	return frame[(n+1)&1023]
}

// TestMemoryOfRequestsStaysWhereItIs has requests use local variables, and the stack moved
// before the kernel does.
func TestMemoryOfRequestsStaysWhereItIs(t *testing.T) {
	for name, use := range map[string]func(t *testing.T, r *Ring, fds [2]int){
		"read":    readIntoLocal,
		"receive": receiveIntoLocal,
		"send":    sendLocal,
		"timeout": timeoutLocal,
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan struct{})
			go func() { // with a small stack
				defer close(ended)
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				r, err := New(Config{Entries: 4, Flags: ownerFlags})
				if !assert.NoError(t, err) {
					return
				}
				defer r.Close()
				fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
				if !assert.NoError(t, err) {
					return
				}
				defer unix.Close(fds[0])
				defer unix.Close(fds[1])
				use(t, r, fds)
			}()
			<-ended
		})
	}
}

func readIntoLocal(t *testing.T, r *Ring, fds [2]int) {
	var b [5]byte
	r.GetSQE().PrepRead(fds[0], b[:], -1)
	growStack(64)
	sendAndWait(t, r, fds[1])
	assert.Equal(t, "hello", string(b[:]))
}

func receiveIntoLocal(t *testing.T, r *Ring, fds [2]int) {
	var b [5]byte
	r.GetSQE().PrepRecv(fds[0], b[:], 0)
	growStack(64)
	sendAndWait(t, r, fds[1])
	assert.Equal(t, "hello", string(b[:]))
}

func sendAndWait(t *testing.T, r *Ring, fd int) {
	t.Helper()
	_, err := unix.Write(fd, []byte("hello"))
	assert.NoError(t, err)
	_, err = r.SubmitAndWait(1, -1)
	assert.NoError(t, err)
}

func sendLocal(t *testing.T, r *Ring, fds [2]int) {
	var b [5]byte
	r.GetSQE().PrepSend(fds[0], b[:], 0)
	growStack(64)
	copy(b[:], "hello")
	_, err := r.SubmitAndWait(1, -1)
	assert.NoError(t, err)
	var got [8]byte
	n, err := unix.Read(fds[1], got[:])
	assert.NoError(t, err)
	assert.Equal(t, "hello", string(got[:n]))
}

func timeoutLocal(t *testing.T, r *Ring, _ [2]int) {
	ts := Timespec{Nsec: 1000}
	r.GetSQE().PrepTimeout(&ts, 0, 0)
	growStack(64)
	_, err := r.SubmitAndWait(1, -1)
	assert.NoError(t, err)
	var c [1]CQE
	assert.Equal(t, 1, r.Completions(c[:]))
	assert.Equal(t, syscall.ETIME, c[0].Errno())
}

// TestHugeSlices: a request transfers no more than the kernel does with one read(2); a
// length of more than 32 bits is not cut to another one.
func TestHugeSlices(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) < 8 {
		t.Skip("no slice has so many bytes")
	}
	var one byte
	for _, n := range []uint64{maxTransfer, maxTransfer + 1, 1<<32 - 1, 1 << 32, 1<<32 + 5} {
		header := struct {
			data     *byte
			len, cap uint64
		}{&one, n, n}
		huge := *(*[]byte)(unsafe.Pointer(&header)) // never touched
		for name, prep := range map[string]func(s *SQE){
			"read":    func(s *SQE) { s.PrepRead(0, huge, 0) },
			"recv":    func(s *SQE) { s.PrepRecv(0, huge, 0) },
			"send":    func(s *SQE) { s.PrepSend(0, huge, 0) },
			"send zc": func(s *SQE) { s.PrepSendZC(0, huge, 0, 0) },
		} {
			var s SQE
			prep(&s)
			assert.EqualValues(t, maxTransfer, s.Len, "%s of %d bytes", name, n)
		}
	}
}

// TestLargeEntries takes entries of 128 bytes, whose requests must complete in order.
func TestLargeEntries(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags | SetupSQE128})
	for round := range uint64(4) {
		for i := range uint64(3) {
			queue(t, r, 3*round+i+1, (*SQE).PrepNop)
		}
		for i, c := range reap(t, r, 3) {
			require.Equal(t, 3*round+uint64(i)+1, c.UserData)
			require.Zero(t, c.Res)
		}
	}
}

func TestUnknownFlags(t *testing.T) {
	for _, flags := range []SetupFlags{1 << 21, 1 << 31} {
		_, err := New(Config{Entries: 4, Flags: ownerFlags | flags})
		assert.ErrorContains(t, err, "uring: Config.Flags")
		assert.ErrorContains(t, err, "unknown")
	}
}

// TestCloseAfterOwnerEnded: a ring whose thread has ended can be closed on any other one; as
// long as it lives it cannot.
func TestCloseAfterOwnerEnded(t *testing.T) {
	before, maps := countFDs(t), ringMappings(t)
	rings, ends := make(chan *Ring), make(chan struct{})
	var makeRing func()
	makeRing = func() {
		runtime.LockOSThread()              // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() { // but for the first one, so take another
			go makeRing()
			<-ends
			return
		}
		r, err := New(Config{Entries: 4, Flags: ownerFlags})
		assert.NoError(t, err)
		assert.NoError(t, r.RegisterRingFD())
		rings <- r
		<-ends
	}
	go makeRing()
	r := <-rings
	own := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	require.NoError(t, own.RegisterRingFD())
	require.ErrorIs(t, r.Close(), ErrWrongThread)
	close(ends)
	require.Eventually(t, func() bool { return r.Close() == nil }, eventuallyWithin, eventuallyEvery)
	_, err := r.Submit()
	require.ErrorIs(t, err, errClosed)
	queue(t, own, 1, (*SQE).PrepNop)
	reap(t, own, 1) // this thread's own ring is as it was
	require.NoError(t, own.Close())
	assert.Equal(t, before, countFDs(t))
	assert.Equal(t, maps, ringMappings(t))
}

// ringMappings returns how many mappings of rings this process has.
func ringMappings(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	return strings.Count(string(b), "[io_uring]")
}
