package zcnet

import (
	"bytes"
	"log/slog"
	"reflect"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// FiberStats is a snapshot of the counters of an engine's fibers and Handlers. Those of a
// Listener.Serve in Socket mode, which are goroutines, are counted too.
type FiberStats struct {
	Open    int    // functions that run or wait
	Started uint64 // functions started so far
	Panics  uint64 // functions that ended with a panic
	// Stalls is how many times a fiber or a Handler kept its loop from going on for
	// Config.StallThreshold, and LongestStall how long, to about half of the threshold.
	Stalls       uint64
	LongestStall time.Duration
}

// fiberTally counts the fibers of an engine and reports their faults. It is safe from any
// goroutine.
type fiberTally struct {
	logger  *slog.Logger // nil if there is none
	open    atomic.Int64
	started atomic.Uint64
	panics  atomic.Uint64
	stalls  atomic.Uint64
	longest atomic.Int64 // a time.Duration
}

func (t *fiberTally) stats() FiberStats {
	return FiberStats{
		Open: int(t.open.Load()), Started: t.started.Load(), Panics: t.panics.Load(),
		Stalls: t.stalls.Load(), LongestStall: time.Duration(t.longest.Load()),
	}
}

// panicked reports a panic. Without a logger it uses the program's: a panic is never silent.
func (t *fiberTally) panicked(v any, stack []byte) {
	t.panics.Add(1)
	logger := t.logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.Error("zcnet: panic in a fiber", "panic", v, "stack", string(stack))
}

// stalled reports that a function has kept its loop from going on for d.
func (t *fiberTally) stalled(c *userCode, d time.Duration) {
	t.stalls.Add(1)
	if t.logger == nil {
		return
	}
	t.logger.Warn("zcnet: a function keeps its loop from going on", "function", c.name(), "for", d, "stack", string(stackOf(c.goroutine.Load())))
}

// userCode is a function of the program's that runs on a loop.
type userCode struct {
	function  atomic.Uintptr // its program counter
	goroutine atomic.Uint64  // what it runs on
}

func (c *userCode) name() string {
	if f := runtime.FuncForPC(c.function.Load()); f != nil {
		return f.Name()
	}
	return "unknown"
}

// programCounter identifies a function.
func programCounter(fn any) uintptr { return reflect.ValueOf(fn).Pointer() }

// stallWatch says which function runs on a loop. The loop's thread stores, the watchdog
// loads.
type stallWatch struct{ running atomic.Pointer[userCode] }

func (w *stallWatch) enter(c *userCode) { w.running.Store(c) }
func (w *stallWatch) leave()            { w.running.Store(nil) }

// watchdog finds functions that keep loops from going on. It looks at each loop twice within
// the threshold: a loop that was in a function both times and has not begun another turn in
// between is stalled. So it costs the loop two stores for each function, and no clock.
type watchdog struct {
	tally     *fiberTally
	threshold time.Duration // negative if nothing is to be found

	mu      sync.Mutex
	watched map[*scheduler]*watchedLoop // guarded by mu; nil before the first and after stop
	stopped bool                        // guarded by mu
	end     chan struct{}               // closed by stop
}

// watchedLoop is what the watchdog saw of a loop when it looked last.
type watchedLoop struct {
	turns   uint64
	in      bool // it was in a function
	stalled time.Duration
	told    bool
}

// add makes the watchdog look at the loop that calls it.
func (w *watchdog) add(s *scheduler) {
	if s.watched || w.threshold < 0 {
		return
	}
	s.watched = true
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	if w.watched == nil {
		w.watched, w.end = map[*scheduler]*watchedLoop{}, make(chan struct{})
		go w.run(w.end)
	}
	w.watched[s] = &watchedLoop{}
}

// stop ends the watchdog.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched != nil {
		close(w.end)
	}
	w.watched, w.stopped = nil, true
}

func (w *watchdog) run(end chan struct{}) {
	tick := time.NewTicker(w.threshold / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.look()
		case <-end:
			return
		}
	}
}

func (w *watchdog) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s, was := range w.watched {
		w.lookAt(s, was)
	}
}

func (w *watchdog) lookAt(s *scheduler, was *watchedLoop) {
	code, turns := s.watch.running.Load(), s.loop.Stats().Turns
	if code == nil || !was.in || turns != was.turns {
		*was = watchedLoop{turns: turns, in: code != nil}
		return
	}
	was.stalled += w.threshold / 2
	if was.stalled < w.threshold {
		return
	}
	if int64(was.stalled) > w.tally.longest.Load() {
		w.tally.longest.Store(int64(was.stalled))
	}
	if !was.told {
		was.told = true
		w.tally.stalled(code, was.stalled)
	}
}

// goroutineID returns the number of the calling goroutine, as stack traces show it.
func goroutineID() uint64 {
	var b [64]byte
	return parseGoroutineID(b[:runtime.Stack(b[:], false)])
}

func parseGoroutineID(trace []byte) uint64 {
	trace = bytes.TrimPrefix(trace, []byte("goroutine "))
	number, _, _ := bytes.Cut(trace, []byte(" "))
	id, _ := strconv.ParseUint(string(number), 10, 64)
	return id
}

// mostTraces bounds the text in which the stack of a goroutine is looked for, in bytes.
const mostTraces = 4 << 20

// stackOf returns the stack of a goroutine, nil if it is not found.
func stackOf(id uint64) []byte {
	all := make([]byte, mostTraces)
	all = all[:runtime.Stack(all, true)]
	for trace := range bytes.SplitSeq(all, []byte("\n\n")) {
		if parseGoroutineID(trace) == id {
			return trace
		}
	}
	return nil
}
