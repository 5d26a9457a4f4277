//go:build !linux

package sys

// DropUrgent is for sockets that receive with zero copy: off Linux there are none.
func DropUrgent(int) error { return ErrNotLinux }

// IncomingNAPI returns 0: off Linux that is not known.
func IncomingNAPI(int) uint32 { return 0 }
