//go:build !linux

package zcrx

// readDevice finds out nothing: off Linux there is no zero-copy receive.
func readDevice(_, queue int) *deviceFacts {
	return &deviceFacts{queue: queue, linkErr: errNotLinux, ringsErr: errNotLinux, queueErr: errNotLinux}
}
