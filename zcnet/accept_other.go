//go:build !linux

package zcnet

import (
	"errors"
	"net"
	"syscall"
)

// Off Linux connections are accepted in Socket mode alone, through package net.

var errNotLinux = errors.New("zcnet: io_uring needs Linux")

func acceptFD(syscall.RawConn) (int, net.Addr, error)       { return -1, nil, errNotLinux }
func closeFD(int) error                                     { return errNotLinux }
func localAddr(int) net.Addr                                { return &net.TCPAddr{} }
func incomingNAPI(int) uint32                               { return 0 }
func controlListener(string, string, syscall.RawConn) error { return nil }
