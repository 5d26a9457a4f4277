package zcnet

import (
	"errors"
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
	var acceptErr error
	err = listening.Read(func(own uintptr) bool {
		fd, remote, acceptErr = acceptNow(int(own))
		return !errors.Is(acceptErr, syscall.EAGAIN)
	})
	if err != nil {
		return -1, nil, err
	}
	return fd, remote, acceptErr
}

// acceptNow is acceptFD for a connection that waits already. If there is none, and the listening
// socket is non-blocking, it returns EAGAIN.
func acceptNow(listening int) (int, net.Addr, error) {
	for {
		fd, from, err := syscall.Accept4(listening, syscall.SOCK_CLOEXEC)
		switch err {
		case nil:
			return fd, tcpAddr(from), nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return -1, nil, syscall.EAGAIN
		}
		return -1, nil, os.NewSyscallError("accept4", err)
	}
}

func localAddr(fd int) net.Addr {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
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
