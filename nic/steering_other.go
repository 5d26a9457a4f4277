//go:build !linux

package nic

import (
	"context"
	"syscall"
)

// Control does nothing: off Linux NewSteering returns an error.
func (s *Steering) Control(context.Context, string, string, syscall.RawConn) error { return nil }
