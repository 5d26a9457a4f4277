//go:build !linux

package zcrx

import "github.com/zcrx-go/zcrx/internal/sys"

// readDevice finds out nothing: off Linux there is no zero-copy receive.
func readDevice(_, queue int) *deviceFacts {
	return &deviceFacts{queue: queue, linkErr: sys.ErrNotLinux, ringsErr: sys.ErrNotLinux, queueErr: sys.ErrNotLinux}
}

func receiveQueues(string) int      { return 0 }
func interfaceDriver(string) string { return "" }
