//go:build linux && cgo

package uring_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/uring"
)

// This example opens, reads and closes a file with one system call: a chain of three requests,
// in which the file has a place in the ring's table instead of an fd.
func Example_directDescriptors() {
	dir, err := os.MkdirTemp("", "direct")
	check(err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "greeting")
	check(os.WriteFile(name, []byte("hello, ring"), 0o600))
	path, err := unix.BytePtrFromString(name)
	check(err)

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 8})
	check(err)
	defer ring.Close()
	check(ring.RegisterFilesSparse(4))
	requests := uring.NewRequests(ring)

	const place = 2
	text := make([]byte, 64)
	check(requests.StartLinked(func(i int, c *uring.CQE) {
		step := []string{"open", "read", "close"}[i]
		fmt.Println(step, c.Res, c.Errno() == 0)
		if step == "read" {
			text = text[:c.Res]
		}
	},
		func(s *uring.SQE) { s.PrepOpenDirect(path, unix.O_RDONLY, 0, place) },
		func(s *uring.SQE) {
			s.PrepRead(place, text, 0)
			s.Flags |= uring.SQEFixedFile | uring.SQEHardLink // close it also after a short read
		},
		func(s *uring.SQE) { s.PrepCloseDirect(place) },
	))
	for requests.InFlight() > 0 {
		_, err := requests.Turn(3, -1)
		check(err)
	}
	check(requests.Close(time.Second))
	fmt.Println(string(text))
	// Output:
	// open 0 true
	// read 11 true
	// close 0 true
	// hello, ring
}
