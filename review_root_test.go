//go:build linux && cgo

package zcrx

import (
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// blockingFD is a socket as accept4 returns it, and its peer.
func blockingFD(t *testing.T) (peer *net.TCPConn, fd int) {
	t.Helper()
	peer, conn := tcpPair(t)
	fd, err := sys.DetachConn(conn)
	require.NoError(t, err)
	require.NoError(t, sys.SetNonblock(fd, false))
	require.NoError(t, conn.Close())
	return peer, fd
}

// within fails the test if fn takes long.
func within(t *testing.T, d time.Duration, what string, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { fn(); close(done) }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatal("still at it after ", d, ": ", what)
	}
}

// TestReviewCloseBeforeAttach: a connection that has just been accepted is closed on its
// loop, before the loop has come to attach it. Its pool, then its loop, end.
func TestReviewCloseBeforeAttach(t *testing.T) {
	for _, end := range []string{"pool", "loop"} {
		t.Run(end, func(t *testing.T) {
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, Provided, PoolConfig{NumBuffers: 16})
			_, fd := blockingFD(t)
			var r *Receiver
			require.NoError(t, l.do(func() error { // as a Handler does
				r = NewReceiverFD(p, fd)
				return r.Close()
			}))
			users := -1
			require.NoError(t, l.do(func() error { users = len(p.users().all); return nil }))
			assert.Zero(t, users, "receivers that the pool has: it was closed")
			if end == "pool" {
				require.NoError(t, p.Close())
				gone := false
				require.NoError(t, l.do(func() error { gone = len(l.sources) == 0; return nil }))
				assert.True(t, gone, "the closed pool has left its loop")
			}
			within(t, 5*time.Second, "Loop.Close", func() { _ = l.Close() })
		})
	}
}

// TestReviewMoveBehindFullQueue: a writer waits for room, the poll for it found the
// submission queue full, and the connection is moved meanwhile. Nothing is in flight for
// receiving: it is paused, and hung up.
func TestReviewMoveBehindFullQueue(t *testing.T) {
	here, there := newTestLoop(t, LoopConfig{}), newTestLoop(t, LoopConfig{})
	p := openTestPool(t, here, Provided, PoolConfig{NumBuffers: 256})
	q := openTestPool(t, there, Provided, PoolConfig{NumBuffers: 256})
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
		restore := takeNoRequests(here.ring.Ring)
		err := r.pollWritable() // WaitWritable's
		restore()
		// MoveTo's
		r.moving = moved
		r.pool.users().forget(r)
		r.cancelReceiving()
		if r.sending.polling {
			r.cancel(r.sending.poll)
		}
		r.finishIfCompleted()
		return err
	}))
	select {
	case err := <-moved.done:
		require.NoError(t, err)
	case <-time.After(3 * time.Second):
		state := ""
		require.NoError(t, here.do(func() error {
			if !r.armed && !r.watching && r.sending.allCompleted() && r.moving != nil {
				state = "nothing is in flight, and nobody hands it off"
			}
			return nil
		}))
		t.Fatal("MoveTo never ends: ", state)
	}
}

// TestReviewResetBehindWrite: a reset is told as ECONNRESET, whichever of reader and
// writer met it first.
func TestReviewResetBehindWrite(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256})
		for range 5 {
			peer, r := newTestReceiver(t, p)
			flooded := newStream(16).Flood(t, peer)
			eventually(t, "it is paused", r.isPaused.Load)
			require.NoError(t, peer.SetLinger(0))
			require.NoError(t, peer.Close())
			<-flooded
			var err error
			eventually(t, "a write meets the reset", func() bool {
				_, err = r.TrySend([][]byte{{1}})
				return err != nil
			})
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			for err = nil; err == nil || err == syscall.ECONNRESET; {
				var b Buffer
				if b, err = r.Recv(t.Context()); err != nil {
					break
				}
				require.NoError(t, b.Release())
			}
			assert.NotEqual(t, io.EOF, err, "the stream was cut, and looks complete")
			require.NoError(t, r.Close())
		}
	})
}

// TestReviewSocketResetStays: SocketReceiver's end is told each time, as Receiver's is.
func TestReviewSocketResetStays(t *testing.T) {
	peer, r := newTestSocketReceiver(t, PoolConfig{NumBuffers: 4})
	defer r.Close()
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	for range 2 {
		_, err := r.Recv(t.Context())
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

// TestReviewIdleReceiverKeepsItsQueue: what a receiver keeps once everything was taken.
func TestReviewIdleReceiverKeepsItsQueue(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	p := openTestPool(t, l, Provided, PoolConfig{NumBuffers: 8192, MaxLeases: 4096})
	const size = 64 << 20
	peer, r := newTestReceiver(t, p)
	s := newStream(12)
	go func() { _, _ = s.Write(peer, 0, size) }()
	got := 0
	for got < size {
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		got += b.Len()
		require.NoError(t, b.Release())
		if got < size/2 {
			time.Sleep(20 * time.Microsecond) // a consumer that is a little slow
		}
	}
	queue, batch := 0, 0
	require.NoError(t, l.do(func() error { batch = cap(r.batch); return nil }))
	r.mu.Lock()
	queue = cap(r.incoming.buffers)
	require.Zero(t, r.incoming.len())
	r.mu.Unlock()
	t.Logf("an idle receiver keeps room for %d Buffers in incoming and %d in batch: %d KiB", queue, batch, (queue+batch)*40>>10)
	assert.Less(t, (queue+batch)*40, 16<<10, "bytes")
}
