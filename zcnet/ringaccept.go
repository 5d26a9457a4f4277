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

// ringAcceptor accepts from a second fd of the socket: a net.TCPListener hands out no
// fds, and what it accepts is known to Go's poller.
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
		// Here, for the packets that come before a connection is accepted.
		dropErr := net.ErrClosed
		_ = raw.Control(func(fd uintptr) { dropErr = sys.DropUrgent(int(fd)) })
		if dropErr != nil {
			return nil, errors.Join(fmt.Errorf("zcnet: drop urgent packets: %w", dropErr), file.Close())
		}
	}
	return &ringAcceptor{transport: t, file: file, raw: raw}, nil
}

// accept puts the connection on a loop, and does not wait for that.
func (a *ringAcceptor) accept() (s socket, local, remote net.Addr, err error) {
	fd, remote, err := acceptFD(a.raw)
	if err != nil {
		return nil, nil, nil, err
	}
	napi := uint32(0)
	if a.transport.mode() == zcrx.ZeroCopy { // in other modes no queue is told from another
		napi = sys.IncomingNAPI(fd)
	}
	pool, err := a.transport.pools.PickNAPI(napi)
	if err != nil {
		return nil, nil, nil, errors.Join(err, sys.Close(fd))
	}
	local = localAddr(fd)
	return &ringSocket{Receiver: zcrx.NewReceiverFD(pool, fd), transport: a.transport}, local, remote, nil
}

func (a *ringAcceptor) close() error { return a.file.Close() }
