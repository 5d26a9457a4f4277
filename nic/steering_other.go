//go:build !linux

package nic

import (
	"context"
	"syscall"
)

// Control does nothing and is never called: NewSteering returns an error off Linux.
func (s *Steering) Control(context.Context, string, string, syscall.RawConn) error { return nil }
