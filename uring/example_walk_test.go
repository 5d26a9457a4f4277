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

// This example adds up the sizes of the files below a directory: it asks for all entries of a
// directory at once, instead of one after the other.
func Example_directoryWalk() {
	root, err := os.MkdirTemp("", "walk")
	check(err)
	defer os.RemoveAll(root)
	for i := range 30 {
		dir := filepath.Join(root, fmt.Sprint("d", i%3))
		check(os.MkdirAll(dir, 0o700))
		check(os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, i), 0o600))
	}

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 64})
	check(err)
	defer ring.Close()
	requests := uring.NewRequests(ring)
	files, bytes := 0, uint64(0)
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := os.ReadDir(dir) // io_uring has no operation for it
		check(err)
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			path, err := unix.BytePtrFromString(name)
			check(err)
			stat := &unix.Statx_t{}
			prep := func(s *uring.SQE) {
				s.PrepStatx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE|unix.STATX_SIZE, stat)
			}
			_, err = requests.Start(prep, func(c *uring.CQE) {
				switch {
				case c.Errno() != 0:
					fmt.Println(name, c.Errno())
				case stat.Mode&unix.S_IFMT == unix.S_IFDIR:
					walk(name)
				default:
					files++
					bytes += stat.Size
				}
			})
			check(err)
		}
	}
	walk(root)
	for requests.InFlight() > 0 {
		_, err := requests.Turn(1, -1)
		check(err)
	}
	check(requests.Close(time.Second))
	fmt.Println(files, "files,", bytes, "bytes")
	// Output: 30 files, 435 bytes
}
