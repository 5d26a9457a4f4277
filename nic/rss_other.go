//go:build !linux

package nic

import "github.com/zcrx-go/zcrx/internal/sys"

// ReadRSS returns an error: off Linux there is no zero-copy receive.
func ReadRSS(string) (*RSS, error) { return nil, sys.ErrNotLinux }
