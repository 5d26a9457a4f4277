//go:build linux && cgo

package zcrx

import (
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
)

func TestFirstReadAhead(t *testing.T) {
	for _, test := range []struct {
		buffers, receivers int
		size               uint64
		want               int
	}{
		{DefaultNumBuffers, 0, 4096, 64}, {DefaultNumBuffers, 32, 4096, 64}, {DefaultNumBuffers, 64, 4096, 32},
		{DefaultNumBuffers, 256, 4096, 8}, {DefaultNumBuffers, 100_000, 4096, 8}, {64, 1, 4096, 8}, {1, 1, 4096, 8},
		{1024, 1, 16 << 10, 16}, {1024, 1, 64 << 10, 4}, {1024, 1000, 64 << 10, 4}, {64, 1, 1 << 20, 2},
	} {
		assert.Equal(t, test.want, firstReadAhead(test.buffers, test.receivers, test.size),
			"%d receivers, %d buffers of %d", test.receivers, test.buffers, test.size)
	}
}

// TestReadAhead checks that a receiver that is not read is paused early, and that it may be
// further ahead the more its consumer takes, up to its share.
func TestReadAhead(t *testing.T) {
	const most, size = 256, 16 << 20
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 512, MaxLeases: most})
		peer, r := newTestReceiver(t, p)
		s := newStream(12)
		s.Send(t, peer, size)
		may := func() (n int) {
			require.NoError(t, l.do(func() error { n = r.mayBeAhead; return nil }))
			return n
		}
		require.Eventually(t, r.isPaused.Load, 10*time.Second, time.Millisecond)
		time.Sleep(20 * time.Millisecond) // nothing more comes
		unread := p.Stats().Outstanding
		assert.GreaterOrEqual(t, unread, 64)
		assert.Less(t, unread, most, "it is not its share that stopped it")
		assert.Equal(t, 64, may(), "it may be further once it has been read")
		s.receiveExactly(t, r, size)
		assert.Equal(t, most, may())
		assert.Zero(t, p.Stats().Outstanding)
	})
}

// TestReadAheadAcrossHandle checks that a receive that is paused because nothing was taken
// continues when a handler takes over.
func TestReadAheadAcrossHandle(t *testing.T) {
	const size = 8 << 20
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		peer, r := newTestReceiver(t, openTestPool(t, l, mode, PoolConfig{NumBuffers: 512}))
		s := newStream(13)
		s.Send(t, peer, size)
		require.Eventually(t, r.isPaused.Load, 10*time.Second, time.Millisecond)
		done := make(chan error)
		at := 0
		require.NoError(t, r.Handle(nil, func(buffers []Buffer, err error) {
			for _, b := range buffers {
				at += b.Len()
			}
			_ = ReleaseAll(buffers)
			if err != nil {
				done <- err
			}
		}))
		assert.Equal(t, io.EOF, <-done)
		assert.Equal(t, size, at)
	})
}

// TestReceiveWindow checks that what a socket may queue fits the pool, and grows with the
// read-ahead.
func TestReceiveWindow(t *testing.T) {
	p := newRescuePool(t, 1024)
	p.memory.tcpWindow = 1 << 20
	page := int(pageSize())
	for _, test := range []struct{ readAhead, want int }{
		{1, minWindow}, {64, 64 * page}, {128, 128 * page}, {256, 0}, {1 << 20, 0},
	} {
		assert.Equal(t, test.want, p.window(test.readAhead), test.readAhead)
	}
	p.memory.tcpWindow = 6 << 20
	assert.Equal(t, 256*page, p.window(1<<20), "no more than a quarter of the pool")

	_, r := newRescueReceiver(t, p)
	size := func() int {
		n, err := unix.GetsockoptInt(r.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		require.NoError(t, err)
		return n
	}
	onLoop := func(fn func()) {
		t.Helper()
		require.NoError(t, p.loop.do(func() error { fn(); return nil }))
	}
	onLoop(r.startAhead)
	assert.Equal(t, 64*page, size())
	assert.True(t, sys.ReceiveBufferIsSet(r.socket.fd))
	onLoop(r.goFurtherAhead)
	assert.Equal(t, 128*page, size())
	p.memory.tcpWindow = 1 << 20
	onLoop(r.goFurtherAhead)
	assert.False(t, sys.ReceiveBufferIsSet(r.socket.fd), "the kernel tunes it again")
	onLoop(r.goFurtherAhead)
	assert.False(t, sys.ReceiveBufferIsSet(r.socket.fd))
}

// TestReadBufferSetByTheProgramStays checks that the receiver leaves a size alone that the
// program has set, before or after it begins.
func TestReadBufferSetByTheProgramStays(t *testing.T) {
	p := newRescuePool(t, 1024)
	p.memory.tcpWindow = 6 << 20
	size := func(r *Receiver) int {
		n, err := unix.GetsockoptInt(r.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
		require.NoError(t, err)
		return n
	}
	_, before := newRescueReceiver(t, p)
	require.NoError(t, sys.SetReceiveBuffer(before.socket.fd, 50_000))
	_, after := newRescueReceiver(t, p)
	require.NoError(t, p.loop.do(func() error {
		before.startAhead()
		after.startAhead()
		return nil
	}))
	require.NoError(t, after.setReceiveBuffer(50_000))
	require.NoError(t, p.loop.do(func() error {
		before.goFurtherAhead()
		after.goFurtherAhead()
		return nil
	}))
	assert.Equal(t, 100_000, size(before))
	assert.Equal(t, 100_000, size(after))
}

// TestReadAheadOfSteadyConsumer checks that a receiver whose consumer is never behind may
// also be far ahead, and that its receive is not ended again and again.
func TestReadAheadOfSteadyConsumer(t *testing.T) {
	const most, size, chunk = 256, 16 << 20, 32 << 10
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 512, MaxLeases: most})
		peer, r := newTestReceiver(t, p)
		s := newStream(14)
		for at := 0; at < size; at += chunk {
			_, err := s.Write(peer, at, at+chunk)
			require.NoError(t, err)
			got := 0
			for got < chunk {
				b, err := r.Recv(t.Context())
				require.NoError(t, err)
				got += b.Len()
				require.NoError(t, b.Release())
			}
		}
		may := 0
		require.NoError(t, l.do(func() error { may = r.mayBeAhead; return nil }))
		assert.Equal(t, most, may)
	})
}

// TestHandleDuringMove calls Handle when the connection is about to leave its loop: that
// loop must not touch the receiver afterwards.
func TestHandleDuringMove(t *testing.T) {
	here, there := newTestLoop(t, LoopConfig{}), newTestLoop(t, LoopConfig{})
	p := openTestPool(t, here, Provided, PoolConfig{NumBuffers: 256})
	q := openTestPool(t, there, Provided, PoolConfig{NumBuffers: 2048, MaxLeases: 2048})
	peer, r := newTestReceiver(t, p)
	flooded := newStream(16).Flood(t, peer)
	eventually(t, "it is paused", r.isPaused.Load)
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	<-flooded
	eventually(t, "nothing is in flight", func() (idle bool) {
		require.NoError(t, here.do(func() error { idle = !r.armed && !r.watching; return nil }))
		return idle
	})
	moved := &move{to: q, done: make(chan error, 1)}
	require.NoError(t, here.do(func() error {
		r.moving = moved
		r.finishIfCompleted()
		here.retry(func() { // the receiver has arrived, and uses its share up
			_ = there.do(func() error { r.paused = true; return nil })
		})
		return r.Handle(nil, func(buffers []Buffer, _ error) { _ = ReleaseAll(buffers) })
	}))
	require.NoError(t, <-moved.done)
	require.NoError(t, here.do(func() error { return nil })) // a turn later
	require.NoError(t, there.do(func() error {
		assert.True(t, r.paused, "the loop that it has left resumed it")
		return nil
	}))
}

// TestWriteBufferStays checks that releasing the size of the receive buffer leaves the send
// buffer as it is.
func TestWriteBufferStays(t *testing.T) {
	p := newRescuePool(t, 1024)
	p.memory.tcpWindow = 6 << 20
	_, r := newRescueReceiver(t, p)
	fd := r.socket.fd
	onLoop := func(fn func()) {
		t.Helper()
		require.NoError(t, p.loop.do(func() error { fn(); return nil }))
	}
	onLoop(r.startAhead)
	require.NoError(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 50_000))
	p.memory.tcpWindow = 1
	onLoop(r.goFurtherAhead)
	require.False(t, sys.ReceiveBufferIsSet(fd))
	locked, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BUF_LOCK)
	require.NoError(t, err)
	assert.NotZero(t, locked&unix.SOCK_SNDBUF_LOCK)
}

// TestUnreadReceiverHoldsUpItsSenderAlone checks that a receiver that is not read holds up
// only its own sender, and has lost nothing when it is read.
func TestUnreadReceiverHoldsUpItsSenderAlone(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size, other = 64 << 20, 4 << 20
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64, MaxLeases: 1 << 20})
		sender, r := newTestReceiver(t, p)
		s := newStream(7)
		// The sender is blocked once nothing was written for a while.
		sent := 0
		for before := -1; sent != before; {
			before = sent
			require.NoError(t, sender.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
			var err error
			sent, err = s.Write(sender, sent, size)
			require.ErrorIs(t, err, os.ErrDeadlineExceeded, "%d bytes written", sent)
		}
		held := p.Stats().Outstanding
		assert.Positive(t, held)
		assert.Less(t, held, 64, "it is paused before the pool is used up")
		assert.Positive(t, p.Stats().Paused)

		q := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		sender2, r2 := newTestReceiver(t, q)
		s.Send(t, sender2, other)
		s.receiveExactly(t, r2, other)
		assert.Equal(t, held, p.Stats().Outstanding, "the other pool's buffers are its own")

		require.NoError(t, sender.SetWriteDeadline(time.Time{}))
		go func() {
			_, err := s.Write(sender, sent, size)
			assert.NoError(t, err)
			assert.NoError(t, sender.CloseWrite())
		}()
		s.receiveExactly(t, r, size)
		assert.Zero(t, p.Stats().Outstanding)
	})
}
