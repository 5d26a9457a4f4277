//go:build !linux

package nic

import "github.com/zcrx-go/zcrx/internal/sys"

// ReadRSS returns an error off Linux.
func ReadRSS(string) (*RSS, error) { return nil, sys.ErrNotLinux }
