//go:build !linux

package zcrx

import "net"

// Off Linux there is no ringSocket: no ring can be made.

const (
	msgNoSignal = 0
	msgWaitAll  = 0
)

func (s *ringSocket) SetNoDelay(bool) error                        { return errNotLinux }
func (s *ringSocket) SetKeepAlive(bool) error                      { return errNotLinux }
func (s *ringSocket) SetKeepAliveConfig(net.KeepAliveConfig) error { return errNotLinux }
func (s *ringSocket) SetLinger(int) error                          { return errNotLinux }
func (s *ringSocket) SetWriteBuffer(int) error                     { return errNotLinux }
func abortSocket(int)                                              {}
func setLinger(int, int) error                                     { return errNotLinux }
func sendMessage(int, [][]byte) (int, error)                       { return 0, errNotLinux }
func shutdownSocket(int, int) error                                { return errNotLinux }
