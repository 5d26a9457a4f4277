package zcnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/sys"
)

// ringAcceptor accepts through a second fd of the listening socket. net.TCPListener cannot
// be used: it does not return fds, and registers what it accepts with Go's poller.
type ringAcceptor struct {
	transport *ringTransport
	file      *os.File
	raw       syscall.RawConn
}

func (t *ringTransport) listen(ln *net.TCPListener) (acceptor, error) {
	file, err := ln.File()
	if err != nil {
		return nil, err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if t.mode() == zcrx.ZeroCopy {
		// On the listening socket, so that it applies to packets that come before accept.
		dropErr := net.ErrClosed
		_ = raw.Control(func(fd uintptr) { dropErr = sys.DropUrgent(int(fd)) })
		if dropErr != nil {
			return nil, errors.Join(fmt.Errorf("zcnet: drop urgent packets: %w", dropErr), file.Close())
		}
	}
	return &ringAcceptor{transport: t, file: file, raw: raw}, nil
}

func (a *ringAcceptor) accept() (arrival, error) {
	fd, remote, err := acceptFD(a.raw)
	if err != nil {
		return nil, err
	}
	return &ringArrival{a.transport, fd, remote}, nil
}

func (a *ringAcceptor) close() error { return a.file.Close() }

type ringArrival struct {
	transport *ringTransport
	fd        int
	remote    net.Addr
}

// open assigns the connection to a loop. It does not wait for the loop.
func (a *ringArrival) open() (s socket, local, remote net.Addr, err error) {
	napi := uint32(0)
	if a.transport.mode() == zcrx.ZeroCopy { // the other modes have no hardware queues
		napi = sys.IncomingNAPI(a.fd)
	}
	pool, err := a.transport.pools.PickNAPI(napi)
	if err != nil {
		return nil, nil, nil, errors.Join(err, sys.Close(a.fd))
	}
	local = localAddr(a.fd)
	return newRingSocket(zcrx.NewReceiverFD(pool, a.fd), a.transport), local, a.remote, nil
}

func (a *ringArrival) close() { _ = sys.Close(a.fd) }
