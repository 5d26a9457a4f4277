//go:build !linux

package zcnet

import (
	"net"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// On systems other than Linux there is only Socket mode, which accepts through package net.

func acceptFD(syscall.RawConn) (int, net.Addr, error)       { return -1, nil, sys.ErrNotLinux }
func localAddr(int) net.Addr                                { return &net.TCPAddr{} }
func controlListener(string, string, syscall.RawConn) error { return nil }
func acceptNow(int) (int, net.Addr, error)                  { return -1, nil, sys.ErrNotLinux }
