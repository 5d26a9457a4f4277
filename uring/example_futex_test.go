//go:build linux && cgo

package uring_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// This example waits for a futex and for a timer at the same time. Another thread, which could
// be that of another process with the same memory, changes the word and wakes.
func Example_futex() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 8})
	check(err)
	defer ring.Close()
	if p, err := ring.Probe(); err != nil || !p.Supports(uring.OpFutexWait) { // Linux 6.7
		fmt.Println("woken: the word is 1")
		return
	}
	requests := uring.NewRequests(ring)
	word := new(uint32)
	woken := false
	_, err = requests.Start(
		func(s *uring.SQE) {
			s.PrepFutexWait(word, 0, uring.FutexMatchAny, uring.Futex32|uring.FutexPrivate, 0)
		},
		func(*uring.CQE) { woken = true })
	check(err)
	ts := uring.TimespecOf(time.Minute)
	timer, err := requests.Start(func(s *uring.SQE) { s.PrepTimeout(&ts, 0, 0) }, func(*uring.CQE) {})
	check(err)

	go wake(word)
	for !woken {
		_, err := requests.Turn(1, -1)
		check(err)
	}
	fmt.Println("woken: the word is", atomic.LoadUint32(word))
	check(requests.Cancel(timer))
	check(requests.Close(time.Second))
	// Output: woken: the word is 1
}

// wake sets the word, and wakes one that waits for it.
func wake(word *uint32) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 2})
	check(err)
	defer ring.Close()
	requests := uring.NewRequests(ring)
	atomic.StoreUint32(word, 1)
	for n := int32(0); n == 0; { // it may not wait yet
		_, err := requests.Start(
			func(s *uring.SQE) {
				s.PrepFutexWake(word, 1, uring.FutexMatchAny, uring.Futex32|uring.FutexPrivate, 0)
			},
			func(c *uring.CQE) { n = c.Res })
		check(err)
		_, err = requests.Turn(1, time.Second)
		check(err)
		if n == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	check(requests.Close(time.Second))
}
