//go:build linux && cgo

package zcrx

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newTestLoop(t testing.TB, cfg LoopConfig) *Loop {
	t.Helper()
	l, err := NewLoop(cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		assert.Zero(t, l.Stats().Strays)
	})
	return l
}

func TestDoRunsOnOneThread(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	var tids sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				assert.NoError(t, l.do(func(r *Ring) error {
					tids.Store(threadID(), true)
					_, err := r.Submit() // answers EEXIST anywhere else
					return err
				}))
			}
		})
	}
	wg.Wait()
	n := 0
	tids.Range(func(any, any) bool { n++; return true })
	assert.Equal(t, 1, n)
}

func TestDoAnswersWhatItsFunctionAnswers(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	want := errors.New("mine")
	assert.Equal(t, want, l.do(func(*Ring) error { return want }))
}

func TestDoOnTheLoopRunsAtOnce(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	order := []int{}
	require.NoError(t, l.do(func(*Ring) error {
		err := l.do(func(*Ring) error { order = append(order, 1); return nil })
		order = append(order, 2)
		return err
	}))
	assert.Equal(t, []int{1, 2}, order)
}

func TestDoReportsPanicAndLoopLives(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	err := l.do(func(*Ring) error { panic("boom") })
	p, ok := errors.AsType[*PanicError](err)
	require.True(t, ok)
	assert.Equal(t, "boom", p.Value)
	assert.Contains(t, err.Error(), "boom")
	assert.NoError(t, l.do(func(*Ring) error { return nil }))
}

func TestDoGivesUpWithItsContext(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	hold, held := make(chan struct{}), make(chan struct{})
	require.NoError(t, l.Post(func() { close(held); <-hold }))
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	var ran atomic.Bool
	result := make(chan error)
	go func() { result <- l.Do(ctx, func(*Ring) error { ran.Store(true); return nil }) }()
	cancel()
	assert.ErrorIs(t, <-result, context.Canceled)
	close(hold)
	require.NoError(t, l.do(func(*Ring) error { return nil }))
	assert.False(t, ran.Load(), "what was given up does not run later")
	assert.ErrorIs(t, l.Do(ctx, func(*Ring) error { return nil }), context.Canceled)
}

func TestPostKeepsOrder(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	var got []int
	for i := range 1000 {
		require.NoError(t, l.Post(func() { got = append(got, i) }))
	}
	require.NoError(t, l.do(func(*Ring) error { return nil }))
	require.Len(t, got, 1000)
	for i, v := range got {
		require.Equal(t, i, v)
	}
}

// TestSleepingLoopIsWoken posts one function at a time to a loop that is most
// often asleep: a lost wake-up would hang it.
func TestSleepingLoopIsWoken(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	for i := range 2000 {
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, l.do(func(*Ring) error { return nil }))
	}
	assert.Positive(t, l.Stats().WakeUps)
}

func TestClosedLoopRefuses(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	ran := false
	require.NoError(t, l.Post(func() { ran = true }))
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	assert.True(t, ran, "what was posted before runs")
	assert.ErrorIs(t, l.Post(func() {}), ErrClosed)
	assert.ErrorIs(t, l.do(func(*Ring) error { return nil }), ErrClosed)
	_, err = NewProvidedPool(l, PoolConfig{NumBuffers: 8})
	assert.ErrorIs(t, err, ErrClosed)
}

func TestLoopClosesItself(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	require.NoError(t, l.do(func(*Ring) error { return l.Close() }))
	require.NoError(t, l.Close())
}

// TestPostAgainstClose races producers against the end: every Do either ran or
// answered ErrClosed, and none hangs.
func TestPostAgainstClose(t *testing.T) {
	for range 50 {
		l, err := NewLoop(LoopConfig{Entries: 8})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					ran := false
					err := l.do(func(*Ring) error { ran = true; return nil })
					if err != nil {
						assert.ErrorIs(t, err, ErrClosed)
						assert.False(t, ran)
						return
					}
					assert.True(t, ran)
				}
			})
		}
		runtime.Gosched()
		require.NoError(t, l.Close())
		wg.Wait()
	}
}

func TestStart(t *testing.T) {
	l := newTestLoop(t, LoopConfig{Entries: 4})
	const n = 100 // many times the submission queue
	results := make(chan int32, n)
	require.NoError(t, l.do(func(*Ring) error {
		for range n {
			err := l.Start(func(s *SQE) { s.PrepNop() }, func(c *CQE) { results <- c.Res })
			if err != nil {
				return err
			}
		}
		return nil
	}))
	for range n {
		assert.Zero(t, <-results)
	}
}

func TestRequestsInFlightEndWithTheLoop(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	defer write.Close()
	var last atomic.Int32
	fd := int(read.Fd())
	require.NoError(t, l.do(func(*Ring) error {
		return l.Start(func(s *SQE) { s.PrepPollMultishot(fd, 1) }, func(c *CQE) { last.Store(c.Res) })
	}))
	require.NoError(t, l.Close())
	assert.Equal(t, -int32(syscall.ECANCELED), last.Load())
}

func TestLoopConfigRanges(t *testing.T) {
	for want, cfg := range map[string]LoopConfig{
		"Entries -1 is out of range":                                {Entries: -1},
		"CQEntries 70000 is out of range: allowed are 256 to 65536": {CQEntries: 70000},
		"CQEntries 2 is out of range: allowed are 4 to 65536":       {Entries: 2, CQEntries: 2},
		"CompletionSize 9 is out of range: allowed are 0 to 3":      {CompletionSize: 9},
	} {
		_, err := NewLoop(cfg)
		assert.ErrorContains(t, err, want)
	}
}

// openFDs counts this process's file descriptors.
func openFDs(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// settled waits until fds and goroutines are back to what they were: a ring's
// memory and threads go a moment after its Close.
func settled(t testing.TB, fds, goroutines int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		nowFDs, nowGoroutines := openFDs(t), runtime.NumGoroutine()
		if nowFDs <= fds && nowGoroutines <= goroutines {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("fds %d, were %d; goroutines %d, were %d", nowFDs, fds, nowGoroutines, goroutines)
		}
	}
}

// mappings counts this process's memory mappings.
func mappings(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	require.NoError(t, err)
	n := 0
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}

func TestThousandCyclesLeakNothing(t *testing.T) {
	if testing.Short() {
		t.Log("short: 50 cycles")
	}
	cycle := func() {
		l, err := NewLoop(LoopConfig{Entries: 8, CQEntries: 16})
		require.NoError(t, err)
		p, err := NewProvidedPool(l, PoolConfig{NumBuffers: 8})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		require.NoError(t, l.Close())
	}
	for range 20 {
		cycle() // threads and caches of the runtime come to be
	}
	fds, goroutines, maps := openFDs(t), runtime.NumGoroutine(), mappings(t)
	n := 1000
	if testing.Short() {
		n = 50
	}
	for range n {
		cycle()
	}
	settled(t, fds, goroutines)
	// The runtime maps a few arenas and thread stacks of its own.
	assert.Less(t, mappings(t), maps+100)
}
