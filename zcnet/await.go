package zcnet

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync/atomic"
)

// Await runs fn on a goroutine of its own and waits until it has returned. In a fiber only
// the fiber waits, and its loop goes on: that is the way to do in a fiber what blocks a
// thread or waits for something other than a connection, such as a database call, a channel,
// a mutex, a file or time.Sleep. Elsewhere Await just calls fn.
//
// A panic in fn becomes a panic of Await, with fn's stack in its text. If the engine is
// closed meanwhile, the fiber ends as by runtime.Goexit, and fn goes on.
func Await(fn func()) {
	f := currentFiber()
	if f == nil {
		fn()
		return
	}
	f.await(fn)
}

// AwaitValue is Await for a function with a result.
func AwaitValue[T any](fn func() (T, error)) (T, error) {
	f := currentFiber()
	if f == nil {
		return fn()
	}
	return awaitValue(f, fn)
}

// awaitValue is AwaitValue for a fiber, which calls it.
func awaitValue[T any](f *fiber, fn func() (T, error)) (v T, err error) {
	f.await(func() { v, err = fn() })
	return v, err
}

// awaitResult is awaitOwned in a fiber, and calls fn elsewhere.
func awaitResult[T any](ctx context.Context, fn func(ctx context.Context) (T, error), undo func(T)) (T, error) {
	if f := currentFiber(); f != nil {
		return awaitOwned(ctx, f, fn, undo)
	}
	return fn(ctx)
}

// awaitOwned is awaitValue for a result that has to be given back with undo if the fiber is ended
// meanwhile. Then ctx ends too.
func awaitOwned[T any](ctx context.Context, f *fiber, fn func(ctx context.Context) (T, error), undo func(T)) (v T, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var decided atomic.Bool // by the end of fn or that of the fiber, whatever comes first
	taken := false
	defer func() {
		cancel()
		if !taken && !decided.CompareAndSwap(false, true) && err == nil {
			undo(v)
		}
	}()
	f.await(func() {
		v, err = fn(ctx)
		if !decided.CompareAndSwap(false, true) && err == nil {
			undo(v)
		}
	})
	taken = true
	return v, err
}

// await is Await for a fiber, which calls it.
func (f *fiber) await(fn func()) {
	done := false // belongs to the loop's thread
	var failure any
	finish := func() {
		done = true
		f.wake()
	}
	go func() {
		returned := false
		defer func() {
			if !returned {
				if v := recover(); v != nil {
					failure = fmt.Sprintf("%v [in Await]\n\n%s", v, debug.Stack())
				} else {
					failure = "zcnet: runtime.Goexit in Await"
				}
			}
			_ = f.sched.loop.Post(finish) // a closed loop has ended its fibers
		}()
		fn()
		returned = true
	}()
	f.waits.await = true
	for !done {
		f.park()
	}
	f.waits.await = false
	if failure != nil {
		panic(failure)
	}
}
