//go:build !amd64 && !arm64

package onloop

import "github.com/zcrx-go/zcrx/internal/sys"

// self returns the calling thread. A loop's goroutine and its fibers have one thread, which
// no other goroutine runs on.
func self() uintptr { return uintptr(sys.ThreadID()) }
