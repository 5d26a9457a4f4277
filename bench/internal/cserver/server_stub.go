//go:build !linux || !cgo

package cserver

import (
	"errors"
	"net"
)

// Server is a running server. In this build there is none.
type Server struct{}

// Start returns an error, because the server needs Linux and cgo.
func Start(*net.TCPListener, Config) (*Server, error) {
	return nil, errors.New("cserver: the server in C needs Linux and a build with cgo")
}

// Received returns 0.
func (*Server) Received() int64 { return 0 }

// Close does nothing.
func (*Server) Close() error { return nil }
