//go:build linux && cgo

package uring

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTimespecOf(t *testing.T) {
	assert.Equal(t, Timespec{Sec: 2, Nsec: 5}, TimespecOf(2*time.Second+5))
}

// TestSocketRequests makes a connection and uses every kind of request on it that a
// server needs.
func TestSocketRequests(t *testing.T) {
	r := newTestRing(t, Config{Entries: 32, Flags: ownerFlags | SetupCQE32})
	listener, addr := listenRaw(t)
	mem := mapped(t, 1<<16)
	out, in := mem[:8192], mem[8192:16384]
	for i := range out {
		out[i] = byte(i * 7)
	}

	queue(t, r, 1, func(s *SQE) { s.PrepMultishotAccept(listener, unix.SOCK_CLOEXEC) })
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	queue(t, r, 2, func(s *SQE) { s.PrepConnect(client, addr) })
	byUser := map[uint64]CQE{}
	for _, c := range reap(t, r, 2) {
		byUser[c.UserData] = c
	}
	accepted, connected := byUser[1], byUser[2]
	require.Zero(t, connected.Errno())
	require.Positive(t, accepted.Res)
	assert.True(t, accepted.More(), "accept goes on")
	server := int(accepted.Res)

	queue(t, r, 3, func(s *SQE) { s.PrepPollMultishot(server, unix.POLLIN) })
	queue(t, r, 4, func(s *SQE) { s.PrepSend(client, out[:4096], 0) })
	for _, c := range reap(t, r, 2) {
		switch c.UserData {
		case 3:
			assert.NotZero(t, c.Res&unix.POLLIN)
			assert.True(t, c.More())
		case 4:
			assert.Equal(t, int32(4096), c.Res)
		}
	}
	queue(t, r, 5, func(s *SQE) { s.PrepCancel(3, 0) })
	for _, c := range reap(t, r, 2) { // the poll's last completion and the cancellation's
		if c.UserData == 3 {
			assert.Equal(t, syscall.ECANCELED, c.Errno())
			assert.False(t, c.More())
		} else {
			assert.Zero(t, c.Errno())
		}
	}
	queue(t, r, 6, func(s *SQE) { s.PrepRecv(server, in[:4096], unix.MSG_WAITALL) })
	assert.Equal(t, int32(4096), reap(t, r, 1)[0].Res)
	assert.Equal(t, out[:4096], in[:4096])

	queue(t, r, 7, func(s *SQE) { s.PrepSendZC(client, out, 0, 0) })
	queue(t, r, 8, func(s *SQE) { s.PrepRecv(server, in, unix.MSG_WAITALL) })
	notified := false
	for _, c := range reap(t, r, 3) {
		switch {
		case c.UserData == 7 && c.Flags&CQENotif != 0:
			notified = true
		case c.UserData == 7:
			assert.Equal(t, int32(8192), c.Res)
			assert.True(t, c.More(), "the notification follows")
		case c.UserData == 8:
			assert.Equal(t, int32(8192), c.Res)
		}
	}
	assert.True(t, notified)
	assert.Equal(t, out, in)

	queue(t, r, 9, func(s *SQE) { s.PrepShutdown(client, unix.SHUT_WR) })
	assert.Zero(t, reap(t, r, 1)[0].Res)
	queue(t, r, 10, func(s *SQE) { s.PrepRecv(server, in, 0) })
	assert.Zero(t, reap(t, r, 1)[0].Res, "end of stream")
	queue(t, r, 11, func(s *SQE) { s.PrepCancelFD(listener, CancelAll) })
	reap(t, r, 2)
	for i, fd := range []int{client, server, listener} {
		queue(t, r, uint64(20+i), func(s *SQE) { s.PrepClose(fd) })
	}
	for _, c := range reap(t, r, 3) {
		assert.Zero(t, c.Errno())
	}
}

func TestTimeoutAndPollOnce(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	var pin runtime.Pinner
	defer pin.Unpin()
	ts := TimespecOf(5 * time.Millisecond)
	pin.Pin(&ts)
	queue(t, r, 0, func(s *SQE) { s.PrepTimeout(&ts, 0, 0) })
	c := reap(t, r, 1)[0]
	assert.Equal(t, syscall.ETIME, c.Errno())

	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	queue(t, r, 0, func(s *SQE) { s.PrepPollAdd(int(read.Fd()), unix.POLLHUP) })
	_, err = r.Submit()
	require.NoError(t, err)
	require.NoError(t, write.Close())
	c = reap(t, r, 1)[0]
	assert.NotZero(t, c.Res&unix.POLLHUP)
}

func TestMsgRing(t *testing.T) {
	// Without SetupSingleIssuer a ring accepts messages from every ring.
	from := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	to := newTestRing(t, Config{Entries: 4})
	queue(t, from, 0, func(s *SQE) { s.PrepMsgRing(to.FD(), 42, 4711, 0) })
	c := reap(t, from, 1)[0]
	require.Zero(t, c.Errno())
	c = reap(t, to, 1)[0]
	assert.Equal(t, uint64(4711), c.UserData)
	assert.Equal(t, int32(42), c.Res)
}

// listenRaw returns a listening socket on loopback and its raw address.
func listenRaw(t *testing.T) (fd int, sockaddr []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 16))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	port := sa.(*unix.SockaddrInet4).Port
	mem := mapped(t, os.Getpagesize())
	raw := fmt.Appendf(mem[:0], "\x02\x00%c%c\x7f\x00\x00\x01", 0, 0) // AF_INET, little endian
	raw[2], raw[3] = byte(port>>8), byte(port)
	return fd, mem[:16]
}
