//go:build linux && cgo

package uring

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/uring/uapi"
)

const sockGroup = 9 // of provided buffers

// sockBytes returns n different bytes that stay until the test ends.
func sockBytes(t *testing.T, n int) []byte {
	b := keep(t, make([]byte, n))
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// sockClose closes fd when the test ends, and returns it.
func sockClose(t *testing.T, fd int) int {
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func sockNew(t *testing.T, domain, typ int) int {
	t.Helper()
	fd, err := unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	return sockClose(t, fd)
}

// sockName returns the address of the socket, as the kernel has it.
func sockName(t *testing.T, fd int) netip.AddrPort {
	t.Helper()
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	if v6, ok := sa.(*unix.SockaddrInet6); ok {
		return netip.AddrPortFrom(netip.AddrFrom16(v6.Addr), uint16(v6.Port))
	}
	v4 := sa.(*unix.SockaddrInet4)
	return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), uint16(v4.Port))
}

// sockRaw is Sockaddr for an address that stays until the test ends.
func sockRaw(t *testing.T, addr netip.AddrPort) []byte {
	t.Helper()
	raw, err := Sockaddr(addr)
	require.NoError(t, err)
	return keep(t, raw)
}

func sockLoopback(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
}

// sockUDP returns a socket that is bound to a port of loopback, and its address.
func sockUDP(t *testing.T) (int, netip.AddrPort) {
	t.Helper()
	fd := sockNew(t, unix.AF_INET, unix.SOCK_DGRAM)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	return fd, sockName(t, fd)
}

// sockListener returns a listening socket and its raw address.
func sockListener(t *testing.T) (int, []byte) {
	t.Helper()
	fd, raw := listenRaw(t)
	return sockClose(t, fd), raw
}

// sockDial connects a new socket to the listener's address.
func sockDial(t *testing.T, raw []byte) int {
	t.Helper()
	fd := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
	to, ok := ParseSockaddr(raw)
	require.True(t, ok)
	require.NoError(t, unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
	return fd
}

// sockPair returns the ends of a Unix connection.
func sockPair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	return sockClose(t, fds[0]), sockClose(t, fds[1])
}

func sockWrite(t *testing.T, fd int, b []byte) {
	t.Helper()
	n, err := unix.Write(fd, b)
	require.NoError(t, err)
	require.Equal(t, len(b), n)
}

// sockRead reads n bytes.
func sockRead(t *testing.T, fd, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for got := 0; got < n; {
		k, err := unix.Read(fd, b[got:])
		require.NoError(t, err)
		require.Positive(t, k, "the stream ends after %d bytes of %d", got, n)
		got += k
	}
	return b
}

func sockSendTo(t *testing.T, fd int, b []byte, to netip.AddrPort) {
	t.Helper()
	require.NoError(t, unix.Sendto(fd, b, 0, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}))
}

// sockReap returns n completions by their user data, all of which differ.
func sockReap(t *testing.T, r *Ring, n int) map[uint64]CQE {
	t.Helper()
	by := map[uint64]CQE{}
	for _, c := range reap(t, r, n) {
		by[c.UserData] = c
	}
	require.Len(t, by, n)
	return by
}

// sockResults returns the results of n completions by their user data.
func sockResults(t *testing.T, r *Ring, n int) map[uint64]int {
	t.Helper()
	results := map[uint64]int{}
	for id, c := range sockReap(t, r, n) {
		results[id] = int(c.Res)
	}
	return results
}

func sockErr(errno syscall.Errno) int { return -int(errno) }

// sockCancelled cancels the request with user data 1, which is in flight or queued. With
// SetupSQPoll the kernel's thread may be just about it: then the cancellation does not find it,
// and is tried again.
func sockCancelled(t *testing.T, r *Ring) {
	t.Helper()
	var ended *CQE
	for id := uint64(2); ; id++ {
		queue(t, r, id, func(s *SQE) { s.PrepCancel(1, 0) })
		c := CQE{UserData: 1}
		for c.UserData == 1 {
			if c = reap(t, r, 1)[0]; c.UserData == 1 {
				ended = &CQE{Res: c.Res, Flags: c.Flags}
			}
		}
		require.Equal(t, id, c.UserData)
		if c.Res == 0 || ended != nil {
			break
		}
		require.NotZero(t, r.Flags()&SetupSQPoll, "%v", c.Errno())
		require.Contains(t, []syscall.Errno{unix.ENOENT, unix.EALREADY}, c.Errno())
		require.Less(t, id, uint64(1000))
		time.Sleep(time.Millisecond)
	}
	if ended == nil {
		ended = &reap(t, r, 1)[0]
	}
	assert.Equal(t, unix.ECANCELED, ended.Errno())
	assert.False(t, ended.More())
}

// sockWaits checks that a request waits and can be cancelled.
func sockWaits(t *testing.T, r *Ring, prep func(*SQE)) {
	t.Helper()
	queue(t, r, 1, prep)
	sockCancelled(t, r)
}

// sockBuffers is a group of provided buffers.
type sockBuffers struct {
	*BufRing
	all [][]byte
}

// sockProvide provides n buffers of that size.
func sockProvide(t *testing.T, r *Ring, n, size int) *sockBuffers {
	t.Helper()
	ring, err := r.SetupBufRing(n, sockGroup, 0)
	skip.Unless(t, "provided buffer rings", "5.19", err)
	g := &sockBuffers{BufRing: ring}
	memory := keep(t, make([]byte, n*size))
	for i := range n {
		g.all = append(g.all, memory[i*size:(i+1)*size:(i+1)*size])
		g.Add(g.all[i], uint16(i))
	}
	g.Advance()
	t.Cleanup(func() { assert.NoError(t, g.Free()) })
	return g
}

// of returns the bytes of a completion that has one buffer.
func (g *sockBuffers) of(t *testing.T, c CQE) []byte {
	t.Helper()
	require.Zero(t, c.Errno(), "%v", c.Errno())
	require.NotZero(t, c.Flags&CQEBuffer)
	return g.all[c.BufferID()][:c.Res]
}

// again provides the buffer of a completion again.
func (g *sockBuffers) again(c CQE) {
	g.Add(g.all[c.BufferID()], c.BufferID())
	g.Advance()
}

func sockRawAny(addr *unix.RawSockaddrAny, length uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(addr)), length)
}

// A server and a client are made, and meet, by requests only.
func TestOpSocketToConnection(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpListen, "6.11")
		server := sockClose(t, succeed(t, r, func(s *SQE) { s.PrepSocket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP, 0) }))
		typ, err := unix.GetsockoptInt(server, unix.SOL_SOCKET, unix.SO_TYPE)
		require.NoError(t, err)
		assert.Equal(t, unix.SOCK_STREAM, typ)
		flags, err := unix.FcntlInt(uintptr(server), unix.F_GETFD, 0)
		require.NoError(t, err)
		assert.Equal(t, unix.FD_CLOEXEC, flags)

		anyPort := sockRaw(t, sockLoopback(0))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepBind(server, anyPort) }))
		addr := sockName(t, server)
		assert.Equal(t, "127.0.0.1", addr.Addr().String())
		require.NotZero(t, addr.Port())
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepListen(server, 4) }))
		listens, err := unix.GetsockoptInt(server, unix.SOL_SOCKET, unix.SO_ACCEPTCONN)
		require.NoError(t, err)
		assert.Equal(t, 1, listens)

		client := sockClose(t, succeed(t, r, func(s *SQE) { s.PrepSocket(unix.AF_INET, unix.SOCK_STREAM, 0, 0) }))
		peer, length := keep(t, new(unix.RawSockaddrAny)), keep(t, new(uint32))
		*length = unix.SizeofSockaddrAny
		queue(t, r, 1, func(s *SQE) {
			s.PrepAccept(server, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
			s.AcceptAddr(peer, length)
		})
		to := sockRaw(t, addr)
		queue(t, r, 2, func(s *SQE) { s.PrepConnect(client, to) })
		got := sockResults(t, r, 2)
		assert.Zero(t, got[2])
		accepted := sockClose(t, got[1])
		require.Positive(t, accepted)
		flags, err = unix.FcntlInt(uintptr(accepted), unix.F_GETFD, 0)
		require.NoError(t, err)
		assert.Equal(t, unix.FD_CLOEXEC, flags)
		flags, err = unix.FcntlInt(uintptr(accepted), unix.F_GETFL, 0)
		require.NoError(t, err)
		assert.NotZero(t, flags&unix.O_NONBLOCK)

		from, ok := ParseSockaddr(sockRawAny(peer, *length))
		require.True(t, ok)
		assert.EqualValues(t, unix.SizeofSockaddrInet4, *length)
		assert.Equal(t, sockName(t, client), from)
	})
}

func TestOpSocketRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSocket, "5.19")
	failWith(t, r, unix.EAFNOSUPPORT, func(s *SQE) { s.PrepSocket(250, unix.SOCK_STREAM, 0, 0) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSocket(unix.AF_INET, 99, 0, 0) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSocket(unix.AF_INET, -1, 0, 0) })
	failWith(t, r, unix.EPROTONOSUPPORT, func(s *SQE) { s.PrepSocket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP, 0) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSocket(unix.AF_INET, unix.SOCK_STREAM, 0, 1) })
}

// A listening socket that has no fd is made by one chain of requests.
func TestOpSocketDirect(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpListen, "6.11")
		require.NoError(t, r.RegisterFilesSparse(4))
		anyPort := sockRaw(t, sockLoopback(0))
		queue(t, r, 1, func(s *SQE) { s.PrepSocketDirect(unix.AF_INET, unix.SOCK_STREAM, 0, 2, 0); s.Flags |= SQELink })
		queue(t, r, 2, func(s *SQE) { s.PrepBind(2, anyPort); s.Flags |= SQELink | SQEFixedFile })
		queue(t, r, 3, func(s *SQE) { s.PrepListen(2, 4); s.Flags |= SQEFixedFile })
		assert.Equal(t, map[uint64]int{1: 0, 2: 0, 3: 0}, sockResults(t, r, 3))

		listener := sockClose(t, succeed(t, r, func(s *SQE) { s.PrepFixedFDInstall(2, 0) }))
		to := sockRaw(t, sockName(t, listener))
		client := succeed(t, r, func(s *SQE) { s.PrepSocketDirectAlloc(unix.AF_INET, unix.SOCK_STREAM, 0, 0) })
		queue(t, r, 1, func(s *SQE) { s.PrepConnect(client, to); s.Flags |= SQEFixedFile })
		queue(t, r, 2, func(s *SQE) { s.PrepAcceptDirect(2, 0, FileIndexAlloc); s.Flags |= SQEFixedFile })
		got := sockResults(t, r, 2)
		server := got[2]
		assert.Zero(t, got[1])
		assert.ElementsMatch(t, []int{0, 1, 3}, []int{client, server, 4 - client - server}, "free places")

		out, in := sockBytes(t, 10), keep(t, make([]byte, 10))
		queue(t, r, 1, func(s *SQE) { s.PrepSend(client, out, 0); s.Flags |= SQEFixedFile })
		queue(t, r, 2, func(s *SQE) { s.PrepRecv(server, in, unix.MSG_WAITALL); s.Flags |= SQEFixedFile })
		assert.Equal(t, map[uint64]int{1: 10, 2: 10}, sockResults(t, r, 2))
		assert.Equal(t, out, in)
	})
}

func TestOpSocketDirectRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSocket, "5.19")
	direct := func(typ int, index uint32) func(*SQE) {
		return func(s *SQE) { s.PrepSocketDirect(unix.AF_INET, typ, 0, index, 0) }
	}
	failWith(t, r, unix.ENXIO, direct(unix.SOCK_STREAM, 0)) // there is no table
	require.NoError(t, r.RegisterFilesSparse(2))
	failWith(t, r, unix.EINVAL, direct(unix.SOCK_STREAM, 2))
	failWith(t, r, unix.EINVAL, direct(unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)) // only fds have that
	assert.Equal(t, 0, succeed(t, r, direct(unix.SOCK_STREAM, FileIndexAlloc)))
	assert.Equal(t, 1, succeed(t, r, direct(unix.SOCK_STREAM, FileIndexAlloc)))
	failWith(t, r, unix.ENFILE, direct(unix.SOCK_STREAM, FileIndexAlloc))
	// A place that is named is replaced.
	assert.Zero(t, succeed(t, r, direct(unix.SOCK_DGRAM, 1)))
	fd := sockClose(t, succeed(t, r, func(s *SQE) { s.PrepFixedFDInstall(1, 0) }))
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	require.NoError(t, err)
	assert.Equal(t, unix.SOCK_DGRAM, typ)
}

func TestOpBindRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpBind, "6.11")
	bound, addr := sockUDP(t)
	taken, anyPort := sockRaw(t, addr), sockRaw(t, sockLoopback(0))
	fd := sockNew(t, unix.AF_INET, unix.SOCK_DGRAM)
	rd, _ := pipe(t)
	foreign := sockRaw(t, netip.MustParseAddrPort("192.0.2.1:0"))
	v6 := sockRaw(t, netip.MustParseAddrPort("[::1]:0"))
	long := sockBytes(t, 129)
	bind := func(fd int, raw []byte) func(*SQE) { return func(s *SQE) { s.PrepBind(fd, raw) } }
	failWith(t, r, unix.EADDRINUSE, bind(fd, taken))
	failWith(t, r, unix.EINVAL, bind(bound, anyPort)) // it has an address
	failWith(t, r, unix.EADDRNOTAVAIL, bind(fd, foreign))
	failWith(t, r, unix.EAFNOSUPPORT, bind(fd, v6))
	failWith(t, r, unix.EINVAL, bind(fd, anyPort[:7]))
	failWith(t, r, unix.EINVAL, bind(fd, nil))
	failWith(t, r, unix.EINVAL, bind(fd, long)) // longer than any address
	failWith(t, r, unix.ENOTSOCK, bind(rd, anyPort))
	failWith(t, r, unix.EBADF, bind(-1, anyPort))
	assert.Zero(t, succeed(t, r, bind(fd, anyPort)))
}

func TestOpListenRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpListen, "6.11")
	udp, _ := sockUDP(t)
	a, _ := tcpPair(t)
	rd, _ := pipe(t)
	failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepListen(udp, 1) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepListen(a, 1) }) // it is connected
	failWith(t, r, unix.ENOTSOCK, func(s *SQE) { s.PrepListen(rd, 1) })
	failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepListen(-1, 1) })
}

func TestOpConnectRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpConnect, "5.5")
	nobody := sockNew(t, unix.AF_INET, unix.SOCK_STREAM) // has a port, and does not listen
	require.NoError(t, unix.Bind(nobody, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	refusing := sockRaw(t, sockName(t, nobody))
	_, listening := sockListener(t)
	fd := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
	rd, _ := pipe(t)
	v6 := sockRaw(t, netip.MustParseAddrPort("[::1]:1"))
	connect := func(fd int, raw []byte) func(*SQE) { return func(s *SQE) { s.PrepConnect(fd, raw) } }
	failWith(t, r, unix.ECONNREFUSED, connect(fd, refusing))
	failWith(t, r, unix.EAFNOSUPPORT, connect(fd, v6))
	failWith(t, r, unix.EINVAL, connect(fd, listening[:7]))
	failWith(t, r, unix.EINVAL, connect(fd, nil))
	failWith(t, r, unix.ENOTSOCK, connect(rd, listening))
	failWith(t, r, unix.EBADF, connect(-1, listening))
	assert.Zero(t, succeed(t, r, connect(fd, listening)))
	failWith(t, r, unix.EISCONN, connect(fd, listening))
}

// sockFull returns the address of a listener that takes no more connections for now.
func sockFull(t *testing.T) []byte {
	t.Helper()
	l := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
	require.NoError(t, unix.Bind(l, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(l, 0))
	raw := sockRaw(t, sockName(t, l))
	sockDial(t, raw) // the one that it has room for
	return raw
}

// A connect waits until there is an answer.
func TestOpConnectIsCancelled(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpConnect, "5.5")
		raw := sockFull(t)
		fd := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
		sockWaits(t, r, func(s *SQE) { s.PrepConnect(fd, raw) })

		fd = sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
		ts := keep(t, &Timespec{Nsec: int64(time.Millisecond)})
		queue(t, r, 1, func(s *SQE) { s.PrepConnect(fd, raw); s.Flags |= SQELink })
		queue(t, r, 2, func(s *SQE) { s.PrepLinkTimeout(ts, 0) })
		assert.Equal(t, map[uint64]int{1: sockErr(unix.ECANCELED), 2: sockErr(unix.ETIME)}, sockResults(t, r, 2))
	})
}

// A client in one chain: what follows a request begins when that has succeeded.
func TestOpConnectSendShutdownLinked(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpShutdown, "5.11")
		l, raw := sockListener(t)
		fd := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
		out := sockBytes(t, 1000)
		queue(t, r, 1, func(s *SQE) { s.PrepConnect(fd, raw); s.Flags |= SQELink })
		queue(t, r, 2, func(s *SQE) { s.PrepSend(fd, out, unix.MSG_WAITALL); s.Flags |= SQELink })
		queue(t, r, 3, func(s *SQE) { s.PrepShutdown(fd, unix.SHUT_WR) })
		assert.Equal(t, map[uint64]int{1: 0, 2: 1000, 3: 0}, sockResults(t, r, 3))
		server := sockClose(t, succeed(t, r, func(s *SQE) { s.PrepAccept(l, 0) }))
		assert.Equal(t, out, sockRead(t, server, 1000))
		n, err := unix.Read(server, make([]byte, 1))
		require.NoError(t, err)
		assert.Zero(t, n, "end of stream")

		// One that fails ends the chain.
		queue(t, r, 1, func(s *SQE) { s.PrepConnect(fd, raw); s.Flags |= SQELink })
		queue(t, r, 2, func(s *SQE) { s.PrepSend(fd, out, 0) })
		assert.Equal(t, map[uint64]int{1: sockErr(unix.EISCONN), 2: sockErr(unix.ECANCELED)}, sockResults(t, r, 2))
	})
}

func TestOpAcceptWaits(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		l, raw := sockListener(t)
		sockWaits(t, r, func(s *SQE) { s.PrepAccept(l, 0) })
		sockWaits(t, r, func(s *SQE) { s.PrepMultishotAccept(l, 0) })
		require.NoError(t, unix.SetNonblock(l, true)) // is of no matter
		sockWaits(t, r, func(s *SQE) { s.PrepAccept(l, 0) })
		// It has taken no connection.
		sockDial(t, raw)
		assert.Positive(t, sockClose(t, succeed(t, r, func(s *SQE) { s.PrepAccept(l, 0) })))
	})
}

func TestOpAcceptRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	l, raw := sockListener(t)
	udp, _ := sockUDP(t)
	tcp := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
	rd, _ := pipe(t)
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAccept(tcp, 0) }) // it does not listen
	failWith(t, r, unix.EOPNOTSUPP, func(s *SQE) { s.PrepAccept(udp, 0) })
	failWith(t, r, unix.ENOTSOCK, func(s *SQE) { s.PrepAccept(rd, 0) })
	failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepAccept(-1, 0) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAccept(l, unix.SOCK_DGRAM<<20) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAccept(l, 0); s.Ioprio |= 1 << 7 })

	// The errors of an address come with a connection, which is lost.
	peer, length := keep(t, new(unix.RawSockaddrAny)), keep(t, new(uint32))
	*length = math.MaxUint32
	sockDial(t, raw)
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAccept(l, 0); s.AcceptAddr(peer, length) })
	sockDial(t, raw)
	failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepAccept(l, 0); s.AcceptAddr(peer, nil) })
	// One that is too short is cut off, and its whole length told.
	*length = 4
	client := sockDial(t, raw)
	sockClose(t, succeed(t, r, func(s *SQE) { s.PrepAccept(l, 0); s.AcceptAddr(peer, length) }))
	assert.EqualValues(t, unix.SizeofSockaddrInet4, *length)
	got := sockRawAny(peer, 8)
	assert.Equal(t, sockName(t, client).Port(), binary.BigEndian.Uint16(got[2:]))
	assert.Equal(t, []byte{0, 0, 0, 0}, got[4:])

}

func TestOpAcceptDontWait(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpBind, "6.11") // came a release later
	l, raw := sockListener(t)
	failWith(t, r, unix.EAGAIN, func(s *SQE) { s.PrepAccept(l, 0); s.Ioprio |= AcceptDontWait })
	sockDial(t, raw)
	sockClose(t, succeed(t, r, func(s *SQE) { s.PrepAccept(l, 0); s.Ioprio |= AcceptDontWait }))
	sockDial(t, raw)
	sockClose(t, succeed(t, r, func(s *SQE) { s.PrepAccept(l, 0); s.Ioprio |= AcceptPollFirst }))
	// With a multishot accept, it takes those that are there.
	sockDial(t, raw)
	sockDial(t, raw)
	queue(t, r, 1, func(s *SQE) { s.PrepMultishotAccept(l, 0); s.Ioprio |= AcceptDontWait })
	got := reap(t, r, 3)
	sockClose(t, int(got[0].Res))
	sockClose(t, int(got[1].Res))
	assert.True(t, got[0].More())
	assert.True(t, got[1].More())
	assert.Equal(t, unix.EAGAIN, got[2].Errno())
	assert.False(t, got[2].More())
}

func TestOpAcceptMultishot(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSocket, "5.19") // came with it
		l, raw := sockListener(t)
		peer, length := keep(t, new(unix.RawSockaddrAny)), keep(t, new(uint32))
		*length = unix.SizeofSockaddrAny
		queue(t, r, 1, func(s *SQE) { s.PrepMultishotAccept(l, unix.SOCK_CLOEXEC); s.AcceptAddr(peer, length) })
		for range 5 {
			client := sockDial(t, raw)
			c := reap(t, r, 1)[0]
			assert.EqualValues(t, 1, c.UserData)
			assert.True(t, c.More())
			require.Positive(t, sockClose(t, int(c.Res)))
			from, ok := ParseSockaddr(sockRawAny(peer, *length))
			require.True(t, ok)
			assert.Equal(t, sockName(t, client), from)
		}
		sockCancelled(t, r)
	})
}

func TestOpAcceptDirect(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSocket, "5.19") // came with the choice of a place
		l, raw := sockListener(t)
		require.NoError(t, r.RegisterFilesSparse(3))
		sockDial(t, raw)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepAcceptDirect(l, 0, 1) }))
		sockDial(t, raw)
		place := succeed(t, r, func(s *SQE) { s.PrepAcceptDirect(l, 0, FileIndexAlloc) })
		sockDial(t, raw)
		other := succeed(t, r, func(s *SQE) { s.PrepAcceptDirect(l, 0, FileIndexAlloc) })
		assert.ElementsMatch(t, []int{0, 2}, []int{place, other}, "the free ones")
		sockDial(t, raw)
		failWith(t, r, unix.ENFILE, func(s *SQE) { s.PrepAcceptDirect(l, 0, FileIndexAlloc) })
		client := sockDial(t, raw) // is accepted in the place of another one
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepAcceptDirect(l, 0, 1) }))
		out := sockBytes(t, 5)
		assert.Equal(t, 5, succeed(t, r, func(s *SQE) { s.PrepSend(1, out, 0); s.Flags |= SQEFixedFile }))
		assert.Equal(t, out, sockRead(t, client, 5))
	})
}

func TestOpAcceptDirectRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSocket, "5.19")
	l, raw := sockListener(t)
	require.NoError(t, r.RegisterFilesSparse(1))
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAcceptDirect(l, unix.SOCK_CLOEXEC, 0) }) // only fds have that
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepMultishotAcceptDirect(l, unix.SOCK_CLOEXEC) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAcceptDirect(l, 0, 0); s.Ioprio |= AcceptMultishot })
	// The place is looked at when there is a connection, which is lost.
	client := sockDial(t, raw)
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepAcceptDirect(l, 0, 1) })
	n, err := unix.Read(client, make([]byte, 1))
	require.NoError(t, err)
	assert.Zero(t, n, "end of stream")
}

func TestOpAcceptMultishotDirect(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSocket, "5.19")
		l, raw := sockListener(t)
		require.NoError(t, r.RegisterFilesSparse(3))
		queue(t, r, 1, func(s *SQE) { s.PrepMultishotAcceptDirect(l, 0) })
		for place := range 3 {
			client := sockDial(t, raw)
			c := reap(t, r, 1)[0]
			assert.EqualValues(t, place, c.Res)
			assert.True(t, c.More())
			sockWrite(t, client, []byte{byte(place)})
		}
		in := keep(t, make([]byte, 1))
		for place := range 3 {
			assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepRecv(place, in, 0); s.Flags |= SQEFixedFile }))
			assert.EqualValues(t, place, in[0])
		}
		sockDial(t, raw)
		c := reap(t, r, 1)[0]
		assert.Equal(t, unix.ENFILE, c.Errno(), "the table is full")
		assert.False(t, c.More())
	})
}

func TestOpRecv(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := sockPair(t)
		in := keep(t, make([]byte, 8))
		recv := func(b int, in []byte, flags int) func(*SQE) {
			return func(s *SQE) { s.PrepRecv(b, in, flags) }
		}
		sockWaits(t, r, recv(b, in, 0))
		sockWrite(t, a, []byte("hello"))
		assert.Equal(t, 5, succeed(t, r, recv(b, in, unix.MSG_PEEK)))
		c := one(t, r, recv(b, in[:3], 0))
		assert.EqualValues(t, 3, c.Res)
		assert.NotZero(t, c.Flags&CQESockNonempty)
		assert.Equal(t, "hel", string(in[:3]))
		c = one(t, r, recv(b, in, unix.MSG_DONTWAIT))
		assert.EqualValues(t, 2, c.Res)
		assert.Zero(t, c.Flags&CQESockNonempty)
		assert.Equal(t, "lo", string(in[:2]))
		failWith(t, r, unix.EAGAIN, recv(b, in, unix.MSG_DONTWAIT))

		// MSG_WAITALL waits for all, in however many parts.
		queue(t, r, 1, recv(b, in, unix.MSG_WAITALL))
		for i := range 8 {
			_, err := r.Submit()
			require.NoError(t, err)
			assert.Zero(t, r.Pending())
			sockWrite(t, a, []byte{byte(i)})
		}
		assert.EqualValues(t, 8, reap(t, r, 1)[0].Res)
		assert.Equal(t, []byte{0, 1, 2, 3, 4, 5, 6, 7}, in)

		// It returns less at the end of the stream, and then 0.
		queue(t, r, 1, recv(b, in, unix.MSG_WAITALL))
		sockWrite(t, a, []byte("end"))
		require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
		assert.EqualValues(t, 3, reap(t, r, 1)[0].Res)
		assert.Zero(t, succeed(t, r, recv(b, in, 0)))
	})
}

func TestOpRecvRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	a, b := sockPair(t)
	rd, _ := pipe(t)
	tcp := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
	in := keep(t, make([]byte, 8))
	failWith(t, r, unix.ENOTCONN, func(s *SQE) { s.PrepRecv(tcp, in, 0) })
	failWith(t, r, unix.ENOTSOCK, func(s *SQE) { s.PrepRecv(rd, in, 0) })
	failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepRecv(-1, in, 0) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRecv(b, in, 0); s.Ioprio |= 1 << 15 })
	sockWrite(t, a, []byte("x"))
	failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepRecv(b, in, 0); s.Addr = 8 })
	failWith(t, r, unix.ENOBUFS, func(s *SQE) { s.PrepRecv(b, nil, 0); s.SetBufferGroup(sockGroup) }) // no group
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRecv(b, in, 0); s.Ioprio |= RecvMultishot })     // no provided buffers
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRecvMultishot(b, sockGroup, unix.MSG_WAITALL) })
	assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepRecv(b, in, 0) }), "it is still there")
}

// With RecvSendPollFirst a request waits first, and then finds what is there.
func TestOpRecvSendPollFirst(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSocket, "5.19") // came with it
	a, b := sockPair(t)
	out, in := sockBytes(t, 3), keep(t, make([]byte, 8))
	assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepSend(a, out, 0); s.Ioprio |= RecvSendPollFirst }))
	assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepRecv(b, in, 0); s.Ioprio |= RecvSendPollFirst }))
	assert.Equal(t, out, in[:3])
	sockWaits(t, r, func(s *SQE) { s.PrepRecv(b, in, 0); s.Ioprio |= RecvSendPollFirst })
	// One that must not wait finds nothing, since it does not try.
	sockWrite(t, a, out)
	failWith(t, r, unix.EAGAIN, func(s *SQE) { s.PrepRecv(b, in, unix.MSG_DONTWAIT); s.Ioprio |= RecvSendPollFirst })
}

func TestOpRecvMultishot(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendZC, "6.0") // came with it
		g := sockProvide(t, r, 4, 16)
		a, b := sockPair(t)
		recv := func(s *SQE) { s.PrepRecvMultishot(b, sockGroup, 0) }
		queue(t, r, 1, recv)
		for i := range 10 {
			out := bytes.Repeat([]byte{byte(i)}, 10)
			sockWrite(t, a, out)
			c := reap(t, r, 1)[0]
			assert.True(t, c.More())
			assert.Equal(t, out, g.of(t, c))
			g.again(c)
		}
		sockCancelled(t, r)

		// The buffers do not suffice.
		out := sockBytes(t, 100)
		sockWrite(t, a, out)
		queue(t, r, 1, recv)
		var got []byte
		all := reap(t, r, 5)
		for _, c := range all[:4] {
			assert.True(t, c.More())
			got = append(got, g.of(t, c)...)
		}
		assert.Equal(t, out[:64], got)
		assert.Equal(t, unix.ENOBUFS, all[4].Errno())
		assert.False(t, all[4].More())
		assert.Zero(t, all[4].Flags&CQEBuffer)

		for _, c := range all[:4] {
			g.again(c)
		}
		require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
		queue(t, r, 1, recv)
		all = reap(t, r, 4)
		got = nil
		for _, c := range all[:3] {
			got = append(got, g.of(t, c)...)
		}
		assert.Equal(t, out[64:], got)
		assert.Zero(t, all[3].Res, "end of stream")
		assert.False(t, all[3].More())
	})
}

// A bundle is several buffers in one completion, which names the first.
func TestOpRecvBundle(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		if r.Features()&FeatRecvSendBundle == 0 {
			skip.Unless(t, "bundles", "6.10", syscall.EOPNOTSUPP)
		}
		g := sockProvide(t, r, 8, 16)
		a, b := sockPair(t)
		out := sockBytes(t, 100)
		sockWrite(t, a, out)
		var got []byte
		for len(got) < len(out) { // the kernel may leave out a buffer that it would not fill
			c := one(t, r, func(s *SQE) {
				s.PrepRecv(b, nil, 0)
				s.SetBufferGroup(sockGroup)
				s.Ioprio |= RecvSendBundle
			})
			require.Positive(t, c.Res)
			require.NotZero(t, c.Flags&CQEBuffer)
			if got == nil {
				assert.GreaterOrEqual(t, int(c.Res), 96)
				assert.Zero(t, c.BufferID())
			}
			got = append(got, bytes.Join(g.all[c.BufferID():], nil)[:c.Res]...)
		}
		assert.Equal(t, out, got)
		left, err := g.Available()
		require.NoError(t, err)
		assert.Equal(t, 1, left)
	})
}

func TestOpRecvMultishotLimit(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	g := sockProvide(t, r, 8, 16)
	a, b := sockPair(t)
	out := sockBytes(t, 100)
	sockWrite(t, a, out)
	limited := func(s *SQE) {
		s.PrepRecvMultishot(b, sockGroup, 0)
		s.Ioprio |= RecvSendBundle
		s.LimitMultishot(40)
	}
	c := one(t, r, limited)
	if c.Errno() == unix.EINVAL {
		skip.Unless(t, "limits of multishot receives", "6.17", c.Errno())
	}
	got := 0
	for {
		got += int(c.Res)
		if !c.More() {
			break
		}
		c = reap(t, r, 1)[0]
	}
	assert.Equal(t, 40, got)
	assert.NotZero(t, c.Flags&CQEBuffer)
	assert.Equal(t, out[:40], bytes.Join(g.all, nil)[:40])
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRecv(b, out, 0); s.LimitMultishot(40) }) // it is none
}

func TestOpSend(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := sockPair(t)
		out := sockBytes(t, 10)
		assert.Equal(t, 10, succeed(t, r, func(s *SQE) { s.PrepSend(a, out, 0) }))
		assert.Equal(t, out, sockRead(t, b, 10))

		// A drained request begins after those before it.
		for i := range 5 {
			queue(t, r, uint64(i), func(s *SQE) { s.PrepSend(a, out[i:i+1], 0); s.Flags |= SQEDrain })
		}
		for i, c := range reap(t, r, 5) {
			assert.EqualValues(t, i, c.UserData)
			assert.EqualValues(t, 1, c.Res)
		}
		assert.Equal(t, out[:5], sockRead(t, b, 5))

		// It waits for room.
		require.NoError(t, unix.SetsockoptInt(a, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096))
		big := sockBytes(t, 1<<20)
		queue(t, r, 1, func(s *SQE) { s.PrepSend(a, big, unix.MSG_WAITALL) })
		_, err := r.Submit()
		require.NoError(t, err)
		assert.Equal(t, big, sockReadWhile(t, r, b, len(big)))
		c := reap(t, r, 1)[0]
		assert.EqualValues(t, len(big), c.Res)

		full := func(s *SQE) { s.PrepSend(a, big, unix.MSG_DONTWAIT) }
		sent := succeed(t, r, full) // as much as there is room for
		assert.Less(t, sent, len(big))
		for c = one(t, r, full); c.Res > 0; c = one(t, r, full) {
			sent += int(c.Res)
		}
		assert.Equal(t, unix.EAGAIN, c.Errno())
		sockWaits(t, r, func(s *SQE) { s.PrepSend(a, out, 0) })
		sockRead(t, b, sent)
	})
}

// sockReadWhile reads n bytes while the ring's requests go on.
func sockReadWhile(t *testing.T, r *Ring, fd, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for got, deadline := 0, time.Now().Add(5*time.Second); got < n; {
		_, err := r.Submit()
		require.NoError(t, err)
		k, _, err := unix.Recvfrom(fd, b[got:], unix.MSG_DONTWAIT)
		if err == nil {
			got += k
			continue
		}
		require.ErrorIs(t, err, unix.EAGAIN)
		require.True(t, time.Now().Before(deadline), "%d bytes of %d", got, n)
		runtime.Gosched()
	}
	return b
}

func TestOpSendRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	a, b := sockPair(t)
	udp, _ := sockUDP(t)
	rd, _ := pipe(t)
	out := sockBytes(t, 10)
	huge := sockBytes(t, 1<<16)
	failWith(t, r, unix.EDESTADDRREQ, func(s *SQE) { s.PrepSend(udp, out, 0) })
	failWith(t, r, unix.ENOTSOCK, func(s *SQE) { s.PrepSend(rd, out, 0) })
	failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepSend(-1, out, 0) })
	failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepSend(a, out, 0); s.Addr = 8 })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSend(a, out, 0); s.Ioprio |= 1 << 15 })
	to := sockRaw(t, sockName(t, udp))
	failWith(t, r, unix.EMSGSIZE, func(s *SQE) { s.PrepSendto(udp, huge, 0, to) })
	require.NoError(t, unix.Close(b))
	failWith(t, r, unix.EPIPE, func(s *SQE) { s.PrepSend(a, out, 0) }) // and no signal
}

func TestOpSendVectorized(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	a, b := sockPair(t)
	out := sockBytes(t, 30)
	parts := keep(t, Iovecs(out[:5], out[5:25], out[25:]))
	c := one(t, r, func(s *SQE) {
		s.PrepSend(a, unsafe.Slice((*byte)(unsafe.Pointer(&parts[0])), 1), 0)
		s.Len = uint32(len(parts))
		s.Ioprio |= SendVectorized
	})
	if c.Errno() == unix.EINVAL {
		skip.Unless(t, "sends of several slices", "6.17", c.Errno())
	}
	require.EqualValues(t, 30, c.Res)
	assert.Equal(t, out, sockRead(t, b, 30))
}

func TestOpSendto(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendmsgZC, "6.1")
		from, source := sockUDP(t)
		to, addr := sockUDP(t)
		raw := sockRaw(t, addr)
		out, in := sockBytes(t, 100), keep(t, make([]byte, 200))
		assert.Equal(t, 100, succeed(t, r, func(s *SQE) { s.PrepSendto(from, out, 0, raw) }))
		assert.Equal(t, 100, succeed(t, r, func(s *SQE) { s.PrepRecv(to, in, 0) }))
		assert.Equal(t, out, in[:100])
		assert.Equal(t, 0, succeed(t, r, func(s *SQE) { s.PrepSendto(from, nil, 0, raw) }), "an empty message")
		n, sa, err := unix.Recvfrom(to, in, 0)
		require.NoError(t, err)
		assert.Zero(t, n)
		assert.EqualValues(t, source.Port(), sa.(*unix.SockaddrInet4).Port)
	})
}

func TestOpSendtoIPv6(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendmsgZC, "6.1")
	fd := sockNew(t, unix.AF_INET6, unix.SOCK_DGRAM)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}))
	raw := sockRaw(t, sockName(t, fd))
	require.Len(t, raw, unix.SizeofSockaddrInet6)
	out := sockBytes(t, 9)
	assert.Equal(t, 9, succeed(t, r, func(s *SQE) { s.PrepSend(fd, out, 0); s.SendAddr(raw) }))
	assert.Equal(t, out, sockRead(t, fd, 9))
}

func TestOpSendtoRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendmsgZC, "6.1")
	fd, addr := sockUDP(t)
	raw, long := sockRaw(t, addr), sockBytes(t, 129)
	v6 := sockRaw(t, netip.MustParseAddrPort("[::1]:1"))
	out := sockBytes(t, 9)
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSendto(fd, out, 0, raw[:7]) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSendto(fd, out, 0, long) })
	failWith(t, r, unix.EAFNOSUPPORT, func(s *SQE) { s.PrepSendto(fd, out, 0, v6) })
	failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepSendto(fd, out, 0, raw); s.Off = 8 })
}

// A send takes provided buffers in the order in which they were added.
func TestOpSendBundle(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		if r.Features()&FeatRecvSendBundle == 0 {
			skip.Unless(t, "bundles", "6.10", syscall.EOPNOTSUPP)
		}
		g := sockProvide(t, r, 8, 16)
		a, b := sockPair(t)
		out := sockBytes(t, 128)
		for i, part := range g.all {
			copy(part, out[i*16:])
		}
		// Without a bundle it is one buffer.
		c := one(t, r, func(s *SQE) { s.PrepSend(a, nil, 0); s.SetBufferGroup(sockGroup) })
		assert.EqualValues(t, 16, c.Res)
		assert.Equal(t, CQEBuffer, c.Flags&(CQEBuffer|CQEMore))
		assert.Zero(t, c.BufferID())
		c = one(t, r, func(s *SQE) { s.PrepSendBundle(a, 0, 0); s.SetBufferGroup(sockGroup) })
		assert.EqualValues(t, 112, c.Res)
		assert.Equal(t, CQEBuffer, c.Flags&(CQEBuffer|CQEMore))
		assert.EqualValues(t, 1, c.BufferID())
		assert.Equal(t, out, sockRead(t, b, 128))
		failWith(t, r, unix.ENOBUFS, func(s *SQE) { s.PrepSendBundle(a, 0, 0); s.SetBufferGroup(sockGroup) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepSendBundle(a, 0, 0); s.SetBufferGroup(sockGroup + 1) })
	})
}

// The length bounds the first completion, in whole buffers, and not what is sent in all.
func TestOpSendBundleLength(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	if r.Features()&FeatRecvSendBundle == 0 {
		skip.Unless(t, "bundles", "6.10", syscall.EOPNOTSUPP)
	}
	sockProvide(t, r, 8, 16)
	a, b := sockPair(t)
	queue(t, r, 1, func(s *SQE) { s.PrepSendBundle(a, 40, 0); s.SetBufferGroup(sockGroup) })
	c := reap(t, r, 1)[0]
	assert.EqualValues(t, 32, c.Res)
	sent := int(c.Res)
	for c.More() {
		c = reap(t, r, 1)[0]
		require.NotZero(t, c.Flags&CQEBuffer)
		assert.EqualValues(t, sent/16, c.BufferID())
		sent += int(c.Res)
	}
	assert.Equal(t, 128, sent)
	sockRead(t, b, sent)
}

// sockMessage returns a message of those parts. It keeps them, until the test ends.
func sockMessage(t *testing.T, name, control []byte, parts ...[]byte) *unix.Msghdr {
	list := make([]unix.Iovec, len(parts))
	for i, part := range parts {
		list[i].Base = unsafe.SliceData(part)
		list[i].SetLen(len(part))
	}
	m := &unix.Msghdr{Name: unsafe.SliceData(name), Namelen: uint32(len(name)), Control: unsafe.SliceData(control), Iov: unsafe.SliceData(list)}
	m.SetIovlen(len(list))
	m.SetControllen(len(control))
	return keep(t, m)
}

// sockPktinfo returns the local address of a control message IP_PKTINFO.
func sockPktinfo(t *testing.T, control []byte) netip.Addr {
	t.Helper()
	all, err := unix.ParseSocketControlMessage(control)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.EqualValues(t, unix.IPPROTO_IP, all[0].Header.Level)
	require.EqualValues(t, unix.IP_PKTINFO, all[0].Header.Type)
	require.Len(t, all[0].Data, unix.SizeofInet4Pktinfo)
	return netip.AddrFrom4([4]byte(all[0].Data[8:]))
}

func TestOpSendmsgRecvmsg(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		from, source := sockUDP(t)
		to, addr := sockUDP(t)
		require.NoError(t, unix.SetsockoptInt(to, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
		out := sockBytes(t, 100)
		send := sockMessage(t, sockRaw(t, addr), nil, out[:10], out[10:70], out[70:])
		assert.Equal(t, 100, succeed(t, r, func(s *SQE) { s.PrepSendmsg(from, unsafe.Pointer(send), 0) }))

		name, control, in := make([]byte, 100), make([]byte, 100), make([]byte, 120)
		m := sockMessage(t, name, control, in[:50], in[50:])
		assert.Equal(t, 100, succeed(t, r, func(s *SQE) { s.PrepRecvmsg(to, m, 0) }))
		assert.Equal(t, out, in[:100])
		got, ok := ParseSockaddr(name[:m.Namelen])
		require.True(t, ok)
		assert.Equal(t, source, got)
		assert.Equal(t, addr.Addr(), sockPktinfo(t, control[:m.Controllen]))
		assert.Zero(t, m.Flags)

		// What has no room is cut off: the address quietly, the rest is told by flags.
		assert.Equal(t, 100, succeed(t, r, func(s *SQE) { s.PrepSendmsg(from, unsafe.Pointer(send), 0) }))
		short := sockMessage(t, name[:4], control[:8], in[:30])
		assert.Equal(t, 30, succeed(t, r, func(s *SQE) { s.PrepRecvmsg(to, short, 0) }))
		assert.EqualValues(t, unix.SizeofSockaddrInet4, short.Namelen)
		assert.EqualValues(t, 0, short.Controllen)
		assert.EqualValues(t, unix.MSG_TRUNC|unix.MSG_CTRUNC, short.Flags)
		sockWaits(t, r, func(s *SQE) { s.PrepRecvmsg(to, m, 0) })
	})
}

// A file is sent over a Unix socket.
func TestOpSendmsgRights(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := sockPair(t)
		rd, wr := pipe(t)
		send := sockMessage(t, nil, unix.UnixRights(wr), []byte("w"))
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepSendmsg(a, unsafe.Pointer(send), 0) }))
		control := make([]byte, unix.CmsgSpace(4))
		m := sockMessage(t, nil, control, make([]byte, 1))
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepRecvmsg(b, m, unix.MSG_CMSG_CLOEXEC) }))
		all, err := unix.ParseSocketControlMessage(control[:m.Controllen])
		require.NoError(t, err)
		require.Len(t, all, 1)
		fds, err := unix.ParseUnixRights(&all[0])
		require.NoError(t, err)
		require.Len(t, fds, 1)
		sockWrite(t, sockClose(t, fds[0]), []byte("through it"))
		assert.Equal(t, "through it", string(sockRead(t, rd, 10)))
	})
}

func TestOpSendmsgRecvmsgRefuse(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	fd, addr := sockUDP(t)
	rd, wr := pipe(t)
	m := sockMessage(t, sockRaw(t, addr), nil, make([]byte, 10))
	for _, op := range []func(s *SQE, fd int, m *unix.Msghdr){
		func(s *SQE, fd int, m *unix.Msghdr) { s.PrepSendmsg(fd, unsafe.Pointer(m), 0) },
		func(s *SQE, fd int, m *unix.Msghdr) { s.PrepRecvmsg(fd, m, 0) },
	} {
		failWith(t, r, unix.ENOTSOCK, func(s *SQE) { op(s, rd, m) })
		failWith(t, r, unix.ENOTSOCK, func(s *SQE) { op(s, wr, m) })
		failWith(t, r, unix.EBADF, func(s *SQE) { op(s, -1, m) })
		failWith(t, r, unix.EFAULT, func(s *SQE) { op(s, fd, nil) })
		many := *m
		many.SetIovlen(1025) // IOV_MAX is 1024
		keep(t, &many)
		failWith(t, r, unix.EMSGSIZE, func(s *SQE) { op(s, fd, &many) })
	}
	broken := sockMessage(t, sockRaw(t, addr), sockBytes(t, 20), make([]byte, 10)) // its control is nonsense
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepSendmsg(fd, unsafe.Pointer(broken), 0) })
}

func TestOpRecvmsgMultishot(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendZC, "6.0") // came with it
		g := sockProvide(t, r, 4, 256)
		from, source := sockUDP(t)
		to, addr := sockUDP(t)
		require.NoError(t, unix.SetsockoptInt(to, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
		m := keep(t, &unix.Msghdr{Namelen: 32})
		m.SetControllen(64)
		queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(to, m, 0); s.SetBufferGroup(sockGroup) })
		for i := range 10 { // from an empty one on
			out := bytes.Repeat([]byte{byte(i)}, i*5)
			sockSendTo(t, from, out, addr)
			c := reap(t, r, 1)[0]
			require.Equal(t, i > 0, c.More(), "an empty message ends it, as the end of a stream does")
			got, ok := ParseRecvmsg(g.of(t, c), m)
			require.True(t, ok)
			name, ok := ParseSockaddr(got.Name)
			require.True(t, ok)
			assert.Equal(t, source, name)
			assert.Equal(t, addr.Addr(), sockPktinfo(t, got.Control))
			assert.Equal(t, len(out), got.PayloadLen)
			assert.Equal(t, out, append([]byte{}, got.Payload...))
			assert.Zero(t, got.Flags)
			g.again(c)
			if i == 0 {
				queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(to, m, 0); s.SetBufferGroup(sockGroup) })
			}
		}
		sockCancelled(t, r)
	})
}

// A time stamp is a control message, and a connected socket needs no names.
func TestOpRecvmsgMultishotTimestamp(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendZC, "6.0")
	g := sockProvide(t, r, 4, 256)
	from, _ := sockUDP(t)
	to, addr := sockUDP(t)
	require.NoError(t, unix.SetsockoptInt(to, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	m := keep(t, &unix.Msghdr{})
	m.SetControllen(64)
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(to, m, 0); s.SetBufferGroup(sockGroup) })
	_, err := r.Submit()
	require.NoError(t, err)
	before := time.Now()
	sockSendTo(t, from, []byte("now"), addr)
	got, ok := ParseRecvmsg(g.of(t, reap(t, r, 1)[0]), m)
	require.True(t, ok)
	assert.Empty(t, got.Name)
	assert.Equal(t, "now", string(got.Payload))
	all, err := unix.ParseSocketControlMessage(got.Control)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.EqualValues(t, unix.SCM_TIMESTAMPNS, all[0].Header.Type)
	ts := *(*unix.Timespec)(unsafe.Pointer(&all[0].Data[0]))
	assert.WithinRange(t, time.Unix(ts.Unix()), before.Add(-time.Second), time.Now().Add(time.Second))
	sockCancelled(t, r)
}

func TestOpRecvmsgMultishotCutsOff(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendZC, "6.0")
	const head = 16
	g := sockProvide(t, r, 8, 64)
	from, source := sockUDP(t)
	to, addr := sockUDP(t)
	require.NoError(t, unix.SetsockoptInt(to, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	out := sockBytes(t, 100)
	receive := func(flags int, name uint32, control int) (Message, CQE) {
		m := keep(t, &unix.Msghdr{Namelen: name})
		m.SetControllen(control)
		sockSendTo(t, from, out, addr)
		queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(to, m, flags); s.SetBufferGroup(sockGroup) })
		c := reap(t, r, 1)[0]
		if !c.More() {
			return Message{}, c
		}
		sockCancelled(t, r)
		got, ok := ParseRecvmsg(g.of(t, c), m)
		require.True(t, ok)
		return got, c
	}
	// Only with MSG_TRUNC is the payload's whole length told.
	got, c := receive(0, 16, 0)
	assert.EqualValues(t, 64, c.Res)
	assert.Equal(t, out[:64-head-16], got.Payload)
	assert.Equal(t, len(got.Payload), got.PayloadLen)
	assert.Equal(t, unix.MSG_TRUNC|unix.MSG_CTRUNC, got.Flags, "there is no room for a control message")
	got, c = receive(unix.MSG_TRUNC, 16, 0)
	assert.EqualValues(t, 64, c.Res)
	assert.Equal(t, out[:64-head-16], got.Payload)
	assert.Equal(t, 100, got.PayloadLen)

	got, _ = receive(0, 8, 20)
	assert.Equal(t, sockRaw(t, source)[:8], got.Name)
	assert.Len(t, got.Control, 20, "a part of the message")
	assert.Equal(t, out[:64-head-8-20], got.Payload)
	assert.Equal(t, unix.MSG_TRUNC|unix.MSG_CTRUNC, got.Flags)

	got, c = receive(unix.MSG_TRUNC, 24, 24)
	assert.EqualValues(t, 64, c.Res, "name and control take all of the buffer")
	assert.Empty(t, got.Payload)
	assert.Equal(t, 100, got.PayloadLen)
	_, c = receive(0, 28, 24)
	assert.Equal(t, unix.EFAULT, c.Errno(), "the buffer is too short for name and control")
}

func TestOpRecvmsgMultishotRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendZC, "6.0")
	sockProvide(t, r, 4, 64)
	fd, _ := sockUDP(t)
	refused := func(m *unix.Msghdr, group bool, flags int) {
		t.Helper()
		failWith(t, r, unix.EINVAL, func(s *SQE) {
			s.PrepRecvmsgMultishot(fd, m, flags)
			if group {
				s.SetBufferGroup(sockGroup)
			}
		})
	}
	none := keep(t, &unix.Msghdr{})
	refused(none, false, 0)
	refused(none, true, unix.MSG_WAITALL)
	refused(sockMessage(t, nil, nil, make([]byte, 1), make([]byte, 1)), true, 0)
	failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepRecvmsgMultishot(fd, nil, 0); s.SetBufferGroup(sockGroup) })
}

// One slice of the message bounds how much of each buffer is used.
func TestOpRecvmsgMultishotOfOneSlice(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendZC, "6.0")
	g := sockProvide(t, r, 4, 64)
	from, _ := sockUDP(t)
	to, addr := sockUDP(t)
	m := sockMessage(t, nil, nil, make([]byte, 50))
	queue(t, r, 1, func(s *SQE) { s.PrepRecvmsgMultishot(to, m, 0); s.SetBufferGroup(sockGroup) })
	out := sockBytes(t, 100)
	sockSendTo(t, from, out, addr)
	c := reap(t, r, 1)[0]
	assert.EqualValues(t, 50, c.Res)
	got, ok := ParseRecvmsg(g.of(t, c), m)
	require.True(t, ok)
	assert.Equal(t, out[:34], got.Payload)
	sockCancelled(t, r)
}

func TestOpParseRecvmsgOfNonsense(t *testing.T) {
	m := &unix.Msghdr{Namelen: 10}
	m.SetControllen(20)
	buffer := bytes.Repeat([]byte{0xff}, 100) // lengths far beyond it
	for n := range 16 + 10 + 20 {
		_, ok := ParseRecvmsg(buffer[:n], m)
		assert.False(t, ok, "%d bytes", n)
	}
	got, ok := ParseRecvmsg(buffer[:46], m)
	require.True(t, ok)
	assert.Len(t, got.Name, 10)
	assert.Equal(t, 10, cap(got.Name))
	assert.Len(t, got.Control, 20)
	assert.Equal(t, 20, cap(got.Control))
	assert.Empty(t, got.Payload)
	m.SetControllen(math.MaxInt)
	m.Namelen = math.MaxUint32
	_, ok = ParseRecvmsg(buffer, m)
	assert.False(t, ok)
	_, ok = ParseRecvmsg(nil, m)
	assert.False(t, ok)
}

// sockZC carries out a send without a copy, and returns its result and that of its
// notification.
func sockZC(t *testing.T, r *Ring, prep func(*SQE)) (result, notification CQE) {
	t.Helper()
	result = one(t, r, prep)
	require.True(t, result.More(), "the notification follows: %v", result.Errno())
	require.Zero(t, result.Flags&CQENotif)
	notification = reap(t, r, 1)[0]
	require.EqualValues(t, 77, notification.UserData)
	require.Equal(t, CQENotif, notification.Flags&(CQENotif|CQEMore))
	return result, notification
}

func TestOpSendZC(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendZC, "6.0")
		a, b := tcpPair(t)
		require.NoError(t, unix.SetNonblock(b, false))
		out := sockBytes(t, 10000)
		c, n := sockZC(t, r, func(s *SQE) { s.PrepSendZC(a, out, 0, 0) })
		assert.EqualValues(t, 10000, c.Res)
		assert.Zero(t, n.Res)
		assert.Equal(t, out, sockRead(t, b, 10000))

		// To an address, of a socket that is not connected.
		from, _ := sockUDP(t)
		to, addr := sockUDP(t)
		raw := sockRaw(t, addr)
		c, _ = sockZC(t, r, func(s *SQE) { s.PrepSendZC(from, out[:1000], 0, 0); s.SendAddr(raw) })
		assert.EqualValues(t, 1000, c.Res)
		assert.Equal(t, out[:1000], sockRead(t, to, 1000))
	})
}

// Over loopback the kernel copies.
func TestOpSendZCReportsUsage(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpReadMultishot, "6.7") // reports came with 6.2
		a, b := tcpPair(t)
		require.NoError(t, unix.SetNonblock(b, false))
		out := sockBytes(t, 10000)
		c, n := sockZC(t, r, func(s *SQE) { s.PrepSendZC(a, out, 0, SendZCReportUsage) })
		assert.EqualValues(t, 10000, c.Res)
		assert.Equal(t, NotifZCCopied, n.Res)
		sockRead(t, b, 10000)
		m := sockMessage(t, nil, nil, out)
		c, n = sockZC(t, r, func(s *SQE) { s.PrepSendmsgZC(a, m, 0); s.Ioprio |= SendZCReportUsage })
		assert.EqualValues(t, 10000, c.Res)
		assert.Equal(t, NotifZCCopied, n.Res)
		sockRead(t, b, 10000)
	})
}

// That the kernel copied is no error.
func TestOpSendZCReportIsNoError(t *testing.T) {
	c := CQE{Res: NotifZCCopied, Flags: CQENotif}
	assert.Zero(t, c.Errno(), "%#x", uint64(c.Errno()))
}

func TestOpSendZCFixed(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendZC, "6.0")
		a, b := tcpPair(t)
		require.NoError(t, unix.SetNonblock(b, false))
		out := mapped(t, 1<<14)
		copy(out, sockBytes(t, len(out)))
		require.NoError(t, r.RegisterBuffers(nil, out))
		c, _ := sockZC(t, r, func(s *SQE) { s.PrepSendZCFixed(a, out[100:5100], 0, 0, 1) })
		assert.EqualValues(t, 5000, c.Res)
		assert.Equal(t, out[100:5100], sockRead(t, b, 5000))

		for index, outside := range map[uint16][]byte{0: out[:1], 2: out[:1], 1: sockBytes(t, 1)} {
			c = one(t, r, func(s *SQE) { s.PrepSendZCFixed(a, outside, 0, 0, index) })
			assert.Equal(t, unix.EFAULT, c.Errno(), "place %d", index)
			if c.More() {
				reap(t, r, 1)
			}
		}
		require.NoError(t, r.UnregisterBuffers())
	})
}

func TestOpSendmsgZC(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendmsgZC, "6.1")
		from, source := sockUDP(t)
		to, addr := sockUDP(t)
		out := sockBytes(t, 1000)
		m := sockMessage(t, sockRaw(t, addr), nil, out[:400], out[400:])
		c, n := sockZC(t, r, func(s *SQE) { s.PrepSendmsgZC(from, m, 0) })
		assert.EqualValues(t, 1000, c.Res)
		assert.Zero(t, n.Res)
		in := make([]byte, 2000)
		k, sa, err := unix.Recvfrom(to, in, 0)
		require.NoError(t, err)
		assert.Equal(t, out, in[:k])
		assert.EqualValues(t, source.Port(), sa.(*unix.SockaddrInet4).Port)
	})
}

func TestOpSendmsgZCFixed(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpReadvFixed, "6.15") // came with it
		a, b := tcpPair(t)
		require.NoError(t, unix.SetNonblock(b, false))
		out := mapped(t, 1<<14)
		copy(out, sockBytes(t, len(out)))
		require.NoError(t, r.RegisterBuffers(out))
		m := sockMessage(t, nil, nil, out[:1000], out[8000:9000])
		c, _ := sockZC(t, r, func(s *SQE) { s.PrepSendmsgZCFixed(a, m, 0, 0) })
		assert.EqualValues(t, 2000, c.Res)
		got := sockRead(t, b, 2000)
		assert.Equal(t, out[:1000], got[:1000])
		assert.Equal(t, out[8000:9000], got[1000:])

		outside := sockMessage(t, nil, nil, out[:10], sockBytes(t, 10))
		for index, m := range map[uint16]*unix.Msghdr{0: outside, 1: m} {
			c = one(t, r, func(s *SQE) { s.PrepSendmsgZCFixed(a, m, 0, index) })
			assert.Equal(t, unix.EFAULT, c.Errno(), "place %d", index)
			if c.More() {
				reap(t, r, 1)
			}
		}
		require.NoError(t, r.UnregisterBuffers())
	})
}

func TestOpSendZCRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpSendmsgZC, "6.1")
	a, _ := tcpPair(t)
	u, _ := sockPair(t)
	rd, _ := pipe(t)
	out := sockBytes(t, 10)
	refused := func(want syscall.Errno, prep func(*SQE)) {
		t.Helper()
		c := one(t, r, prep)
		assert.Equal(t, want, c.Errno())
		if c.More() { // a failure has a notification too, if the request had begun
			assert.NotZero(t, reap(t, r, 1)[0].Flags&CQENotif)
		}
	}
	m := sockMessage(t, nil, nil, out)
	refused(unix.EOPNOTSUPP, func(s *SQE) { s.PrepSendZC(u, out, 0, 0) }) // Unix sockets copy
	refused(unix.EOPNOTSUPP, func(s *SQE) { s.PrepSendmsgZC(u, m, 0) })
	refused(unix.ENOTSOCK, func(s *SQE) { s.PrepSendZC(rd, out, 0, 0) })
	refused(unix.ENOTSOCK, func(s *SQE) { s.PrepSendmsgZC(rd, m, 0) })
	refused(unix.EBADF, func(s *SQE) { s.PrepSendZC(-1, out, 0, 0) })
	refused(unix.EINVAL, func(s *SQE) { s.PrepSendZC(a, out, 0, 1<<15) })
	refused(unix.EINVAL, func(s *SQE) { s.PrepSendZC(a, out, 0, 0); s.Flags |= SQECQESkipSuccess })
	refused(unix.EFAULT, func(s *SQE) { s.PrepSendZC(a, out, 0, 0); s.Addr = 8 })
	require.NoError(t, unix.Shutdown(a, unix.SHUT_WR))
	refused(unix.EPIPE, func(s *SQE) { s.PrepSendZC(a, out, 0, 0) })
	refused(unix.EPIPE, func(s *SQE) { s.PrepSendmsgZC(a, m, 0) })
}

func TestOpShutdown(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpShutdown, "5.11")
		a, b := sockPair(t)
		in := keep(t, make([]byte, 1))
		// It ends a receive that waits.
		queue(t, r, 1, func(s *SQE) { s.PrepRecv(b, in, 0) })
		queue(t, r, 2, func(s *SQE) { s.PrepShutdown(a, unix.SHUT_WR) })
		assert.Equal(t, map[uint64]int{1: 0, 2: 0}, sockResults(t, r, 2))
		failWith(t, r, unix.EPIPE, func(s *SQE) { s.PrepSend(a, in, 0) })
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepSend(b, in, 0) }), "the other direction")
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepShutdown(a, unix.SHUT_RDWR) }))
	})
}

func TestOpShutdownRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpShutdown, "5.11")
	a, _ := sockPair(t)
	tcp := sockNew(t, unix.AF_INET, unix.SOCK_STREAM)
	rd, _ := pipe(t)
	failWith(t, r, unix.ENOTCONN, func(s *SQE) { s.PrepShutdown(tcp, unix.SHUT_RD) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepShutdown(a, 3) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepShutdown(a, -1) })
	failWith(t, r, unix.ENOTSOCK, func(s *SQE) { s.PrepShutdown(rd, unix.SHUT_RD) })
	failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepShutdown(-1, unix.SHUT_RD) })
}

func TestOpPollAdd(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		rd, wr := pipe(t)
		assert.Equal(t, unix.POLLOUT, succeed(t, r, func(s *SQE) { s.PrepPollAdd(wr, unix.POLLOUT|unix.POLLIN) }))
		queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
		_, err := r.Submit()
		require.NoError(t, err)
		assert.Zero(t, r.Pending())
		sockWrite(t, wr, []byte("x"))
		c := reap(t, r, 1)[0]
		assert.EqualValues(t, unix.POLLIN, c.Res)
		assert.False(t, c.More())
		require.NoError(t, unix.Close(wr))
		assert.Equal(t, unix.POLLHUP, succeed(t, r, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLPRI) }), "comes unasked")
		failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepPollAdd(-1, unix.POLLIN) })
		rd, _ = pipe(t)
		sockWaits(t, r, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
	})
}

// No kernel takes PollAddLevel: Linux 6.0 lost it again before its release.
func TestOpPollAddRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpReadMultishot, "6.7")
	rd, _ := pipe(t)
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN); s.Len |= uint32(PollAddLevel) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollMultishot(rd, unix.POLLIN); s.Len |= uint32(PollAddLevel) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollMultishot(rd, unix.POLLIN); s.Flags |= SQECQESkipSuccess })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN); s.Addr = 1 })
}

func TestOpPollMultishot(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		rd, wr := pipe(t)
		sockWrite(t, wr, []byte("x"))
		queue(t, r, 1, func(s *SQE) { s.PrepPollMultishot(rd, unix.POLLIN) })
		for range 5 { // first for what is there, and then each time that something comes
			c := reap(t, r, 1)[0]
			assert.EqualValues(t, 1, c.UserData)
			assert.EqualValues(t, unix.POLLIN, c.Res)
			assert.True(t, c.More())
			sockWrite(t, wr, []byte("x"))
		}
		reap(t, r, 1)
		queue(t, r, 2, func(s *SQE) { s.PrepPollRemove(1) })
		assert.Equal(t, map[uint64]int{1: sockErr(unix.ECANCELED), 2: 0}, sockResults(t, r, 2))
	})
}

func TestOpPollRemove(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		rd, wr := pipe(t)
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepPollRemove(1) })
		queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepPollRemove(3) })
		queue(t, r, 2, func(s *SQE) { s.PrepPollRemove(1) })
		assert.Equal(t, map[uint64]int{1: sockErr(unix.ECANCELED), 2: 0}, sockResults(t, r, 2))
		// It finds polls only.
		in := keep(t, make([]byte, 1))
		queue(t, r, 1, func(s *SQE) { s.PrepRead(rd, in, 0) })
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepPollRemove(1) })
		sockWrite(t, wr, []byte("x"))
		assert.EqualValues(t, 1, reap(t, r, 1)[0].Res)
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollRemove(1); s.OpFlags = unix.POLLIN })
	})
}

func TestOpPollUpdate(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := sockPair(t)
		sockWrite(t, a, []byte("x"))
		// Events: it had waited for ones that do not come.
		queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(b, unix.POLLPRI) })
		queue(t, r, 2, func(s *SQE) { s.PrepPollUpdate(1, 0, unix.POLLIN, PollUpdateEvents) })
		assert.Equal(t, map[uint64]int{1: unix.POLLIN, 2: 0}, sockResults(t, r, 2))
		// User data.
		queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(b, unix.POLLPRI) })
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepPollUpdate(1, 4, 0, PollUpdateUserData) }))
		failWith(t, r, unix.ENOENT, func(s *SQE) { s.PrepPollUpdate(1, 4, 0, PollUpdateUserData) })
		// Both.
		queue(t, r, 2, func(s *SQE) { s.PrepPollUpdate(4, 5, unix.POLLOUT, PollUpdateEvents|PollUpdateUserData) })
		assert.Equal(t, map[uint64]int{5: unix.POLLOUT, 2: 0}, sockResults(t, r, 2))
	})
}

// A multishot poll goes on after an update, and one that is not does not become one.
func TestOpPollUpdateKeepsTheKind(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	rd, wr := pipe(t)
	for _, multi := range []bool{false, true} {
		queue(t, r, 1, func(s *SQE) {
			s.PrepPollAdd(rd, unix.POLLPRI)
			if multi {
				s.PrepPollMultishot(rd, unix.POLLPRI)
			}
		})
		flags := PollUpdateEvents
		if !multi {
			flags |= PollAddMulti
		}
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepPollUpdate(1, 0, unix.POLLIN, flags) }))
		sockWrite(t, wr, []byte("x"))
		c := reap(t, r, 1)[0]
		assert.EqualValues(t, unix.POLLIN, c.Res)
		assert.Equal(t, multi, c.More())
		if multi {
			sockCancelled(t, r)
		}
		sockRead(t, rd, 1)
	}
}

func TestOpPollUpdateRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	rd, _ := pipe(t)
	queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollUpdate(1, 0, 0, PollAddMulti) })                 // nothing to change
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollUpdate(1, 5, unix.POLLIN, PollUpdateEvents) })   // 5 must be 0
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollUpdate(1, 5, unix.POLLIN, PollUpdateUserData) }) // the events too
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepPollUpdate(1, 0, unix.POLLIN, PollUpdateEvents|PollAddLevel) })
	sockCancelled(t, r)
}

func TestOpEpoll(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpEpollWait, "6.15")
		ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
		require.NoError(t, err)
		sockClose(t, ep)
		rd, wr := pipe(t)
		rd2, wr2 := pipe(t)
		events := keep(t, make([]unix.EpollEvent, 4))
		sockWaits(t, r, func(s *SQE) { s.PrepEpollWait(ep, events, 0) })
		for i, fd := range []int{rd, rd2} {
			event := keep(t, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i) + 10, Pad: 7})
			assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepEpollCtl(ep, fd, unix.EPOLL_CTL_ADD, event) }))
		}
		queue(t, r, 1, func(s *SQE) { s.PrepEpollWait(ep, events, 0) })
		sockWrite(t, wr2, []byte("x"))
		assert.EqualValues(t, 1, reap(t, r, 1)[0].Res)
		assert.Equal(t, unix.EpollEvent{Events: unix.EPOLLIN, Fd: 11, Pad: 7}, events[0])
		sockWrite(t, wr, []byte("x"))
		assert.Equal(t, 2, succeed(t, r, func(s *SQE) { s.PrepEpollWait(ep, events, 0) }))
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepEpollWait(ep, events[:1], 0) }))

		event := keep(t, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT, Fd: 20})
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepEpollCtl(ep, rd, unix.EPOLL_CTL_MOD, event) }))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepEpollCtl(ep, rd2, unix.EPOLL_CTL_DEL, nil) }))
		assert.Equal(t, 1, succeed(t, r, func(s *SQE) { s.PrepEpollWait(ep, events, 0) }))
		assert.Equal(t, unix.EpollEvent{Events: unix.EPOLLIN, Fd: 20}, events[0])
	})
}

func TestOpEpollCtlRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpEpollCtl, "5.6")
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	sockClose(t, ep)
	rd, wr := pipe(t)
	event := keep(t, &unix.EpollEvent{Events: unix.EPOLLIN})
	ctl := func(ep, fd, op int, e *unix.EpollEvent) func(*SQE) {
		return func(s *SQE) { s.PrepEpollCtl(ep, fd, op, e) }
	}
	assert.Zero(t, succeed(t, r, ctl(ep, rd, unix.EPOLL_CTL_ADD, event)))
	failWith(t, r, unix.EEXIST, ctl(ep, rd, unix.EPOLL_CTL_ADD, event))
	failWith(t, r, unix.ENOENT, ctl(ep, wr, unix.EPOLL_CTL_DEL, nil))
	failWith(t, r, unix.ENOENT, ctl(ep, wr, unix.EPOLL_CTL_MOD, event))
	failWith(t, r, unix.EFAULT, ctl(ep, wr, unix.EPOLL_CTL_ADD, nil))
	failWith(t, r, unix.EINVAL, ctl(ep, wr, 77, event))
	failWith(t, r, unix.EINVAL, ctl(rd, wr, unix.EPOLL_CTL_ADD, event)) // rd is no epoll
	failWith(t, r, unix.EINVAL, ctl(ep, ep, unix.EPOLL_CTL_ADD, event))
	failWith(t, r, unix.EBADF, ctl(ep, -1, unix.EPOLL_CTL_ADD, event))
	failWith(t, r, unix.EBADF, ctl(-1, rd, unix.EPOLL_CTL_ADD, event))
}

func TestOpEpollWaitRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpEpollWait, "6.15")
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	require.NoError(t, err)
	sockClose(t, ep)
	rd, _ := pipe(t)
	events := keep(t, make([]unix.EpollEvent, 4))
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepEpollWait(ep, nil, 0) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepEpollWait(ep, events, 1) })
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepEpollWait(rd, events, 0) })
	failWith(t, r, unix.EBADF, func(s *SQE) { s.PrepEpollWait(-1, events, 0) })
}

func TestOpUringCmdSock(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpReadMultishot, "6.7") // came with options
		a, b := tcpPair(t)
		cmd := func(op uint32, fd, level, option int, value []byte) func(*SQE) {
			return func(s *SQE) { s.PrepCmdSock(op, fd, level, option, value) }
		}
		assert.Zero(t, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SIOCINQ, b, 0, 0, nil)))
		sockWrite(t, a, make([]byte, 123))
		assert.Equal(t, unix.POLLIN, succeed(t, r, func(s *SQE) { s.PrepPollAdd(b, unix.POLLIN) }))
		assert.Equal(t, 123, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SIOCINQ, b, 0, 0, nil)))
		// The peer takes no more than its buffer has room for.
		require.NoError(t, unix.SetNonblock(a, true))
		written := 123
		for {
			n, err := unix.Write(a, make([]byte, 1<<16))
			if err != nil {
				require.ErrorIs(t, err, unix.EAGAIN)
				break
			}
			written += n
		}
		assert.Positive(t, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SIOCOUTQ, a, 0, 0, nil)))
		assert.Less(t, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SIOCINQ, b, 0, 0, nil)), written)
		assert.Zero(t, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SIOCOUTQ, b, 0, 0, nil)))

		// A get returns the option's length, a set 0.
		value := keep(t, make([]byte, 8))
		assert.Equal(t, 4, succeed(t, r, cmd(uapi.SOCKET_URING_OP_GETSOCKOPT, a, unix.SOL_SOCKET, unix.SO_TYPE, value)))
		assert.EqualValues(t, unix.SOCK_STREAM, binary.NativeEndian.Uint32(value))
		binary.NativeEndian.PutUint32(value, 1)
		assert.Zero(t, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SETSOCKOPT, a, unix.SOL_SOCKET, unix.SO_KEEPALIVE, value[:4])))
		on, err := unix.GetsockoptInt(a, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		require.NoError(t, err)
		assert.Equal(t, 1, on)
		assert.Zero(t, succeed(t, r, cmd(uapi.SOCKET_URING_OP_SETSOCKOPT, a, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, value[:4])), "of any level")
		n, err := unix.GetsockoptInt(a, unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
	})
}

func TestOpUringCmdSockRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpReadMultishot, "6.7")
	a, _ := tcpPair(t)
	u, _ := sockPair(t)
	rd, _ := pipe(t)
	value := keep(t, make([]byte, 4))
	cmd := func(op uint32, fd, level, option int, value []byte) func(*SQE) {
		return func(s *SQE) { s.PrepCmdSock(op, fd, level, option, value) }
	}
	failWith(t, r, unix.EOPNOTSUPP, cmd(99, a, 0, 0, nil))
	failWith(t, r, unix.EOPNOTSUPP, cmd(uapi.SOCKET_URING_OP_SIOCINQ, rd, 0, 0, nil)) // no socket
	failWith(t, r, unix.EOPNOTSUPP, cmd(uapi.SOCKET_URING_OP_SIOCINQ, u, 0, 0, nil))
	failWith(t, r, unix.EBADF, cmd(uapi.SOCKET_URING_OP_SIOCINQ, -1, 0, 0, nil))
	failWith(t, r, unix.EOPNOTSUPP, cmd(uapi.SOCKET_URING_OP_GETSOCKOPT, a, unix.IPPROTO_TCP, unix.TCP_NODELAY, value))
	failWith(t, r, unix.ENOPROTOOPT, cmd(uapi.SOCKET_URING_OP_GETSOCKOPT, a, unix.SOL_SOCKET, 9999, value))
	failWith(t, r, unix.ENOPROTOOPT, cmd(uapi.SOCKET_URING_OP_SETSOCKOPT, a, unix.SOL_SOCKET, 9999, value))
	failWith(t, r, unix.EINVAL, cmd(uapi.SOCKET_URING_OP_SETSOCKOPT, a, unix.SOL_SOCKET, unix.SO_KEEPALIVE, value[:3]))
	failWith(t, r, unix.EFAULT, func(s *SQE) {
		s.PrepCmdSock(uapi.SOCKET_URING_OP_SETSOCKOPT, a, unix.SOL_SOCKET, unix.SO_KEEPALIVE, value)
		s.Addr3 = 8
	})
}

func TestOpUringCmdGetsockname(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpUringCmd, "5.19")
		l, raw := sockListener(t)
		a := sockDial(t, raw)
		addr, length := keep(t, new(unix.RawSockaddrAny)), keep(t, new(uint32))
		for peer, want := range map[bool]netip.AddrPort{false: sockName(t, a), true: sockName(t, l)} {
			*length = unix.SizeofSockaddrAny
			c := one(t, r, func(s *SQE) { s.PrepCmdGetsockname(a, addr, length, peer) })
			if c.Errno() == unix.EOPNOTSUPP {
				skip.Unless(t, "the command for names of sockets", "6.19", c.Errno())
			}
			require.Zero(t, c.Res, "%v", c.Errno())
			got, ok := ParseSockaddr(sockRawAny(addr, *length))
			require.True(t, ok)
			assert.EqualValues(t, unix.SizeofSockaddrInet4, *length)
			assert.Equal(t, want, got, "peer: %v", peer)
		}
		failWith(t, r, unix.ENOTCONN, func(s *SQE) { s.PrepCmdGetsockname(l, addr, length, true) })
		*length = math.MaxUint32
		failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepCmdGetsockname(l, addr, length, false) })
		*length = 4
		failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepCmdGetsockname(l, nil, length, false) })
		*length = 4
		*addr = unix.RawSockaddrAny{}
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepCmdGetsockname(l, addr, length, false) }))
		assert.EqualValues(t, unix.SizeofSockaddrInet4, *length, "that of the whole address")
		assert.Equal(t, append(append([]byte{}, raw[:4]...), 0, 0, 0, 0), sockRawAny(addr, 8))
	})
}

func TestOpProvideBuffers(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpProvideBuffers, "5.7")
		a, b := sockPair(t)
		memory := keep(t, make([]byte, 4*16))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepProvideBuffers(memory, 16, sockGroup, 10) }))
		recv := func(s *SQE) { s.PrepRecv(b, nil, 0); s.SetBufferGroup(sockGroup) }
		used := map[uint16]bool{}
		for i := range 4 {
			out := bytes.Repeat([]byte{byte(i + 1)}, 16)
			sockWrite(t, a, out)
			c := one(t, r, recv)
			require.EqualValues(t, 16, c.Res, "%v", c.Errno())
			require.NotZero(t, c.Flags&CQEBuffer)
			id := c.BufferID()
			require.GreaterOrEqual(t, id, uint16(10))
			require.Less(t, id, uint16(14))
			at := int(id-10) * 16
			assert.Equal(t, out, memory[at:at+16])
			used[id] = true
		}
		assert.Len(t, used, 4)
		sockWrite(t, a, []byte("x"))
		failWith(t, r, unix.ENOBUFS, recv)
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepProvideBuffers(memory[:16], 16, sockGroup, 3) }))
		c := one(t, r, recv)
		assert.EqualValues(t, 1, c.Res)
		assert.EqualValues(t, 3, c.BufferID())

		// Provided and used in one chain.
		queue(t, r, 1, func(s *SQE) { s.PrepProvideBuffers(memory, 64, sockGroup, 5); s.Flags |= SQELink })
		queue(t, r, 2, recv)
		sockWrite(t, a, []byte("hello"))
		assert.Equal(t, map[uint64]int{1: 0, 2: 5}, sockResults(t, r, 2))
		assert.Equal(t, "hello", string(memory[:5]))
	})
}

func TestOpProvideBuffersRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpListen, "6.11")
	memory := keep(t, make([]byte, 1<<16+1))
	provide := func(size, n int, id uint16) func(*SQE) {
		return func(s *SQE) { s.PrepProvideBuffers(memory[:size*n], size, sockGroup, id) }
	}
	failWith(t, r, unix.E2BIG, provide(1, 0, 0))
	failWith(t, r, unix.E2BIG, func(s *SQE) { s.PrepProvideBuffers(memory, 0, sockGroup, 0) })
	failWith(t, r, unix.E2BIG, provide(1, 1<<16+1, 0))
	failWith(t, r, unix.EINVAL, provide(1, 2, 1<<16-1)) // the second would be number 65536
	failWith(t, r, unix.EFAULT, func(s *SQE) { s.PrepProvideBuffers(memory[:2], 1, sockGroup, 0); s.Addr = 1 << 63 })
	sockProvide(t, r, 1, 16)
	failWith(t, r, unix.EINVAL, provide(1, 1, 0)) // the group has a ring
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepRemoveBuffers(1, sockGroup) })
}

func TestOpRemoveBuffers(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpRemoveBuffers, "5.7")
		memory := keep(t, make([]byte, 10))
		remove := func(n int) func(*SQE) { return func(s *SQE) { s.PrepRemoveBuffers(n, sockGroup) } }
		failWith(t, r, unix.ENOENT, remove(1))
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepProvideBuffers(memory, 1, sockGroup, 0) }))
		assert.Equal(t, 3, succeed(t, r, remove(3)))
		assert.Equal(t, 7, succeed(t, r, remove(100)), "the rest")
		assert.Zero(t, succeed(t, r, remove(1)))
		failWith(t, r, unix.EINVAL, remove(0))
		failWith(t, r, unix.EINVAL, remove(1<<16+1))
	})
}

func TestOpSockaddr(t *testing.T) {
	for _, s := range []string{"1.2.3.4:5678", "0.0.0.0:0", "[::1]:65535", "[2001:db8::1]:80", "[fe80::1%3]:1", "[::ffff:1.2.3.4]:9"} {
		want := netip.MustParseAddrPort(s)
		raw := sockRaw(t, want)
		got, ok := ParseSockaddr(raw)
		assert.True(t, ok, s)
		assert.Equal(t, want, got)
		for n := range raw {
			_, ok = ParseSockaddr(raw[:n])
			assert.False(t, ok, "%d bytes of %s", n, s)
		}
		got, ok = ParseSockaddr(append(bytes.Clone(raw), make([]byte, 100)...))
		assert.True(t, ok, s)
		assert.Equal(t, want, got, "what lies behind is none of it")
	}
	assert.Equal(t, []byte{2, 0, 0x16, 0x2e, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0}, sockLittleEndian(sockRaw(t, netip.MustParseAddrPort("1.2.3.4:5678"))))
	for name, raw := range map[string][]byte{
		"nil":  nil,
		"Unix": append([]byte{unix.AF_UNIX, 0}, "/tmp/socket, and more to be long enough"...),
		"none": make([]byte, unix.SizeofSockaddrAny),
	} {
		_, ok := ParseSockaddr(raw)
		assert.False(t, ok, name)
	}
	_, err := Sockaddr(netip.AddrPort{})
	assert.ErrorContains(t, err, "not valid")
	for _, zone := range []string{"lo", "-1", "4294967296", "1x"} {
		_, err = Sockaddr(netip.AddrPortFrom(netip.MustParseAddr("fe80::1").WithZone(zone), 1))
		assert.ErrorContains(t, err, fmt.Sprintf("zone %q", zone))
	}
}

// sockLittleEndian returns a raw address as it is on a little-endian machine.
func sockLittleEndian(raw []byte) []byte {
	raw = bytes.Clone(raw)
	binary.LittleEndian.PutUint16(raw, binary.NativeEndian.Uint16(raw))
	return raw
}

// The kernel takes the number of a zone from an address, and gives it back.
func TestOpSockaddrZone(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpBind, "6.11")
	fd := sockNew(t, unix.AF_INET6, unix.SOCK_DGRAM)
	nowhere := sockRaw(t, netip.MustParseAddrPort("[fe80::1]:0"))
	failWith(t, r, unix.EINVAL, func(s *SQE) { s.PrepBind(fd, nowhere) }) // link-local, and no link
	link := sockRaw(t, netip.MustParseAddrPort("[fe80::1%1]:0"))          // loopback has no such address
	failWith(t, r, unix.EADDRNOTAVAIL, func(s *SQE) { s.PrepBind(fd, link) })
	unknown := sockRaw(t, netip.MustParseAddrPort("[fe80::1%999999]:0"))
	failWith(t, r, unix.ENODEV, func(s *SQE) { s.PrepBind(fd, unknown) })
}
