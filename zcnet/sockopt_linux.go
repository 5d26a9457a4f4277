package zcnet

import (
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// withFD calls fn with the socket's fd and returns its error.
func (s *ringSocket) withFD(fn func(fd int) error) (err error) {
	if cerr := s.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

func (s *ringSocket) setOption(level, option, value int) error {
	return s.withFD(func(fd int) error {
		return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, option, value))
	})
}

// SetNoDelay sets TCP_NODELAY.
func (s *ringSocket) SetNoDelay(noDelay bool) error {
	return s.setOption(unix.IPPROTO_TCP, unix.TCP_NODELAY, boolInt(noDelay))
}

// SetKeepAlive sets SO_KEEPALIVE.
func (s *ringSocket) SetKeepAlive(keepAlive bool) error {
	return s.setOption(unix.SOL_SOCKET, unix.SO_KEEPALIVE, boolInt(keepAlive))
}

// SetWriteBuffer sets SO_SNDBUF.
func (s *ringSocket) SetWriteBuffer(bytes int) error {
	return s.setOption(unix.SOL_SOCKET, unix.SO_SNDBUF, bytes)
}

// SetLinger sets the time in seconds. A negative one turns SO_LINGER off.
func (s *ringSocket) SetLinger(sec int) error {
	return s.withFD(func(fd int) error { return setLinger(fd, sec) })
}

func setLinger(fd, sec int) error {
	l := unix.Linger{Onoff: int32(boolInt(sec >= 0)), Linger: int32(max(0, sec))}
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &l))
}

// SetKeepAliveConfig treats special values as package net does: 0 means 15 seconds, or 9
// probes, and a negative value leaves the socket's setting as it is.
func (s *ringSocket) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	if err := s.SetKeepAlive(config.Enable); err != nil {
		return err
	}
	count := config.Count
	if count == 0 {
		count = 9
	}
	for _, o := range []struct{ option, value int }{
		{unix.TCP_KEEPIDLE, keepAliveSeconds(config.Idle)},
		{unix.TCP_KEEPINTVL, keepAliveSeconds(config.Interval)},
		{unix.TCP_KEEPCNT, count},
	} {
		if o.value < 0 {
			continue
		}
		if err := s.setOption(unix.IPPROTO_TCP, o.option, o.value); err != nil {
			return err
		}
	}
	return nil
}

// keepAliveSeconds returns d in seconds, rounded up, 15 for 0, and -1 for a negative d.
func keepAliveSeconds(d time.Duration) int {
	switch {
	case d < 0:
		return -1
	case d == 0:
		return 15
	}
	return int((d + time.Second - 1) / time.Second)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
