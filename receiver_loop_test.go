//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
)

// TestSmallCompletionQueue makes bursts overflow the completion queue.
func TestSmallCompletionQueue(t *testing.T) {
	for _, size := range []CompletionSize{Completion32, CompletionAuto} {
		testSmallCompletionQueue(t, size)
	}
}

func testSmallCompletionQueue(t *testing.T, size CompletionSize) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{Entries: 4, CQEntries: 4, CompletionSize: size})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 512})
		if mode == Provided {
			p = newTestProvidedPool(t, l, consumption{}, 512) // bundles would be few completions
		}
		sender, r := newTestReceiver(t, p)
		want := pattern(2, 1<<20)
		// The loop is held while the data piles up, so that more than two
		// completions come at once.
		hold := make(chan struct{})
		require.NoError(t, l.Post(func() { <-hold }))
		go func() {
			n, err := sender.Write(want[:1<<18])
			assert.NoError(t, err)
			close(hold)
			_, err = sender.Write(want[n:])
			assert.NoError(t, err)
			assert.NoError(t, sender.CloseWrite())
		}()
		require.True(t, bytes.Equal(want, receiveAll(t, r)))
		if mode == DeviceLess {
			// Before 7.2.10 the receive may sleep.
			if !olderKernel(sys.KernelRelease(), 7, 2, 10) {
				assert.Positive(t, p.Stats().RearmedQueueFull, "%+v", p.Stats())
			}
		} else {
			assert.Positive(t, p.Stats().RearmedOther+p.Stats().RearmedQueueFull+l.Stats().Overflows, "%+v", p.Stats())
		}
	})
}

func TestPeerResets(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		sender, r := newTestReceiver(t, p)
		_, err := sender.Write(pattern(4, 10_000))
		require.NoError(t, err)
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		require.NoError(t, b.Release())
		require.NoError(t, sender.SetLinger(0))
		require.NoError(t, sender.Close())
		for err == nil {
			if b, err = r.Recv(t.Context()); err == nil {
				require.NoError(t, b.Release())
			}
		}
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.ErrorContains(t, err, "the peer reset the connection")
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// TestResetBehindMuchData resets connections with data in flight, many times: the reset
// often comes together with the last data.
func TestResetBehindMuchData(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 1024})
		data := pattern(9, 3<<20)
		for round := range 10 {
			sender, r := newTestReceiver(t, p)
			go func() {
				_, _ = sender.Write(data[:len(data)-round*1000])
				_ = sender.SetLinger(0)
				_ = sender.Close()
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			for {
				b, err := r.Recv(ctx)
				if err != nil {
					require.ErrorIs(t, err, syscall.ECONNRESET, "%+v", p.Stats())
					break
				}
				require.NoError(t, b.Release())
			}
			cancel()
			require.NoError(t, r.Close())
		}
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// TestSubmissionQueueFullForAWhile makes the kernel accept no requests for some turns:
// receives, polls and cancellations begin later, and nothing is lost.
func TestSubmissionQueueFullForAWhile(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		blocked := func(fn func()) {
			t.Helper()
			var restore func()
			require.NoError(t, l.do(func() error { restore = takeNoRequests(l.ring.Ring); return nil }))
			fn()
			require.NoError(t, l.do(func() error {
				assert.ErrorIs(t, l.Start(func(*uring.SQE) {}, func(*uring.CQE) {}), ErrQueueFull)
				return nil
			}))
			require.NoError(t, l.do(func() error { restore(); return nil }))
		}
		var sender *net.TCPConn
		var r *Receiver
		blocked(func() { sender, r = newTestReceiver(t, p) })
		_, err := sender.Write([]byte("begun late"))
		require.NoError(t, err)
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "begun late", string(b.Bytes()))
		require.NoError(t, b.Release())
		closed := make(chan error)
		blocked(func() { go func() { closed <- r.Close() }() })
		require.NoError(t, <-closed)
		require.NoError(t, l.do(func() error {
			assert.LessOrEqual(t, l.ops.live, 1, "at most the wake-up is in flight")
			return nil
		}))
	})
}

// TestOneCallPerTurn counts calls into C during a transfer: there is one for each turn and
// no other.
func TestOneCallPerTurn(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 1024})
		sender, r := newTestReceiver(t, p)
		snapshot := func() (s LoopStats) {
			require.NoError(t, l.do(func() error { s = l.Stats(); return nil }))
			return s
		}
		before := snapshot()
		send(t, sender, pattern(8, 8<<20))
		receiveAll(t, r)
		after := snapshot()
		turns, calls := after.Turns-before.Turns, after.Calls-before.Calls
		assert.InDelta(t, turns, calls, 1, "a snapshot is taken inside a turn") // Turns is counted at its start
		assert.Greater(t, after.Completions-before.Completions, turns/4)
		assert.Positive(t, turns)
		if mode == DeviceLess {
			assert.Positive(t, p.Stats().Flushes, "flushes are part of the turn's call")
		}
	})
}

// TestUrgentPacketsAreDropped checks that the filter is attached once, drops only urgent
// packets, and leaves a filter that is already there.
func TestUrgentPacketsAreDropped(t *testing.T) {
	sender, conn := tcpPair(t)
	raw, err := conn.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		assert.False(t, sys.HasFilter(int(fd)))
		assert.NoError(t, sys.DropUrgent(int(fd)))
		assert.True(t, sys.HasFilter(int(fd)))
		assert.NoError(t, sys.DropUrgent(int(fd)))
		assert.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1))
		assert.NoError(t, sys.DropUrgent(int(fd)), "there is one already")
	}))
	_, err = sender.Write([]byte("hello"))
	require.NoError(t, err)
	b := make([]byte, 5)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(b))
	out, err := sender.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, out.Control(func(fd uintptr) { err = unix.Send(int(fd), []byte{'!'}, unix.MSG_OOB) }))
	require.NoError(t, err)
	_, err = sender.Write([]byte("more"))
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, err = conn.Read(b)
	assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "the sender holds up itself")
}

// TestStreamGoesOnBehindUrgentByte checks that what follows an urgent byte is received,
// also if the stream has ended there. The urgent byte itself is not part of the stream.
func TestStreamGoesOnBehindUrgentByte(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		sender, conn := tcpPair(t)
		want := pattern(14, 2000)
		raw, err := sender.SyscallConn()
		require.NoError(t, err)
		// All data is there before the receive begins, which stops at the urgent byte.
		_, err = sender.Write(want[:1000])
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { err = unix.Send(int(fd), []byte{'!'}, unix.MSG_OOB) }))
		require.NoError(t, err)
		_, err = sender.Write(want[1000:])
		require.NoError(t, err)
		require.NoError(t, sender.CloseWrite())
		time.Sleep(10 * time.Millisecond)
		r, err := NewReceiver(p, conn)
		require.NoError(t, err)
		var got []byte
		for {
			b, err := r.Recv(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			got = append(got, b.Bytes()...)
			require.NoError(t, b.Release())
		}
		assert.Equal(t, want, got)
		assert.NoError(t, r.Close())
	})
}

// TestHalfCloseLeavesTheOtherDirection ends one direction and uses the other, both ways round.
func TestHalfCloseLeavesTheOtherDirection(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size = 1 << 20
		s := newStream(10)
		p := openTestPool(t, newTestLoop(t, LoopConfig{}), mode, PoolConfig{NumBuffers: 64})

		peer, r := newTestReceiver(t, p)
		require.NoError(t, unix.Shutdown(r.socket.fd, unix.SHUT_WR))
		_, err := peer.Read(make([]byte, 1))
		require.ErrorIs(t, err, io.EOF, "our direction has ended")
		s.Send(t, peer, size)
		s.receiveExactly(t, r, size)

		peer, r = newTestReceiver(t, p)
		s.Send(t, peer, size)
		s.receiveExactly(t, r, size) // the peer's direction has ended
		go func() {
			_, err := s.Write(fdWriter(r.socket.fd), 0, size)
			assert.NoError(t, err)
			assert.NoError(t, unix.Shutdown(r.socket.fd, unix.SHUT_WR))
		}()
		got, err := io.ReadAll(peer)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(s.At(0, size), got))
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// fdWriter writes to a file descriptor.
type fdWriter int

func (w fdWriter) Write(b []byte) (int, error) { return unix.Write(int(w), b) }

func TestOneByteWritesAllArrive(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size = 2000
		p := openTestPool(t, newTestLoop(t, LoopConfig{}), mode, PoolConfig{NumBuffers: 64})
		sender, r := newTestReceiver(t, p)
		s := newStream(11)
		go func() {
			for i := range size {
				_, err := sender.Write(s.At(i, 1))
				assert.NoError(t, err)
			}
			assert.NoError(t, sender.CloseWrite())
		}()
		s.receiveExactly(t, r, size)
		assert.Equal(t, uint64(size), p.Stats().Bytes)
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// TestReceiverClosedBeforeItIsAttachedLeavesThePool closes a connection on its loop before
// the loop has come to attach it. Its pool, and then its loop, can be closed.
func TestReceiverClosedBeforeItIsAttachedLeavesThePool(t *testing.T) {
	for _, end := range []string{"pool", "loop"} {
		t.Run(end, func(t *testing.T) {
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, Provided, PoolConfig{NumBuffers: 16})
			_, fd := blockingFD(t)
			require.NoError(t, l.do(func() error { return NewReceiverFD(p, fd).Close() })) // as a handler does
			users := -1
			require.NoError(t, l.do(func() error { users = len(p.users().all); return nil }))
			assert.Zero(t, users, "receivers of the pool")
			if end == "pool" {
				require.NoError(t, p.Close())
				left := -1
				require.NoError(t, l.do(func() error { left = len(l.sources); return nil }))
				assert.Zero(t, left, "pools of the loop")
			}
			within(t, "Loop.Close", func() { assert.NoError(t, l.Close()) })
		})
	}
}

// TestWatchGoesOnBehindErrorQueue puts an entry into the socket's error queue, which ends the
// poll for a hang-up with POLLERR alone. The receiver watches again, and a reset behind
// data still ends it.
func TestWatchGoesOnBehindErrorQueue(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		peer, r := newTestReceiver(t, openTestPool(t, l, mode, PoolConfig{NumBuffers: 64}))
		require.NoError(t, r.Control(func(fd uintptr) {
			flags := unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_SOFTWARE | unix.SOF_TIMESTAMPING_OPT_TSONLY
			assert.NoError(t, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPING, flags))
		}))
		watch := func() (userData uint64, on bool) {
			require.NoError(t, l.do(func() error { userData, on = r.watch, r.watching; return nil }))
			return userData, on
		}
		first, _ := watch()
		_, err := r.TrySend([][]byte{{1}})
		require.NoError(t, err)
		eventually(t, "the poll has ended", func() bool { userData, on := watch(); return !on || userData != first })
		require.NoError(t, r.Control(func(fd uintptr) { // read the entry
			var p, oob [512]byte
			_, _, _, _, err := unix.Recvmsg(int(fd), p[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			assert.NoError(t, err)
		}))
		eventually(t, "it is watched again", func() bool { userData, on := watch(); return on && userData != first })
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
		_, err = r.Recv(t.Context())
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

// A cancellation that does not find a receive in flight is tried again.
func TestCancelReceiveThatMisses(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	conn, _ := zcrxtest.TCPPair(t)
	fd, err := sys.DetachConn(conn)
	require.NoError(t, err)
	ended := make(chan syscall.Errno, 1)
	require.NoError(t, l.Do(t.Context(), func(ring *uring.Ring) error {
		userData := l.ops.add(completerFunc(func(c *uring.CQE) { ended <- c.Errno() }), opRequest)
		l.cancelReceive(userData) // before the request itself: the kernel does not find it
		s := ring.GetSQE()
		s.PrepPollAdd(fd, pollHup)
		s.UserData = userData
		return nil
	}))
	assert.Equal(t, syscall.ECANCELED, <-ended)
	require.NoError(t, sys.Close(fd))
}
