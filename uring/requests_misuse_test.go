//go:build linux && cgo

package uring

import (
	"context"
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A function that turns by itself loses no completion of the turn that called it.
func TestRequestsTurnInAFunction(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 16, Flags: ownerFlags})
	n := 0
	count := func(*CQE) { n++ }
	for i := range 4 {
		_, err := q.Start((*SQE).PrepNop, func(c *CQE) {
			count(c)
			if i > 0 {
				return
			}
			for range 3 {
				_, err := q.Start((*SQE).PrepNop, count)
				assert.NoError(t, err)
			}
			_, err := q.Turn(3, time.Second)
			assert.NoError(t, err)
		})
		require.NoError(t, err)
	}
	drain(t, q)
	assert.Equal(t, 7, n)
	assert.Zero(t, q.Strays())
}

func TestRequestsCloseInAFunction(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 16, Flags: ownerFlags})
	n := 0
	closed := errors.New("not called")
	for i := range 4 {
		_, err := q.Start((*SQE).PrepNop, func(*CQE) {
			if n++; i == 0 {
				closed = q.Close(5 * time.Second)
			}
		})
		require.NoError(t, err)
	}
	_, err := q.Turn(4, time.Second)
	require.NoError(t, err)
	require.NoError(t, closed)
	assert.Equal(t, 4, n)
}

// A program that recovers from a panic of its function gets the other completions.
func TestRequestsPanicInAFunction(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 16, Flags: ownerFlags})
	n := 0
	for i := range 4 {
		_, err := q.Start((*SQE).PrepNop, func(*CQE) {
			if n++; i == 0 {
				panic("done")
			}
		})
		require.NoError(t, err)
	}
	assert.PanicsWithValue(t, "done", func() { _, _ = q.Turn(4, time.Second) })
	drain(t, q)
	assert.Equal(t, 4, n)
}

func TestRequestsThatNobodyWaitsFor(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 16, Flags: ownerFlags})
	_, err := q.Start((*SQE).PrepNop, nil)
	require.NoError(t, err)
	require.NoError(t, q.StartLinked(nil, slices.Repeat([]func(*SQE){(*SQE).PrepNop}, 2)...))
	n, err := q.Turn(3, time.Second)
	require.NoError(t, err)
	assert.Equal(t, 3, n)
	assert.Zero(t, q.InFlight())
	assert.Zero(t, q.Strays())
}

// Contexts that end are noticed by a turn that waits for several completions, and what wakes it
// is not counted.
func TestRequestsTurnOfTwoAndContexts(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 16, Flags: ownerFlags})
	fd, _ := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	for range 2 {
		_, err := q.StartContext(ctx, func(s *SQE) { s.PrepPollAdd(fd, unix.POLLIN) }, func(*CQE) { calls++ })
		require.NoError(t, err)
	}
	time.AfterFunc(20*time.Millisecond, cancel)
	n, err := q.Turn(2, -1)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, 2, calls)
	n, err = q.Turn(1, -1)
	require.NoError(t, err, "nothing is in flight, so there is nothing to wait for")
	assert.Zero(t, n)
}

func TestRequestsContextAfterClose(t *testing.T) {
	r := newTestRing(t, Config{Entries: 16, Flags: ownerFlags})
	q := NewRequests(r)
	fd, _ := pipe(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := q.StartContext(ctx, func(s *SQE) { s.PrepPollAdd(fd, unix.POLLIN) }, nil)
	require.NoError(t, err)
	require.NoError(t, q.Close(5*time.Second))
	go q.cancelLater(1 << 32) // as a context does that ends just then
	_, err = q.StartContext(ctx, (*SQE).PrepNop, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	q.mu.Lock()
	defer q.mu.Unlock()
	assert.Equal(t, -1, q.fd)
}

// What prep must not do is refused, and begins nothing.
func TestRequestsPrepDoesOnlyPrepare(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 2, Flags: ownerFlags})
	fd, _ := pipe(t)
	b := make([]byte, 8)
	read := func(s *SQE) { s.PrepRead(fd, b, 0) }
	for name, call := range map[string]func() error{
		"Start":        func() error { _, err := q.Start(read, nil); return err },
		"StartLinked":  func() error { return q.StartLinked(nil, read) },
		"StartContext": func() error { _, err := q.StartContext(t.Context(), read, nil); return err },
		"Turn":         func() error { _, err := q.Turn(0, 0); return err },
		"Cancel":       func() error { return q.Cancel(1 << 32) },
		"Close":        func() error { return q.Close(time.Second) },
	} {
		_, err := q.Start(func(s *SQE) {
			assert.ErrorIs(t, call(), errPreparing, name)
			s.PrepNop()
		}, nil)
		require.NoError(t, err, name)
		drain(t, q)
	}
	for name, prep := range map[string]func(s *SQE){
		"a new entry": func(s *SQE) { *s = SQE{}; read(s) },
		"a copy":      func(s *SQE) { c := *s; read(&c); *s = c },
	} {
		_, err := q.Start(prep, nil)
		require.ErrorContains(t, err, "the entry was replaced", name)
	}
	assert.PanicsWithValue(t, "uring: an entry was prepared more than once: call one Prep method", func() {
		_, _ = q.Start(func(s *SQE) {
			for range maxMemory + 1 {
				read(s)
			}
		}, nil)
	})
	_, err := q.Start((*SQE).PrepNop128, nil)
	require.ErrorContains(t, err, "needs a ring with SetupSQE128")
	assert.Zero(t, q.InFlight())
	assert.Zero(t, q.ring.SQReady())
	_, err = q.Start(func(*SQE) { assert.NoError(t, q.ring.Close()) }, nil)
	require.ErrorIs(t, err, os.ErrClosed)
	_, err = q.Turn(0, 0)
	require.ErrorIs(t, err, os.ErrClosed)
}

// The memory stays although the program drops its Requests, with a request in flight.
func TestRequestsThatAreDropped(t *testing.T) {
	for _, closeRing := range []bool{false, true} {
		r := newTestRing(t, Config{Entries: 16, Flags: ownerFlags})
		fd, w := pipe(t)
		freed := &atomic.Int32{}
		func() {
			q := NewRequests(r)
			startRead(t, q, fd, 2, freed)
			_, err := q.Turn(0, 0)
			require.NoError(t, err)
		}()
		if closeRing {
			require.NoError(t, r.Close())
		}
		for range 5 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		assert.Zero(t, freed.Load())
		if closeRing {
			continue
		}
		_, err := unix.Write(w, make([]byte, 64))
		require.NoError(t, err)
		again := NewRequests(r)
		again.table.entries[0].done = nil // which looks for other bytes
		drain(t, again)
		require.NoError(t, again.Close(time.Second))
	}
}

// Close asks for each cancellation once, and waits without spinning.
func TestRequestsCloseDoesNotSpin(t *testing.T) {
	r := newTestRing(t, Config{Entries: 16, Flags: ownerFlags})
	need(t, r, OpSendZC, "6.0")
	q := NewRequests(r)
	a, _ := tcpPair(t)
	_, err := q.Start(func(s *SQE) { s.PrepSendZC(a, make([]byte, 8<<20), unix.MSG_DONTWAIT, 0) }, nil)
	require.NoError(t, err)
	_, err = q.Turn(1, time.Second)
	require.NoError(t, err)
	before := r.Calls()
	_ = q.Close(200 * time.Millisecond) // an error if the kernel has not copied
	assert.Less(t, r.Calls()-before, uint64(100))
}

// A place whose generations are used up is not used again, and new Requests of a ring do not
// take late completions for theirs.
func TestRequestsAreNamedOnce(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	q := NewRequests(r)
	seen := map[Request]bool{}
	nop := func() {
		id, err := q.Start((*SQE).PrepNop, nil)
		require.NoError(t, err)
		assert.False(t, seen[id], "%#x was given again", uint64(id))
		seen[id] = true
		drain(t, q)
	}
	nop()
	nop()
	q.table.entries[0].generation = math.MaxUint32
	nop()
	nop()
	assert.Same(t, q, NewRequests(r))
	q.table.entries = q.table.entries[:0]
	q.table.free = nil
	q.table.first = 7
	nop()
	require.NoError(t, q.Close(time.Second))
	q = NewRequests(r)
	nop()
	require.NoError(t, q.Close(time.Second))
}

// The completion queue is too small for what is in flight.
func TestRequestsOverflow(t *testing.T) {
	for _, flags := range []SetupFlags{0, ownerFlags, SetupSQPoll, SetupCoopTaskrun} {
		q := newTestRequests(t, Config{Entries: 8, CQEntries: 8, Flags: flags})
		n := 0
		for range 200 {
			for {
				_, err := q.Start((*SQE).PrepNop, func(*CQE) { n++ })
				if err == nil {
					break
				}
				require.ErrorIs(t, err, ErrQueueFull)
			}
		}
		drain(t, q)
		assert.Equal(t, 200, n)
		assert.Zero(t, q.Strays())
	}
}

// A ring that polls devices cannot be woken by an eventfd.
func TestRequestsContextNeedsAWakeUp(t *testing.T) {
	q := newTestRequests(t, Config{Entries: 8, Flags: SetupIOPoll})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := q.StartContext(ctx, (*SQE).PrepNop, nil)
	require.ErrorContains(t, err, "SetupIOPoll")
	assert.Zero(t, q.InFlight())
}
