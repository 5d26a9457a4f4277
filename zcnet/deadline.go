package zcnet

import (
	"sync"
	"sync/atomic"
	"time"
)

// deadline is a moment that may be moved; the channel of done is closed once it
// has passed. The zero value never passes.
type deadline struct {
	// hasPassed is written with mu held. Anybody may load it.
	hasPassed atomic.Bool

	mu sync.Mutex
	// Guarded by mu:
	passed     chan struct{} // nil until somebody waits
	timer      *time.Timer
	generation uint64 // of timer: one that was stopped too late does nothing
}

// set moves the deadline; the zero time is never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.generation++
	left := time.Until(t)
	if !t.IsZero() && left <= 0 {
		d.pass()
		return
	}
	if d.hasPassed.Load() { // whoever waits from now on waits for another moment
		d.hasPassed.Store(false)
		d.passed = nil
	}
	if t.IsZero() {
		return
	}
	generation := d.generation
	d.timer = time.AfterFunc(left, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.generation == generation {
			d.pass()
		}
	})
}

// pass is called with mu held.
func (d *deadline) pass() {
	if !d.hasPassed.Swap(true) {
		if d.passed == nil {
			d.passed = make(chan struct{})
		}
		close(d.passed)
	}
}

// done is closed once the deadline has passed.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// noLimit never passes.
var noLimit deadline
