//go:build linux && cgo

package uring

import (
	"testing"
	"time"
	"fmt"
	
	"golang.org/x/sys/unix"
)

func show(t *testing.T, r *Ring, what string) {
	_, err := r.SubmitAndWait(1, 30*time.Millisecond)
	if err != nil { fmt.Println(err) }
	var b [64]CQE
	n := r.Completions(b[:])
	fmt.Printf("--- %s: %d\n", what, n)
	for _, c := range b[:n] { fmt.Printf("   ud %d res %d %v flags %#x big %x\n", c.UserData, c.Res, c.Errno(), c.Flags, c.Big) }
}

func TestOpSocketX(t *testing.T) {
	r := newTestRing(t, Config{Entries: 32, Flags: ownerFlags|SetupSubmitAll})

	mem := mapped(t, 8192)
	data := make([]byte, 300)
	for i := range data { data[i] = byte(i) }
	p, _ := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	group := func(n, size int) *BufRing {
		gr, _ := r.SetupBufRing(n, 9, 0)
		for i := range n { gr.Add(mem[i*size:(i+1)*size], uint16(i)) }
		gr.Advance()
		return gr
	}
	gr := group(8, 16)
	unix.Write(p[1], data[:100])
	queue(t, r, 1, func(s *SQE) { s.PrepRecvMultishot(p[0], 9, 0); s.LimitMultishot(40) })
	show(t, r, "limit w/o bundle")
	queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
	show(t, r, "cancel")
	queue(t, r, 1, func(s *SQE) { s.PrepRecvMultishot(p[0], 9, 0); s.Ioprio |= RecvSendBundle; s.LimitMultishot(40) })
	show(t, r, "limit bundle")
	queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
	show(t, r, "cancel")
	gr.Free()
	unix.SetNonblock(p[0], true)
	unix.Read(p[0], make([]byte, 100))
	unix.SetNonblock(p[0], false)
	gr = group(4, 16)
	queue(t, r, 1, func(s *SQE) { s.PrepRecvMultishot(p[0], 9, 0) })
	unix.Write(p[1], data[:100])
	show(t, r, "recv multishot, not enough")
	gr.Free()
	gr = group(4, 16)
	queue(t, r, 1, func(s *SQE) { s.PrepRecv(p[0], nil, 0); s.Ioprio |= RecvSendBundle; s.SetBufferGroup(9) })
	show(t, r, "recv bundle")
	gr.Free()
	gr = group(4, 16)
	queue(t, r, 1, func(s *SQE) { s.PrepSendBundle(p[1], 0, 0); s.SetBufferGroup(9) })
	show(t, r, "send bundle")
	queue(t, r, 1, func(s *SQE) { s.PrepSendBundle(p[1], 0, 0); s.SetBufferGroup(9) })
	show(t, r, "send bundle empty")
	queue(t, r, 1, func(s *SQE) { s.PrepSendBundle(p[1], 0, 0); s.SetBufferGroup(10) })
	show(t, r, "send bundle no group")
	queue(t, r, 1, func(s *SQE) { s.PrepSendBundle(p[1], 0, 0); })
	show(t, r, "send bundle without select")
	gr.Free()
	gr = group(4, 16)
	queue(t, r, 1, func(s *SQE) { s.PrepSendBundle(p[1], 40, 0); s.SetBufferGroup(9) })
	show(t, r, "send bundle 40")
	queue(t, r, 1, func(s *SQE) { s.PrepSend(p[1], nil, 0); s.SetBufferGroup(9) })
	show(t, r, "send select")
	gr.Free()

	gr = group(4, 64)
	u, _ := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	unix.Bind(u, &unix.SockaddrInet4{Addr: [4]byte{127,0,0,1}})
	sa, _ := unix.Getsockname(u)
	unix.SetsockoptInt(u, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	m := &unix.Msghdr{Namelen: 8, Controllen: 20}
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, 0); s.SetBufferGroup(9) })
	unix.Sendto(u, data[:100], 0, sa)
	show(t, r, "recvmsg multi")
	pm, ok := ParseRecvmsg(mem[:64], m)
	fmt.Printf("%+v %v\n", pm, ok)
	queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
	show(t, r, "cancel")
	m.Namelen, m.Controllen = 28, 24
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, unix.MSG_TRUNC); s.SetBufferGroup(9) })
	unix.Sendto(u, data[:100], 0, sa)
	show(t, r, "recvmsg multi no room for header")
	m.Namelen, m.Controllen = 24, 24
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, unix.MSG_TRUNC); s.SetBufferGroup(9) })
	unix.Sendto(u, data[:100], 0, sa)
	show(t, r, "recvmsg multi exactly room for header")
	queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
	show(t, r, "cancel")
	v := unix.Iovec{Base: &data[0], Len: 60}
	m.Namelen, m.Controllen, m.Iov, m.Iovlen = 16, 0, &v, 1
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, 0); s.SetBufferGroup(9) })
	unix.Sendto(u, data[:100], 0, sa)
	show(t, r, "recvmsg multi with iov 60")
	queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
	show(t, r, "cancel")
	m.Iovlen = 2
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, 0); s.SetBufferGroup(9) })
	show(t, r, "recvmsg multi with iovlen 2")
	m.Iovlen = 0
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, 0) })
	show(t, r, "recvmsg multi without select")
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, unix.MSG_WAITALL); s.SetBufferGroup(9)  })
	show(t, r, "recvmsg multi waitall")
	queue(t, r, 1, func(s *SQE) { s.PrepRecvMultishot(u, 9, unix.MSG_WAITALL)  })
	show(t, r, "recv multi waitall")
	queue(t, r, 1, func(s *SQE) { s.PrepRecv(u, nil, 0); s.LimitMultishot(4)  })
	show(t, r, "recv with limit")
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(u, m, 0); s.SetBufferGroup(9); s.LimitMultishot(4)  })
	show(t, r, "recvmsg multi with limit")

	// accept
	l, _ := listenRaw(t)
	ts, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	r.RegisterFilesSparse(2)
	queue(t, r, 1, func(s *SQE) { s.PrepAccept(ts, 0) })
	queue(t, r, 2, func(s *SQE) { s.PrepAccept(u, 0) })
	queue(t, r, 3, func(s *SQE) { s.PrepAccept(l, 1) })
	queue(t, r, 4, func(s *SQE) { s.PrepAccept(l, 0); s.Ioprio |= AcceptDontWait })
	queue(t, r, 5, func(s *SQE) { s.PrepAcceptDirect(l, unix.SOCK_CLOEXEC, 0) })
	queue(t, r, 6, func(s *SQE) { s.PrepMultishotAccept(l, 0); s.FileIndex = 1 })
	queue(t, r, 7, func(s *SQE) { s.PrepAccept(l, 0); s.Ioprio |= 0x80 })
	queue(t, r, 8, func(s *SQE) { s.PrepMultishotAcceptDirect(l, unix.SOCK_CLOEXEC) })
	queue(t, r, 9, func(s *SQE) { s.PrepAcceptDirect(l, 0, 2) })
	queue(t, r, 10, func(s *SQE) { s.PrepMultishotAccept(l, 0); s.Ioprio |= AcceptDontWait })
	show(t, r, "accept errors")
	c, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	la, _ := unix.Getsockname(l)
	unix.Connect(c, la)
	show(t, r, "accept index 2 of 2")
	var addr unix.RawSockaddrAny
	length := uint32(4)
	c, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	unix.Connect(c, la)
	queue(t, r, 1, func(s *SQE) { s.PrepAccept(l, 0); s.AcceptAddr(&addr, &length) })
	show(t, r, "short addr")
	fmt.Println(length, addr)
	length = 1<<31
	unix.SetNonblock(c, true)
	c, _ = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	unix.Connect(c, la)
	queue(t, r, 1, func(s *SQE) { s.PrepAccept(l, 0); s.AcceptAddr(&addr, &length) })
	show(t, r, "negative len")
	queue(t, r, 1, func(s *SQE) { s.PrepAccept(l, 0); s.AcceptAddr(&addr, nil) })
	show(t, r, "nil len")
	for i := range 6 {
	f := []func(s *SQE){ func(s *SQE) { s.PrepSocketDirect(2, 1, 0, 2, 0)}, func(s *SQE) { s.PrepSocketDirect(2, 1|unix.SOCK_CLOEXEC, 0, 0, 0)}, func(s *SQE) { s.PrepSocketDirect(2, 1, 0, 1, 0)}, func(s *SQE) { s.PrepSocketDirect(2, 1, 0, 1, 0)}, func(s *SQE) { s.PrepSocketDirectAlloc(2, 1, 0, 0)},func(s *SQE) { s.PrepSocketDirectAlloc(2, 1, 0, 0)} }[i]
	queue(t, r, uint64(i), f)
	}
	show(t, r, "sockets direct")
	for i, f := range []func(s *SQE){
	func(s *SQE) { s.PrepSocket(250, 1, 0, 0)},
	func(s *SQE) { s.PrepSocket(2, 99, 0, 0)},
	func(s *SQE) { s.PrepSocket(2, 1, 17, 0)},
	func(s *SQE) { s.PrepSocket(2, 1, 0, 1)},
	func(s *SQE) { s.PrepSocket(2, -1, 0, 0)},
	func(s *SQE) { s.PrepShutdown(ts, 0)},
	func(s *SQE) { s.PrepShutdown(ts, 7)},
	func(s *SQE) { s.PrepListen(u, 7)},
	func(s *SQE) { s.PrepConnect(ts, nil)},
	} {
	queue(t, r, uint64(i), f)
	}
	show(t, r, "sockets")
	show(t, r, "sockets")
}
