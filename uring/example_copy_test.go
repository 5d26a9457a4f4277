//go:build linux && cgo

package uring_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// This example copies a file with registered buffers: each of them goes round as a chain of a
// read and a write of one block, and all chains are under way at the same time.
func Example_copyFile() {
	const block, chains = 64 << 10, 4
	dir, err := os.MkdirTemp("", "copy")
	check(err)
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "from")
	check(os.WriteFile(name, make([]byte, 10*block), 0o600))
	from, err := os.Open(name)
	check(err)
	defer from.Close()
	to, err := os.Create(filepath.Join(dir, "to"))
	check(err)
	defer to.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 2 * chains})
	check(err)
	defer ring.Close()
	requests := uring.NewRequests(ring)
	buffers := make([][]byte, chains)
	for i := range buffers {
		buffers[i] = make([]byte, block)
	}
	check(ring.RegisterBuffers(buffers...))
	next, copied := int64(0), 0
	var begin func(i int) // a chain with buffer i
	begin = func(i int) {
		off := next * block
		next++
		if off >= 10*block {
			return
		}
		check(requests.StartLinked(func(k int, c *uring.CQE) {
			if c.Errno() != 0 {
				log.Fatalf("request %d of the chain at %d: %v", k, off, c.Errno())
			}
			if k == 1 {
				copied += int(c.Res)
				begin(i)
			}
		},
			func(s *uring.SQE) { s.PrepReadFixed(int(from.Fd()), buffers[i], off, uint16(i)) },
			func(s *uring.SQE) { s.PrepWriteFixed(int(to.Fd()), buffers[i], off, uint16(i)) },
		))
	}
	for i := range buffers {
		begin(i)
	}
	for requests.InFlight() > 0 {
		_, err := requests.Turn(1, -1)
		check(err)
	}
	check(requests.Close(time.Second))
	fmt.Println(copied, "bytes")
	// Output: 655360 bytes
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
