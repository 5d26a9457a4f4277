//go:build !linux

package zcnet

import (
	"net"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// On systems other than Linux no ringSocket is ever made.

func (s *ringSocket) SetNoDelay(bool) error                        { return sys.ErrNotLinux }
func (s *ringSocket) SetKeepAlive(bool) error                      { return sys.ErrNotLinux }
func (s *ringSocket) SetKeepAliveConfig(net.KeepAliveConfig) error { return sys.ErrNotLinux }
func (s *ringSocket) SetLinger(int) error                          { return sys.ErrNotLinux }
func (s *ringSocket) SetWriteBuffer(int) error                     { return sys.ErrNotLinux }
