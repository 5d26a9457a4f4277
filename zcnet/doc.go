// Package zcnet provides TCP connections that receive with zero copy where the kernel
// and the network interface support it, and with one copy elsewhere. The code that uses
// a connection is the same in all modes.
//
// Start with [Listen] or [Dial]. Programs with more than one listener or connection
// start with [NewEngine], so that they share threads and buffers.
//
//	ln, err := zcnet.Listen(ctx, "tcp", ":9000", zcnet.Config{
//		Interface: "eth0", Queues: []int{4, 5}, // without them bytes are copied
//	})
//	conn, err := ln.AcceptConn(ctx)
//	for buf, err := range conn.Buffers(ctx) {
//		// buf.Bytes() is where the interface or the kernel put the bytes
//		buf.Release()
//	}
//
// A [Conn] is also a net.Conn and a [Listener] a net.Listener, for crypto/tls, net/http,
// gRPC and others. Conn.Read copies the bytes once more. [Conn.Peek] and [Conn.Chunks]
// give access to bytes in place, and a [Handler] gets them on the thread that received
// them.
//
// The package implements no protocol above TCP. It is built on the pools, loops and
// receivers of package zcrx; use those directly for other kinds of connections.
// zcrx.ProbeQueue reports what a network interface supports.
//
// Mode Socket receives through package net: it works on every system and without cgo.
// The other modes need Linux and cgo.
package zcnet
