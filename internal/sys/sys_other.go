//go:build !linux

package sys

import (
	"runtime"
	"syscall"
)

// Errnos that not every system has. No system call off Linux returns these values.
const (
	ETIME   = syscall.Errno(0x7fff)
	ENODATA = syscall.Errno(0x7ffe)
)

// ErrnoName returns "" off Linux.
func ErrnoName(syscall.Errno) string { return "" }

// ThreadID returns 0 off Linux.
func ThreadID() int { return 0 }

// NewEventFD returns ErrNotLinux.
func NewEventFD() (int, error) { return -1, ErrNotLinux }

// SignalEventFD returns ErrNotLinux.
func SignalEventFD(int) error { return ErrNotLinux }

// Close returns ErrNotLinux.
func Close(int) error { return ErrNotLinux }

// Duplicate returns ErrNotLinux.
func Duplicate(int) (int, error) { return -1, ErrNotLinux }

// MapAnonymous returns ErrNotLinux.
func MapAnonymous(uintptr, uintptr) ([]byte, error) { return nil, ErrNotLinux }

// Unmap returns ErrNotLinux.
func Unmap([]byte) error { return ErrNotLinux }

// AdviseReceive does nothing off Linux.
func AdviseReceive([]byte) {}

// Populate does nothing off Linux.
func Populate([]byte) {}

// KernelRelease returns the system's name.
func KernelRelease() string { return runtime.GOOS }

// IOUringDisabled returns 0 off Linux.
func IOUringDisabled() int { return 0 }

// SeccompFiltered returns false off Linux.
func SeccompFiltered() bool { return false }

// MemlockLimit returns no limit off Linux.
func MemlockLimit() (limit uint64, limited bool) { return 0, false }

// InInitialUserNamespace returns true off Linux.
func InInitialUserNamespace() bool { return true }
