//go:build linux && cgo

package zcrx

import (
	"context"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
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
				assert.NoError(t, l.Do(t.Context(), func(r *uring.Ring) error {
					tids.Store(sys.ThreadID(), true)
					_, err := r.Submit() // returns EEXIST on any other thread
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

func TestDoReturnsItsFunctionsError(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	want := errors.New("mine")
	assert.Equal(t, want, l.do(func() error { return want }))
}

func TestDoOnTheLoopRunsAtOnce(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	order := []int{}
	require.NoError(t, l.do(func() error {
		err := l.do(func() error { order = append(order, 1); return nil })
		order = append(order, 2)
		return err
	}))
	assert.Equal(t, []int{1, 2}, order)
}

func TestDoReportsPanicAndLoopLives(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	err := l.do(func() error { panic("boom") })
	p, ok := errors.AsType[*PanicError](err)
	require.True(t, ok)
	assert.Equal(t, "boom", p.Value)
	assert.Contains(t, err.Error(), "boom")
	assert.NoError(t, l.do(func() error { return nil }))
}

func TestDoGivesUpWithItsContext(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	hold, held := make(chan struct{}), make(chan struct{})
	require.NoError(t, l.Post(func() { close(held); <-hold }))
	<-held
	ctx, cancel := context.WithCancel(t.Context())
	var ran atomic.Bool
	result := make(chan error)
	go func() { result <- l.Do(ctx, func(*uring.Ring) error { ran.Store(true); return nil }) }()
	cancel()
	assert.ErrorIs(t, <-result, context.Canceled)
	close(hold)
	require.NoError(t, l.do(func() error { return nil }))
	assert.False(t, ran.Load(), "what was given up does not run later")
	assert.ErrorIs(t, l.Do(ctx, func(*uring.Ring) error { return nil }), context.Canceled)
}

func TestPostKeepsOrder(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	var got []int
	for i := range 1000 {
		require.NoError(t, l.Post(func() { got = append(got, i) }))
	}
	require.NoError(t, l.do(func() error { return nil }))
	require.Len(t, got, 1000)
	for i, v := range got {
		require.Equal(t, i, v)
	}
}

// TestSleepingLoopIsWoken posts one function at a time to a loop that is usually asleep: a
// lost wake-up would block the test.
func TestSleepingLoopIsWoken(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	for i := range 2000 {
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, l.do(func() error { return nil }))
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
	assert.ErrorIs(t, l.do(func() error { return nil }), ErrClosed)
	_, err = NewProvidedPool(l, PoolConfig{NumBuffers: 8})
	assert.ErrorIs(t, err, ErrClosed)
}

func TestLoopClosesItself(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	require.NoError(t, l.do(func() error { return l.Close() }))
	require.NoError(t, l.Close())
}

// TestPostAgainstClose calls Do while the loop is closed: each call either runs its
// function or returns ErrClosed, and none blocks.
func TestPostAgainstClose(t *testing.T) {
	for range 50 {
		l, err := NewLoop(LoopConfig{Entries: 8})
		require.NoError(t, err)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for {
					ran := false
					err := l.do(func() error { ran = true; return nil })
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

// TestDoAndPostFromManyGoroutines has 64 goroutines call Do and Post in every way at the
// same time: each function runs exactly once, in its goroutine's order, or Do returns the
// reason.
func TestDoAndPostFromManyGoroutines(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	const goroutines, rounds = 64, 100
	var posted [goroutines][]int // belongs to the loop's thread
	var mayFallBack, panicked, ran atomic.Int64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			rng := rand.New(rand.NewSource(int64(g)))
			for i := range rounds {
				assert.NoError(t, l.Post(func() { posted[g] = append(posted[g], i) }))
				switch rng.Intn(4) {
				case 0:
					var done bool
					assert.NoError(t, l.do(func() error { done = true; return nil }))
					assert.True(t, done)
				case 1:
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.Intn(100))*time.Microsecond)
					done := false
					err := l.Do(ctx, func(*uring.Ring) error { done = true; return nil })
					cancel()
					if err != nil {
						assert.ErrorIs(t, err, context.DeadlineExceeded)
						mayFallBack.Add(1)
					}
					assert.Equal(t, err == nil, done, "it ran, or it was called off")
				case 2:
					err := l.do(func() error { panic(i) })
					p, ok := errors.AsType[*PanicError](err)
					if assert.True(t, ok, "%v", err) {
						assert.Equal(t, i, p.Value)
						panicked.Add(1)
					}
				case 3: // from the loop itself
					assert.NoError(t, l.do(func() error {
						err := l.Post(func() { ran.Add(1) })
						return errors.Join(err, l.do(func() error { ran.Add(1); return nil }))
					}))
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.do(func() error {
		for g := range posted {
			assert.Len(t, posted[g], rounds)
			assert.IsIncreasing(t, posted[g])
		}
		return nil
	}))
	assert.Positive(t, panicked.Load())
	assert.Positive(t, ran.Load())
	assert.Zero(t, ran.Load()%2)
	t.Logf("%d called off, %d panicked, %d on the loop", mayFallBack.Load(), panicked.Load(), ran.Load())
}

// TestDoOnClosingLoop checks that functions posted before Close run, also while further
// ones are refused.
func TestDoOnClosingLoop(t *testing.T) {
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	hold, held := make(chan struct{}), make(chan struct{})
	require.NoError(t, l.Post(func() { close(held); <-hold }))
	<-held
	before := make(chan error)
	go func() { before <- l.do(func() error { return l.do(func() error { return nil }) }) }()
	for waiting := 0; waiting == 0; runtime.Gosched() {
		l.mu.Lock()
		waiting = len(l.posted)
		l.mu.Unlock()
	}
	closed := make(chan error)
	go func() { closed <- l.Close() }()
	for !l.isClosing() {
		runtime.Gosched()
	}
	assert.ErrorIs(t, l.do(func() error { return nil }), ErrClosed)
	assert.ErrorIs(t, l.Post(func() {}), ErrClosed)
	close(hold)
	assert.NoError(t, <-before)
	assert.NoError(t, <-closed)
	assert.ErrorIs(t, l.do(func() error { return nil }), ErrClosed)
}

const loopChild = "ZCRX_TEST_LOOP_CHILD"

// The functions that end the program, by the name that the child is given.
var loopEnds = map[string]func(l *Loop) error{
	"panic in Post":  func(l *Loop) error { return l.Post(func() { panic("boom") }) },
	"goexit in Post": func(l *Loop) error { return l.Post(runtime.Goexit) },
	"goexit in Do":   func(l *Loop) error { return l.do(func() error { runtime.Goexit(); return nil }) },
	"panic in Start": func(l *Loop) error {
		return l.do(func() error {
			return l.Start(func(s *uring.SQE) { s.PrepNop() }, func(*uring.CQE) { panic("boom") })
		})
	},
}

// TestLoopChild is what TestPanicAndGoexitEndTheProgram starts.
func TestLoopChild(t *testing.T) {
	end := loopEnds[os.Getenv(loopChild)]
	if end == nil {
		return
	}
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	require.NoError(t, end(l))
	select {} // nothing but the loop can end this
}

func TestPanicAndGoexitEndTheProgram(t *testing.T) {
	exe, err := os.Executable()
	require.NoError(t, err)
	for name := range loopEnds {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, exe, "-test.run=^TestLoopChild$")
		cmd.Env = append(os.Environ(), loopChild+"="+name)
		out, err := cmd.CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok, "%s: %v: %s", name, err, out)
		assert.Equal(t, 2, exit.ExitCode(), "%s: %s", name, out)
		if strings.HasPrefix(name, "panic") {
			assert.Contains(t, string(out), "panic: boom", name)
			assert.Contains(t, string(out), "loop_test.go", "the stack leads to the function")
		} else {
			assert.Contains(t, string(out), "panic: zcrx: runtime.Goexit on a loop", name)
		}
	}
}

func TestStartRunsAnyRequest(t *testing.T) {
	l := newTestLoop(t, LoopConfig{Entries: 4})
	const n = 100 // many times the submission queue
	results := make(chan int32, n)
	require.NoError(t, l.do(func() error {
		for range n {
			err := l.Start(func(s *uring.SQE) { s.PrepNop() }, func(c *uring.CQE) { results <- c.Res })
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
	require.NoError(t, l.do(func() error {
		return l.Start(func(s *uring.SQE) { s.PrepPollMultishot(fd, 1) }, func(c *uring.CQE) { last.Store(c.Res) })
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

func TestThousandCyclesLeakNothing(t *testing.T) {
	cycle := func() {
		l, err := NewLoop(LoopConfig{Entries: 8, CQEntries: 16})
		require.NoError(t, err)
		p, err := NewProvidedPool(l, PoolConfig{NumBuffers: 8})
		require.NoError(t, err)
		require.NoError(t, p.Close())
		require.NoError(t, l.Close())
	}
	for range 20 {
		cycle() // warm up threads and caches of the runtime
	}
	fds, goroutines, maps := openFDs(t), runtime.NumGoroutine(), mappings(t)
	for range zcrxtest.Volume(1000) {
		cycle()
	}
	settled(t, fds, goroutines)
	// The Go runtime maps a few arenas and thread stacks.
	assert.Less(t, mappings(t), maps+100)
}

// TestIdleLoopsDoNotCountAsIOWait looks at how many threads of the machine the kernel takes
// to wait for I/O.
func TestIdleLoopsDoNotCountAsIOWait(t *testing.T) {
	const loops = 32
	for range loops {
		newTestLoop(t, LoopConfig{Entries: 8, CQEntries: 16})
	}
	err := newTestLoop(t, LoopConfig{}).Do(t.Context(), func(r *uring.Ring) error { return r.SetIOWait(false) })
	skip.Unless(t, "not counting as waiting for I/O", "6.15", err)
	eventually(t, "fewer threads than there are loops wait for I/O", func() bool {
		b, err := os.ReadFile("/proc/stat")
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			if blocked, ok := strings.CutPrefix(line, "procs_blocked "); ok {
				n, err := strconv.Atoi(strings.TrimSpace(blocked))
				require.NoError(t, err)
				return n < loops
			}
		}
		t.Fatal("/proc/stat has no procs_blocked")
		return false
	})
}
