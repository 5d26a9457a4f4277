//go:build linux && cgo

package zcrx

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/zcrx-go/zcrx/tools/cbench"
)

// newBenchMember makes another member of p's pool.
func newBenchMember(b *testing.B, p *Pool) *Pool {
	b.Helper()
	m := &Pool{loop: &Loop{}, memory: p.memory}
	m.ledger.init(&m.memory.mu, m, func() {})
	m.memory.hold()
	b.Cleanup(m.dropUser)
	return m
}

// BenchmarkSharedReturn measures only the release: the members of one pool, each on a
// goroutine of its own, against as many goroutines with a pool each. An operation is one
// buffer.
func BenchmarkSharedReturn(b *testing.B) {
	for _, members := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			shared := []*Pool{newBenchPool(b, cbench.Round)}
			separate := []*Pool{newBenchPool(b, cbench.Round)}
			for range members - 1 {
				shared = append(shared, newBenchMember(b, shared[0]))
				separate = append(separate, newBenchPool(b, cbench.Round))
			}
			benchmarkInTurns(b, 8*cbench.Round, "shared", releaseFromGoroutines(shared...), "separate", releaseFromGoroutines(separate...))
		})
	}
}

// calls makes n round trips.
func calls(call func() error) measurement {
	return func(n int) (time.Duration, error) {
		start := time.Now()
		for range n {
			if err := call(); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
}

// serve starts a goroutine that runs the functions sent to it.
func serve(b *testing.B, capacity int, lockThread bool) chan<- func() {
	b.Helper()
	functions := make(chan func(), capacity)
	b.Cleanup(func() { close(functions) })
	go func() {
		if lockThread {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
		}
		for fn := range functions {
			fn()
		}
	}()
	return functions
}

// callOver makes a goroutine run an empty function and waits for it.
func callOver(functions chan<- func()) func() error {
	answer := make(chan error, 1)
	return func() error {
		functions <- func() { answer <- nil }
		return <-answer
	}
}

func callLoop(l *Loop) func() error {
	return func() error { return l.do(func() error { return nil }) }
}

// latencies posts n functions, waits for each, and returns the times from post to run.
func latencies(post func(fn func()) error) measurement {
	return func(n int) (time.Duration, error) {
		took := make(chan time.Duration, 1)
		var all time.Duration
		for range n {
			start := time.Now()
			if err := post(func() { took <- time.Since(start) }); err != nil {
				return 0, err
			}
			all += <-took
		}
		return all, nil
	}
}

// inBursts posts n functions, 256 at a time, and waits after each of these bursts.
func inBursts(post func(fn func()) error, wait func() error) measurement {
	const burst = 256
	return func(n int) (time.Duration, error) {
		start := time.Now()
		for i := range n {
			if err := post(func() {}); err != nil {
				return 0, err
			}
			if i%burst == burst-1 {
				if err := wait(); err != nil {
					return 0, err
				}
			}
		}
		return time.Since(start), wait()
	}
}

// BenchmarkLoop compares running an empty function on a loop with sending it over a channel
// to a goroutine, and to one that is locked to its thread, as a loop is. Except in bursts,
// each side's thread sleeps before every call.
func BenchmarkLoop(b *testing.B) {
	l, err := NewLoop(LoopConfig{})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	const turn = 200 // operations of one side in a turn
	for _, locked := range []bool{false, true} {
		name := "channel"
		if locked {
			name = "locked-channel"
		}
		functions := serve(b, 0, locked)
		buffered := serve(b, 256, locked)
		b.Run("do/"+name, func(b *testing.B) {
			benchmarkInTurns(b, turn, "do", calls(callLoop(l)), "channel", calls(callOver(functions)))
		})
		b.Run("post/"+name, func(b *testing.B) {
			send := func(fn func()) error { functions <- fn; return nil }
			benchmarkInTurns(b, turn, "post", latencies(l.Post), "channel", latencies(send))
		})
		b.Run("burst/"+name, func(b *testing.B) {
			send := func(fn func()) error { buffered <- fn; return nil }
			benchmarkInTurns(b, 16*256, "post", inBursts(l.Post, callLoop(l)), "channel", inBursts(send, callOver(buffered)))
		})
	}
}
