//go:build linux && cgo

package cserver

/*
#cgo CFLAGS: -O2 -Wall -I${SRCDIR}/../../../csrc -I${SRCDIR}/../../../third_party/liburing/dist/include
#cgo LDFLAGS: -L${SRCDIR}/../../../third_party/liburing/dist/lib -l:liburing.a -pthread
#include "server.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Server is a running server.
type Server struct{ c *C.struct_cserver }

// Start starts a server on ln, which it takes over. The caller must Close it. On an error ln
// still belongs to the caller.
func Start(ln *net.TCPListener, cfg Config) (*Server, error) {
	fd, err := duplicate(ln)
	if err != nil {
		return nil, err
	}
	options := C.struct_cserver_options{
		listener:    C.int(fd),
		threads:     C.uint(cfg.Threads),
		buffers:     C.uint(cfg.Buffers),
		buffer_size: C.uint(cfg.BufferSize),
		echo:        flag(cfg.Echo),
		ring_sends:  flag(cfg.RingSends),
	}
	s := &Server{}
	if ret := C.cserver_start(&s.c, &options); ret < 0 {
		_ = unix.Close(fd) // a duplicate
		return nil, fmt.Errorf("cserver: start: %w", syscall.Errno(-ret))
	}
	_ = ln.Close() // the server has a duplicate
	return s, nil
}

// duplicate returns an fd for the listening socket.
func duplicate(ln *net.TCPListener) (int, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, failed := -1, error(nil)
	err = raw.Control(func(from uintptr) { fd, failed = unix.FcntlInt(from, unix.F_DUPFD_CLOEXEC, 0) })
	return fd, errors.Join(err, failed)
}

func flag(set bool) C.int {
	if set {
		return 1
	}
	return 0
}

// Received returns the number of bytes received so far. Safe from any goroutine.
func (s *Server) Received() int64 { return int64(C.cserver_received(s.c)) }

// Close closes all connections and frees the server, which must not be used any more.
func (s *Server) Close() error {
	C.cserver_stop(s.c)
	s.c = nil
	return nil
}
