//go:build !linux

package zcrx

import (
	"net"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// Off Linux there is no ringSocket: no ring can be made.

const (
	msgNoSignal = 0
	msgWaitAll  = 0
)

func (s *ringSocket) SetNoDelay(bool) error                        { return sys.ErrNotLinux }
func (s *ringSocket) SetKeepAlive(bool) error                      { return sys.ErrNotLinux }
func (s *ringSocket) SetKeepAliveConfig(net.KeepAliveConfig) error { return sys.ErrNotLinux }
func (s *ringSocket) SetLinger(int) error                          { return sys.ErrNotLinux }
func (s *ringSocket) SetReadBuffer(int) error                      { return sys.ErrNotLinux }
func (s *ringSocket) SetWriteBuffer(int) error                     { return sys.ErrNotLinux }
func abortSocket(int)                                              {}
func setLinger(int, int) error                                     { return sys.ErrNotLinux }
func sendMessage(int, [][]byte) (int, error)                       { return 0, sys.ErrNotLinux }
func shutdownSocket(int, int) error                                { return sys.ErrNotLinux }
