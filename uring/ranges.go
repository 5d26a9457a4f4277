package uring

import (
	"fmt"
	"syscall"
)

// rangeError returns the error for a number outside its allowed range.
func rangeError(what string, value, low, high int64) error {
	return fmt.Errorf("uring: %s %d is out of range: allowed are %d to %d", what, value, low, high)
}

// inRange returns an error if the value is not in the range.
func inRange(what string, value, low, high int) error {
	if value < low || value > high {
		return rangeError(what, int64(value), int64(low), int64(high))
	}
	return nil
}

// sameLength returns an error if there are not as many as there must be.
func sameLength(what string, n, want int) error {
	if n != want {
		return fmt.Errorf("uring: %d %s: there must be %d", n, what, want)
	}
	return nil
}

// errnoOf32 returns the errno in a negative result.
func errnoOf32(result int32) syscall.Errno { return syscall.Errno(-result) }
