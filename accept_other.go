//go:build !linux

package zcrx

import (
	"net"
	"syscall"
)

// Off Linux connections are accepted in Socket mode alone, through package net.

func acceptFD(syscall.RawConn) (int, net.Addr, error)       { return -1, nil, errNotLinux }
func localAddr(int) net.Addr                                { return &net.TCPAddr{} }
func incomingNAPIOf(int) uint32                             { return 0 }
func controlListener(string, string, syscall.RawConn) error { return nil }
