//go:build linux && cgo

package uring_test

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// wheel calls functions at their times: the kernel keeps the timers in order.
type wheel struct{ requests *uring.Requests }

// after calls fn in d. The returned function stops the timer.
func (w wheel) after(d time.Duration, fn func()) (stop func()) {
	ts := uring.TimespecOf(d)
	id, err := w.requests.Start(
		func(s *uring.SQE) { s.PrepTimeout(&ts, 0, 0) },
		func(c *uring.CQE) {
			if c.Errno() == syscall.ETIME {
				fn()
			}
		})
	check(err)
	return func() { check(w.requests.Cancel(id)) }
}

// This example is a timer wheel: the thread sleeps in the kernel until the next timer is due.
func Example_timerWheel() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 64})
	check(err)
	defer ring.Close()
	w := wheel{uring.NewRequests(ring)}

	var late func()
	w.after(30*time.Millisecond, func() { fmt.Println("third") })
	w.after(20*time.Millisecond, func() { fmt.Println("second, and no fourth"); late() })
	w.after(10*time.Millisecond, func() { fmt.Println("first") })
	late = w.after(time.Hour, func() { fmt.Println("fourth") })
	for w.requests.InFlight() > 0 {
		_, err := w.requests.Turn(1, -1)
		check(err)
	}
	check(w.requests.Close(time.Second))
	// Output:
	// first
	// second, and no fourth
	// third
}
