package zcnet

import (
	"sync"
	"sync/atomic"
	"time"
)

// deadline is a moment that can be moved and waited for. The zero value never passes.
type deadline struct {
	setting sync.Mutex // held while this deadline and that of a socket are set
	// hasPassed is stored with mu held, and loaded without it.
	hasPassed atomic.Bool

	mu sync.Mutex
	// Guarded by mu:
	passed     chan struct{} // closed when the deadline passes; made when first needed
	onPass     func()        // called when the deadline passes; may be nil
	timer      *time.Timer
	generation uint64 // number of calls of set; a timer of an earlier call does nothing
}

// set moves the deadline to t. With the zero time it never passes.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.generation++
	left := time.Duration(0)
	if !t.IsZero() {
		if left = time.Until(t); left <= 0 {
			d.pass()
			return
		}
	}
	if d.hasPassed.Load() { // passed is closed: calls that wait from now on need another
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

// isSet reports whether the deadline is a moment, which may have passed.
func (d *deadline) isSet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.timer != nil || d.hasPassed.Load()
}

// whenPassed makes the deadline call fn each time it passes from now on. fn must not wait.
func (d *deadline) whenPassed(fn func()) {
	d.mu.Lock()
	d.onPass = fn
	d.mu.Unlock()
}

// pass marks the deadline as passed. It is called with mu held.
func (d *deadline) pass() {
	if !d.hasPassed.Swap(true) {
		if d.onPass != nil {
			d.onPass()
		}
		if d.passed == nil {
			d.passed = make(chan struct{})
		}
		close(d.passed)
	}
}

// done returns a channel that is closed when the deadline passes. After the deadline has
// passed and was moved, done returns another channel.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// noLimit is a deadline that never passes.
var noLimit deadline
