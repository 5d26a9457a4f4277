//go:build linux && cgo

package zcrx

import (
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/uring"
)

// TestOwnEntriesBesideTheLoops has a program queue entries by itself: they wake nobody, and
// end no request of the loop.
func TestOwnEntriesBesideTheLoops(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	defer l.Close()
	before := l.Stats()
	require.NoError(t, l.Do(t.Context(), func(r *uring.Ring) error {
		for i := range uint64(3) {
			s := r.GetSQE()
			s.PrepNop()
			s.UserData = i
		}
		return nil
	}))
	eventually(t, "they have completed", func() bool { return l.Stats().Strays >= before.Strays+3 })
	require.NoError(t, l.do(func() error { return nil }))
	after := l.Stats()
	assert.Equal(t, before.Strays+3, after.Strays)
	assert.LessOrEqual(t, after.WakeUps, before.WakeUps+2, "of the two functions, and not of the entries")
	require.NoError(t, l.do(func() error { assert.True(t, l.wakeArmed || l.again); return nil }))
}

func TestStartRefusesFlags(t *testing.T) {
	l := newTestLoop(t, LoopConfig{Entries: 4})
	for _, flags := range []uring.SQEFlags{uring.SQELink, uring.SQEHardLink, uring.SQECQESkipSuccess} {
		for range 10 {
			require.NoError(t, l.do(func() error {
				live := l.ops.live
				err := l.Start(func(s *uring.SQE) { s.PrepNop(); s.Flags |= flags }, func(*uring.CQE) { t.Error("it was begun") })
				assert.ErrorContains(t, err, "StartLinked")
				assert.Equal(t, live+1, l.ops.live, "the entry does nothing")
				return nil
			}))
		}
	}
	require.NoError(t, l.Close(), "nothing is left to wait for")
}

// TestStartLinked begins chains while the queue is about to be full: each runs as one.
func TestStartLinked(t *testing.T) {
	l := newTestLoop(t, LoopConfig{Entries: 4})
	nop := func(s *uring.SQE) { s.PrepNop() }
	bad := func(s *uring.SQE) { s.PrepClose(-1) }
	hard := func(s *uring.SQE) { s.PrepClose(-1); s.Flags |= uring.SQEHardLink }
	for queued := range 4 {
		for name, chain := range map[string]struct {
			preps []func(*uring.SQE)
			want  []syscall.Errno
		}{
			"all succeed":   {[]func(*uring.SQE){nop, nop, nop}, []syscall.Errno{0, 0, 0}},
			"one fails":     {[]func(*uring.SQE){nop, bad, nop, nop}, []syscall.Errno{0, syscall.EBADF, syscall.ECANCELED, syscall.ECANCELED}},
			"one is hard":   {[]func(*uring.SQE){hard, nop}, []syscall.Errno{syscall.EBADF, 0}},
			"the last also": {[]func(*uring.SQE){nop, hard}, []syscall.Errno{0, syscall.EBADF}},
		} {
			got := make([]syscall.Errno, len(chain.preps))
			var left atomic.Int32
			left.Store(int32(len(got)))
			require.NoError(t, l.do(func() error {
				for range queued {
					if err := l.Start(nop, func(*uring.CQE) {}); err != nil {
						return err
					}
				}
				return l.StartLinked(func(i int, c *uring.CQE) {
					got[i] = c.Errno()
					left.Add(-1)
				}, chain.preps...)
			}))
			eventually(t, "the chain has ended", func() bool { return left.Load() == 0 })
			assert.Equal(t, chain.want, got, "%s behind %d others", name, queued)
		}
	}
	require.NoError(t, l.do(func() error {
		assert.ErrorContains(t, l.StartLinked(nil), "0 is out of range: allowed are 1 to 4")
		assert.ErrorContains(t, l.StartLinked(nil, slices.Repeat([]func(*uring.SQE){nop}, 5)...), "5 is out of range")
		return nil
	}))
}

// TestStartKeepsMemory reads into memory that nobody but the kernel has the address of, and
// collects garbage meanwhile.
func TestStartKeepsMemory(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	var collected atomic.Bool
	done := make(chan int32, 1)
	require.NoError(t, l.do(func() error {
		return l.Start(func(s *uring.SQE) {
			b := new([64]byte)
			runtime.AddCleanup(b, func(*atomic.Bool) { collected.Store(true) }, &collected)
			s.PrepRead(fds[0], b[:], -1)
		}, func(c *uring.CQE) { done <- c.Res })
	}))
	for range 5 {
		runtime.GC()
	}
	assert.False(t, collected.Load(), "the kernel may write to it")
	_, err = unix.Write(fds[1], []byte("late"))
	require.NoError(t, err)
	assert.EqualValues(t, 4, <-done)
	eventually(t, "it is given up", func() bool { runtime.GC(); return collected.Load() })
}
