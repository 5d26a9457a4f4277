//go:build !linux

package zcrx

func queueNAPI(int, int) uint32 { return 0 }

// readDevice finds out nothing: off Linux there is no zero-copy receive.
func readDevice(_, queue int) *deviceFacts {
	return &deviceFacts{queue: queue, linkErr: errNotLinux, ringsErr: errNotLinux, queueErr: errNotLinux}
}
