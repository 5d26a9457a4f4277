package zcnet

import (
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Package syscall has the calls here that golang.org/x/sys/unix has too, but does not ask the
// kernel for the socket's protocol each time.

// acceptFD waits for a connection and returns its socket. The socket is blocking, as
// zcrx.NewReceiverFD needs it, and is not registered with Go's poller.
func acceptFD(listening syscall.RawConn) (fd int, remote net.Addr, err error) {
	var from syscall.Sockaddr
	var acceptErr error
	err = listening.Read(func(own uintptr) bool {
		for {
			fd, from, acceptErr = syscall.Accept4(int(own), syscall.SOCK_CLOEXEC)
			if acceptErr != syscall.EINTR {
				return acceptErr != syscall.EAGAIN
			}
		}
	})
	if err != nil {
		return -1, nil, err
	}
	if acceptErr != nil {
		return -1, nil, os.NewSyscallError("accept4", acceptErr)
	}
	return fd, tcpAddr(from), nil
}

func localAddr(fd int) net.Addr {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return &net.TCPAddr{}
	}
	return tcpAddr(sa)
}

func remoteAddr(fd int) net.Addr {
	sa, err := syscall.Getpeername(fd)
	if err != nil { // it is gone already
		return &net.TCPAddr{}
	}
	return tcpAddr(sa)
}

func tcpAddr(sa syscall.Sockaddr) *net.TCPAddr {
	switch sa := sa.(type) {
	case *syscall.SockaddrInet4:
		return &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port}
	case *syscall.SockaddrInet6:
		return &net.TCPAddr{IP: append(net.IP(nil), sa.Addr[:]...), Port: sa.Port, Zone: zoneName(sa.ZoneId)}
	}
	return &net.TCPAddr{}
}

func zoneName(index uint32) string {
	if index == 0 {
		return ""
	}
	if ifi, err := net.InterfaceByIndex(int(index)); err == nil {
		return ifi.Name
	}
	return strconv.FormatUint(uint64(index), 10)
}

// controlListener sets the options that package net sets on each connection. Accepted
// sockets inherit them from the listening socket.
func controlListener(_, _ string, raw syscall.RawConn) error {
	var optErr error
	err := raw.Control(func(fd uintptr) {
		for _, o := range []struct{ level, option, value int }{
			{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
			{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
			{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
			{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
		} {
			if optErr = os.NewSyscallError("setsockopt", unix.SetsockoptInt(int(fd), o.level, o.option, o.value)); optErr != nil {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return optErr
}
