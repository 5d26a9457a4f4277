//go:build !linux

package nic

import "github.com/zcrx-go/zcrx/internal/sys"

// read sets the errors only: there is no zero-copy receive off Linux.
func (f *Facts) read(uint32) {
	f.LinkErr, f.RingsErr, f.QueueErr = sys.ErrNotLinux, sys.ErrNotLinux, sys.ErrNotLinux
}

// interfaceIndex does not look whether there is such an interface.
func interfaceIndex(string) (int, error) { return 0, sys.ErrNotLinux }

func numReceiveQueues(string) int { return 0 }

func interfaceDevice(string) (driver string, virtual bool) { return "", false }
