//go:build !linux

package zcnet

import "net"

// Off Linux there is no ringSocket: no ring can be made.

func (s *ringSocket) SetNoDelay(bool) error                        { return errNotLinux }
func (s *ringSocket) SetKeepAlive(bool) error                      { return errNotLinux }
func (s *ringSocket) SetKeepAliveConfig(net.KeepAliveConfig) error { return errNotLinux }
func (s *ringSocket) SetLinger(int) error                          { return errNotLinux }
func (s *ringSocket) SetWriteBuffer(int) error                     { return errNotLinux }
