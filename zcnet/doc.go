// Package zcnet is TCP connections whose bytes are received with zero copy where kernel
// and network interface can, and with one copy where they cannot: the same code runs on
// all of them.
//
// Begin with [Listen], or [NewEngine] where more than one listener or connection share
// threads and buffers, and with [Listener.AcceptConn]:
//
//	ln, err := zcnet.Listen(ctx, "tcp", ":9000", zcnet.Config{
//		Interface: "eth0", Queues: []int{4, 5}, // none: bytes are copied
//	})
//	conn, err := ln.AcceptConn(ctx)
//	for buf, err := range conn.Buffers(ctx) { // leased, where the interface has put it
//		...
//		buf.Release()
//	}
//
// A [Conn] is a net.Conn and a [Listener] a net.Listener too, for crypto/tls, net/http,
// gRPC and whatever else takes these: their Read copies once. [Conn.Peek] and
// [Conn.Chunks] look at bytes in place, and a [Handler] takes them on the thread that
// received them.
//
// It is not a framework, and knows no protocol above TCP. Pools, loops and receivers, on
// which it is built, are package zcrx's, for those who want other connections than
// these; what a network interface can do is told there by ProbeQueue.
//
// Mode Socket, in which package net does the receiving, works on every system and
// without cgo. All others need Linux and cgo.
package zcnet
