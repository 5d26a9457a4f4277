//go:build linux && cgo

package uring

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// newTestRequests makes Requests of a ring that newTestRing makes, and closes them.
func newTestRequests(t *testing.T, cfg Config) *Requests {
	t.Helper()
	q := NewRequests(newTestRing(t, cfg))
	t.Cleanup(func() { assert.NoError(t, q.Close(5*time.Second)) })
	return q
}

// drain turns until no request is in flight.
func drain(t *testing.T, q *Requests) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); q.InFlight() > 0; {
		require.True(t, time.Now().Before(deadline), "%d requests in flight", q.InFlight())
		_, err := q.Turn(1, 100*time.Millisecond)
		require.NoError(t, err)
	}
}

func pipe(t *testing.T) (r, w int) {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC))
	t.Cleanup(func() { _, _ = unix.Close(fds[0]), unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func TestRequestsPassCompletionsToTheirFunctions(t *testing.T) {
	for _, cfg := range []Config{{Entries: 8}, {Entries: 8, Flags: ownerFlags}, {Entries: 8, Flags: SetupSQE128 | SetupCQE32}} {
		q := newTestRequests(t, cfg)
		sum, want := 0, 0
		for i := range 1000 {
			id, err := q.Start((*SQE).PrepNop, func(c *CQE) { assert.Zero(t, c.Res); sum += i })
			for errors.Is(err, ErrQueueFull) {
				_, err = q.Turn(1, -1)
				require.NoError(t, err)
				id, err = q.Start((*SQE).PrepNop, func(c *CQE) { assert.Zero(t, c.Res); sum += i })
			}
			require.NoError(t, err)
			require.NotZero(t, id)
			want += i
		}
		drain(t, q)
		assert.Equal(t, want, sum)
		assert.Zero(t, q.Strays())
	}
}

// TestRequestsKeepMemory has the kernel read and write memory that nobody else has an address
// of, while the collector runs and stacks move.
func TestRequestsKeepMemory(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 256, Flags: ownerFlags})
	const n = 100
	var writers [n]int
	var freed atomic.Int32
	for i := range n {
		r, w := pipe(t)
		writers[i] = w
		startRead(t, q, r, byte(i), &freed)
		if i%8 == 0 {
			growStack(200)
			_ = make([][]byte, 1000)
		}
	}
	_, err := q.Turn(0, 0)
	require.NoError(t, err)
	for range 5 {
		runtime.GC()
		growStack(500)
		for range 1000 { // would take the places of what was freed
			_ = bytes.Repeat([]byte{0xee}, 64)
		}
	}
	assert.Zero(t, freed.Load(), "buffers of requests in flight that were freed")
	for i, w := range writers {
		_, err := unix.Write(w, bytes.Repeat([]byte{byte(i)}, 64))
		require.NoError(t, err)
	}
	drain(t, q)
	for range 10 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	assert.EqualValues(t, n, freed.Load(), "buffers that were freed after the last completion")
}

// startRead begins to read into memory that only the request has, once as the slice of Iovecs of
// two parts.
func startRead(t *testing.T, q *Requests, fd int, want byte, freed *atomic.Int32) {
	b := make([]byte, 64)
	first := unsafe.Pointer(unsafe.SliceData(b))
	at := uintptr(first)
	runtime.AddCleanup((*[64]byte)(first), func(int) { freed.Add(1) }, 0)
	prep := func(s *SQE) {
		if want%2 == 0 {
			s.PrepRead(fd, b, 0)
		} else {
			s.PrepReadv(fd, Iovecs(b[:10], b[10:]), 0)
		}
	}
	_, err := q.Start(prep, func(c *CQE) {
		assert.EqualValues(t, 64, c.Res)
		got := unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), 64) // kept by the request, until it returns
		assert.Equal(t, bytes.Repeat([]byte{want}, 64), got)
	})
	require.NoError(t, err)
}

// A buffer on the stack is moved to the heap: the compiler sees that its address is kept.
func TestRequestsWithABufferOfTheStack(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 8, Flags: ownerFlags})
	r, w := pipe(t)
	var b [5]byte
	_, err := q.Start(func(s *SQE) { s.PrepRead(r, b[:], 0) }, func(*CQE) {})
	require.NoError(t, err)
	_, err = q.Turn(0, 0)
	require.NoError(t, err)
	growStack(5000)
	_, err = unix.Write(w, []byte("hello"))
	require.NoError(t, err)
	drain(t, q)
	assert.Equal(t, "hello", string(b[:]))
}

func TestRequestsAreCancelled(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 8, Flags: ownerFlags})
	r, _ := pipe(t)
	var got []syscall.Errno
	done := func(c *CQE) { got = append(got, c.Errno()) }
	id, err := q.Start(func(s *SQE) { s.PrepRead(r, make([]byte, 1), 0) }, done)
	require.NoError(t, err)
	require.NoError(t, q.Cancel(id))
	drain(t, q)
	require.NoError(t, q.Cancel(id), "it has completed")
	assert.Zero(t, q.InFlight())
	assert.Equal(t, []syscall.Errno{syscall.ECANCELED}, got)
}

func TestRequestsEndWithTheirContext(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 64, Flags: ownerFlags})
	r, w := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := map[syscall.Errno]int{}
	for range 20 {
		_, err := q.StartContext(ctx, func(s *SQE) { s.PrepPollAdd(r, unix.POLLIN) }, func(c *CQE) { ended[c.Errno()]++ })
		require.NoError(t, err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	drain(t, q)
	assert.Equal(t, map[syscall.Errno]int{syscall.ECANCELED: 20}, ended)
	_, err := q.StartContext(ctx, (*SQE).PrepNop, func(*CQE) { t.Error("it was begun") })
	require.ErrorIs(t, err, context.Canceled)
	// A request that completes by itself leaves nothing behind.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	_, err = unix.Write(w, []byte("x"))
	require.NoError(t, err)
	n := 0
	_, err = q.StartContext(ctx, func(s *SQE) { s.PrepPollAdd(r, unix.POLLIN) }, func(c *CQE) { n = int(c.Res) })
	require.NoError(t, err)
	drain(t, q)
	assert.Equal(t, unix.POLLIN, n)
	_, err = q.StartContext(context.Background(), (*SQE).PrepNop, func(*CQE) { n = 0 })
	require.NoError(t, err)
	drain(t, q)
	assert.Zero(t, n)
}

// Contexts end while requests complete and the ring is closed.
func TestRequestsAndContextsRace(t *testing.T) {
	for range 20 {
		q := NewRequests(newTestRing(t, Config{Entries: 256, Flags: ownerFlags}))
		var all sync.WaitGroup
		begun, ended := 0, 0
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			after := time.Duration(rand.IntN(2000)) * time.Microsecond
			all.Go(func() { time.Sleep(after); cancel() })
			ts := TimespecOf(time.Duration(rand.IntN(2000)) * time.Microsecond)
			_, err := q.StartContext(ctx, func(s *SQE) { s.PrepTimeout(&ts, 0, 0) }, func(*CQE) { ended++ })
			if !errors.Is(err, context.Canceled) {
				require.NoError(t, err)
				begun++
			}
		}
		_, err := q.Turn(50, time.Second)
		require.NoError(t, err)
		require.NoError(t, q.Close(5*time.Second))
		all.Wait()
		assert.Equal(t, begun, ended)
	}
}

func TestLinkedRequests(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 4, Flags: ownerFlags})
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	got := make([]byte, 5)
	var order []int
	var results []int32
	err = q.StartLinked(func(i int, c *CQE) { order, results = append(order, i), append(results, c.Res) },
		func(s *SQE) { s.PrepWrite(int(f.Fd()), []byte("hello"), 0) },
		func(s *SQE) { s.PrepFsync(int(f.Fd()), FsyncDatasync) },
		func(s *SQE) { s.PrepRead(int(f.Fd()), got, 0) },
	)
	require.NoError(t, err)
	drain(t, q)
	assert.Equal(t, []int{0, 1, 2}, order)
	assert.Equal(t, []int32{5, 0, 5}, results)
	assert.Equal(t, "hello", string(got))

	// The first that fails ends the chain, unless it is a hard one.
	order, results = nil, nil
	err = q.StartLinked(func(i int, c *CQE) { order, results = append(order, i), append(results, c.Res) },
		func(s *SQE) { s.PrepRead(-1, got, 0); s.Flags |= SQEHardLink },
		func(s *SQE) { s.PrepRead(-1, got, 0) },
		(*SQE).PrepNop,
	)
	require.NoError(t, err)
	drain(t, q)
	assert.Equal(t, []int32{-int32(unix.EBADF), -int32(unix.EBADF), -int32(unix.ECANCELED)}, results)

	// A timeout behind a request.
	r, _ := pipe(t)
	ts := TimespecOf(time.Millisecond)
	results = nil
	err = q.StartLinked(func(_ int, c *CQE) { results = append(results, c.Res) },
		func(s *SQE) { s.PrepRead(r, got, 0) },
		func(s *SQE) { s.PrepLinkTimeout(&ts, 0) },
	)
	require.NoError(t, err)
	drain(t, q)
	assert.ElementsMatch(t, []int32{-int32(unix.ECANCELED), -int32(unix.ETIME)}, results)
}

// What cannot be begun leaves nothing behind.
func TestRequestsThatAreRefused(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 2, Flags: ownerFlags})
	never := func(*CQE) { t.Error("a completion") }
	for _, flag := range []SQEFlags{SQELink, SQEHardLink, SQECQESkipSuccess} {
		_, err := q.Start(func(s *SQE) { s.PrepNop(); s.Flags |= flag }, never)
		require.ErrorContains(t, err, "flags")
	}
	nop := (*SQE).PrepNop
	three := []func(*SQE){nop, nop, nop}
	neverOf := func(int, *CQE) { t.Error("a completion") }
	require.ErrorContains(t, q.StartLinked(neverOf), "0 is out of range: allowed are 1 to 2")
	require.ErrorContains(t, q.StartLinked(neverOf, three...), "3 is out of range: allowed are 1 to 2")
	require.ErrorContains(t, q.StartLinked(neverOf, nop, func(s *SQE) { s.PrepNop(); s.Flags |= SQECQESkipSuccess }), "flags")
	assert.Panics(t, func() { _, _ = q.Start(func(*SQE) { panic("prep") }, never) })
	assert.Zero(t, q.InFlight())
	assert.Zero(t, q.ring.SQReady())
	other := make(chan error)
	go func() { _, err := q.Turn(0, 0); other <- err }()
	require.ErrorIs(t, <-other, ErrWrongThread)
	require.NoError(t, q.Close(time.Second))
	_, err := q.Start(nop, never)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = q.Turn(0, 0)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, q.StartLinked(neverOf, nop), os.ErrClosed)
	require.NoError(t, q.Close(time.Second))
}

// A chain that does not fit into the queue now is refused whole.
func TestChainIsReservedWhole(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 4, Flags: SetupDisabled | ownerFlags}) // the kernel takes nothing
	nop := (*SQE).PrepNop
	three := []func(*SQE){nop, nop, nop}
	n := 0
	for range 2 {
		_, err := q.Start(nop, func(*CQE) { n++ })
		require.NoError(t, err)
	}
	err := q.StartLinked(func(int, *CQE) { t.Error("a completion") }, three...)
	require.Error(t, err)
	assert.Equal(t, 2, q.ring.SQReady())
	require.NoError(t, q.ring.Enable())
	drain(t, q)
	assert.Equal(t, 2, n)
}

// The memory of a send without a copy stays until the notification.
func TestRequestsKeepMemoryUntilTheNotification(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, q.ring, OpSendZC, "6.0")
	a, b := tcpPair(t)
	var flags []CQEFlags
	_, err := q.Start(func(s *SQE) { s.PrepSendZC(a, make([]byte, 1000), 0, 0) }, func(c *CQE) {
		require.Zero(t, c.Errno())
		flags = append(flags, c.Flags)
		if c.More() {
			require.Equal(t, 1, q.InFlight())
			require.NotNil(t, q.table.entries[0].memory[0])
		}
	})
	require.NoError(t, err)
	_, err = unix.Read(b, make([]byte, 1)) // before the turn there is nothing: do not wait
	require.ErrorIs(t, err, syscall.EAGAIN)
	for q.InFlight() > 0 {
		_, err = q.Turn(1, time.Second)
		require.NoError(t, err)
		_, _ = unix.Read(b, make([]byte, 4096))
	}
	require.Len(t, flags, 2)
	assert.NotZero(t, flags[0]&CQEMore)
	assert.NotZero(t, flags[1]&CQENotif)
	assert.Nil(t, q.table.entries[0].memory[0])
}

// tcpPair returns the fds of both ends of a connection, the second of which does not block.
func tcpPair(t *testing.T) (a, b int) {
	t.Helper()
	l, addr := sockListener(t)
	a = sockDial(t, addr)
	b, _, err := unix.Accept4(l, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	require.NoError(t, err)
	return a, sockClose(t, b)
}

// Requests that outlive their Requests keep their memory for ever.
func TestRequestsThatCannotBeEnded(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendZC, "6.0")
	q := NewRequests(r)
	a, b := tcpPair(t)
	require.NoError(t, unix.SetsockoptInt(b, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096))
	size := 1 << 20 // more than the peer takes
	_, err := q.Start(func(s *SQE) { s.PrepSendZC(a, make([]byte, size), unix.MSG_DONTWAIT, 0) }, func(*CQE) {})
	require.NoError(t, err)
	_, err = q.Turn(1, time.Second)
	require.NoError(t, err)
	err = q.Close(20 * time.Millisecond)
	if err == nil {
		t.Log("the kernel copied")
		return
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	rooted.Lock()
	defer rooted.Unlock()
	assert.Contains(t, rooted.all, q, "it stays, with the memory")
}
