//go:build !linux

package zcrx

import "github.com/zcrx-go/zcrx/internal/sys"

// Off Linux there is no memory to receive into.

func mapHugeTLB(uintptr) ([]byte, error)     { return nil, sys.ErrNotLinux }
func mapShared(int, uintptr) ([]byte, error) { return nil, sys.ErrNotLinux }
func newUDMABuf(uintptr) (int, error)        { return -1, sys.ErrNotLinux }
