// Package onloop tells code whether it runs on a loop, and on which.
//
// A loop is a goroutine that is locked to its thread. Fibers are coroutines that the loop
// resumes on that thread. Code on either must not wait for a loop, and has better ways to
// wait than blocking the thread.
package onloop
