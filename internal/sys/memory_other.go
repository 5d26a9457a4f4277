//go:build !linux

package sys

// MapHugeTLB returns ErrNotLinux.
func MapHugeTLB(uintptr) ([]byte, error) { return nil, ErrNotLinux }

// MapShared returns ErrNotLinux.
func MapShared(int, uintptr) ([]byte, error) { return nil, ErrNotLinux }

// NewUDMABuf returns ErrNotLinux.
func NewUDMABuf(uintptr) (int, error) { return -1, ErrNotLinux }
