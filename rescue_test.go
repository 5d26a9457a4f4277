//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// newRescuePool makes a pool on a real loop for which the test plays the kernel. No receive
// is armed on it: see newRescueReceiver.
func newRescuePool(t *testing.T, buffers int) *Pool {
	t.Helper()
	p := newMember(newTestLoop(t, LoopConfig{}), ZeroCopy, &Features{})
	p.setMemory(newFakeMemory(t, buffers, 4, refillLayouts["7.3"]))
	p.maxLeases = 1 << 10
	p.memory.hold()
	p.memory.join(p)
	t.Cleanup(func() {
		p.dropUser()
		assert.True(t, p.freed)
	})
	return p
}

// newRescueReceiver makes a receiver of one end of a connection. It is paused, so that no
// receive is armed: the running kernel may not support one.
func newRescueReceiver(t *testing.T, p *Pool) (*net.TCPConn, *Receiver) {
	t.Helper()
	peer, conn := tcpPair(t)
	fd, err := sys.DetachConn(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, sys.SetNonblock(fd, false))
	r := newReceiver(p, fd)
	r.paused = true
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return peer, r
}

// rescueNow makes the pool rescue r on its loop, and returns the Buffers.
func rescueNow(t *testing.T, p *Pool, r *Receiver) []Buffer {
	t.Helper()
	var got []Buffer
	require.NoError(t, p.loop.do(func() error {
		p.rescue(r)
		r.publish()
		return nil
	}))
	r.mu.Lock()
	defer r.mu.Unlock()
	got = r.incoming.takeAll()
	return got
}

// awaitQueued waits until r's socket has data, or its end.
func awaitQueued(t *testing.T, r *Receiver) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, errno := peekNow(r.socket.fd)
		return errno != syscall.EAGAIN
	}, 10*time.Second, time.Millisecond)
}

func peekNow(fd int) (int, syscall.Errno) {
	var b [1]byte
	n, _, err := syscall.Recvfrom(fd, b[:], syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
	errno, _ := errors.AsType[syscall.Errno](err)
	return n, errno
}

func TestRescueLeasesWhatItReads(t *testing.T) {
	p := newRescuePool(t, 16)
	peer, r := newRescueReceiver(t, p)
	want := pattern(6, 2*int(pageSize())+10)
	_, err := peer.Write(want)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return sys.HasQueued(r.socket.fd) }, 10*time.Second, time.Millisecond)
	var got []byte
	var held []Buffer
	for len(got) < len(want) {
		awaitQueued(t, r)
		for _, b := range rescueNow(t, p, r) {
			assert.LessOrEqual(t, b.Len(), p.BufferSize())
			assert.Equal(t, b.Len(), cap(b.Bytes()))
			got = append(got, b.Bytes()...)
			held = append(held, b)
		}
	}
	assert.Equal(t, want, got)
	s := p.Stats()
	assert.EqualValues(t, len(want), s.RescuedBytes)
	assert.EqualValues(t, len(want), s.CopiedBytes)
	assert.EqualValues(t, len(want), s.Bytes)
	assert.EqualValues(t, len(held), s.Rescues)
	assert.Equal(t, len(held), s.Outstanding)
	assert.Equal(t, len(held), p.memory.rescuedOut)
	assert.EqualValues(t, len(held), r.share.taken-r.share.returned, "they are charged to the share")
	require.NoError(t, held[0].Release())
	require.ErrorIs(t, held[0].Release(), ErrReleased)
	assert.Nil(t, held[0].Bytes())
	require.NoError(t, ReleaseAll(held[1:]))
	assert.Zero(t, p.memory.rescuedOut)
	assert.Zero(t, p.memory.refillQueue.pending(), "nothing goes back to the kernel")
	assert.Zero(t, p.Stats().Outstanding)
}

// TestRescueIsBounded checks that rescued bytes take no more memory than the pool's own,
// except for one lease of each connection that has none.
func TestRescueIsBounded(t *testing.T) {
	p := newRescuePool(t, 2)
	peer, r := newRescueReceiver(t, p)
	other, idle := newRescueReceiver(t, p)
	want := pattern(7, 8*int(pageSize()))
	for _, c := range []*net.TCPConn{peer, other} {
		_, err := c.Write(want)
		require.NoError(t, err)
	}
	awaitQueued(t, r)
	awaitQueued(t, idle)
	held := rescueNow(t, p, r)
	for p.memory.rescuedOut < 2 {
		held = append(held, rescueNow(t, p, r)...)
	}
	assert.Empty(t, rescueNow(t, p, r))
	assert.Zero(t, p.Stats().Stalls, "a return ends it")
	last := rescueNow(t, p, idle)
	assert.Len(t, last, 1)
	assert.Empty(t, rescueNow(t, p, idle))
	require.NoError(t, ReleaseAll(held))
	more := rescueNow(t, p, idle)
	assert.NotEmpty(t, more, "it goes on")
	require.NoError(t, ReleaseAll(append(last, more...)))
}

func TestRescueMeetsTheEnd(t *testing.T) {
	p := newRescuePool(t, 4)
	peer, r := newRescueReceiver(t, p)
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Eventually(t, func() bool {
		rescueNow(t, p, r)
		_, err := r.Recv(ended)
		return errors.Is(err, syscall.ECONNRESET)
	}, 10*time.Second, time.Millisecond)
}

// TestStalledReceiverIsTriedAgain checks that what can be neither copied nor read is tried
// again after longer and longer times, logged once, and counted.
func TestStalledReceiverIsTriedAgain(t *testing.T) {
	var log bytes.Buffer
	p := newRescuePool(t, 4)
	p.loop.logger = slog.New(slog.NewTextHandler(&log, nil))
	_, r := newRescueReceiver(t, p)
	for i := range 12 {
		require.NoError(t, p.loop.do(func() error {
			before := time.Now()
			p.rescue(r) // there is nothing to read
			pause := min(shortestStall<<i, longestStall)
			assert.WithinRange(t, r.shortage.retry, before.Add(pause), time.Now().Add(pause), "attempt %d", i)
			assert.Equal(t, []consumer{r}, p.receivers.takeStalled())
			return nil
		}))
	}
	assert.EqualValues(t, 12, p.Stats().Stalls)
	assert.Equal(t, 1, strings.Count(log.String(), "neither copied by the kernel"))
	assert.True(t, p.growth.allocFailed, "growing would help")
}

// TestHandlerClosesPoolBeforeFlush has a handler close the pool in the very turn that is
// about to flush it, when it gets the end of the stream from a rescue. The pool's memory is
// unmapped at once.
func TestHandlerClosesPoolBeforeFlush(t *testing.T) {
	p := newMember(newTestLoop(t, LoopConfig{}), ZeroCopy, &Features{})
	p.setMemory(newFakeMemory(t, 4, 4, refillLayouts["7.3"]))
	p.maxLeases = 1
	p.memory.hold()
	p.memory.join(p)
	p.canFlush = true
	peer, conn := tcpPair(t)
	fd, err := sys.DetachConn(conn)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	r := newReceiver(p, fd)
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	require.Eventually(t, func() bool {
		facts, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err == nil && facts.State == 7 // TCP_CLOSE
	}, 10*time.Second, time.Millisecond)
	told := make(chan error, 1)
	r.handler = func(_ []Buffer, err error) {
		told <- err
		assert.NoError(t, p.Close())
	}
	require.NoError(t, p.loop.do(func() error {
		p.loop.addSource(p)
		require.True(t, p.addUser())
		r.attached, r.hungUp = true, true
		p.receivers.add(r)
		b := p.lease(nil, 0, 0) // is returned, so that there is something to flush
		p.count()
		require.NoError(t, b.Release())
		p.receivers.addWaiting(r)
		r.shortage.ends = 2
		return nil
	}))
	require.ErrorIs(t, <-told, syscall.ECONNRESET)
	require.NoError(t, p.loop.do(func() error { return nil }))
	assert.True(t, p.freed)
	require.NoError(t, r.Close())
}

// TestRescueGoesOnWithRoom checks that a receiver for which rescueRoom is 0 continues with
// the next return, not some time later.
func TestRescueGoesOnWithRoom(t *testing.T) {
	p := newRescuePool(t, 2)
	peer, r := newRescueReceiver(t, p)
	want := pattern(8, 8*int(pageSize()))
	_, err := peer.Write(want)
	require.NoError(t, err)
	awaitQueued(t, r)
	var held []Buffer
	for p.memory.rescuedOut < 2 {
		held = append(held, rescueNow(t, p, r)...)
	}
	got := 0
	require.NoError(t, p.loop.do(func() error {
		r.shortage.stalls = 10 // the next attempt is a second away
		p.rescue(r)
		p.beforeTurn(p.loop)
		assert.True(t, p.starving, "a return wakes the loop")
		return nil
	}))
	require.NoError(t, ReleaseAll(held))
	require.NoError(t, p.loop.do(func() error {
		p.beforeTurn(p.loop)
		got = len(r.batch)
		r.publish()
		return nil
	}))
	assert.Positive(t, got)
	r.mu.Lock()
	held = r.incoming.takeAll()
	r.mu.Unlock()
	require.NoError(t, ReleaseAll(held))
}

// TestMoveForgetsTheShortage checks that a receiver's shortage in one pool does not count
// in the next.
func TestMoveForgetsTheShortage(t *testing.T) {
	p, next := newRescuePool(t, 2), newRescuePool(t, 2)
	_, r := newRescueReceiver(t, p)
	require.NoError(t, next.loop.Close()) // the move cannot go on
	require.NoError(t, p.loop.do(func() error {
		r.shortage = shortage{ends: 3, refused: true, stalls: 4}
		r.moving = &move{to: next, done: make(chan error, 1)}
		r.handOff()
		assert.Zero(t, r.shortage)
		return nil
	}))
}
