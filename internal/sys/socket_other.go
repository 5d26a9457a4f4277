//go:build !linux

package sys

// DropUrgent returns ErrNotLinux.
func DropUrgent(int) error { return ErrNotLinux }

// IncomingNAPI returns 0 off Linux.
func IncomingNAPI(int) uint32 { return 0 }
