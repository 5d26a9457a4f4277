//go:build linux && cgo

package zcrx

import (
	"math/rand"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// closing is a receiver in the middle of a stream, for tests that end it.
type closing struct {
	pool   BufferPool
	r      *Receiver
	sender *net.TCPConn
	came   chan struct{} // closed when the given number of buffers has come
	ended  chan error    // how the receiver ended
	held   []Buffer      // every third buffer, once ended
	sent   chan struct{}
}

func newClosing(t *testing.T, p BufferPool, s stream, after int) *closing {
	c := &closing{pool: p, came: make(chan struct{}), ended: make(chan error, 1)}
	var conn *net.TCPConn
	var err error
	c.sender, conn = tcpPair(t)
	c.r, err = NewReceiver(p, conn)
	require.NoError(t, err)
	c.sent = s.Flood(t, c.sender)
	if after == 0 {
		close(c.came)
	}
	go func() {
		n := 0
		_, err := s.receive(t, c.r, 0, func(b Buffer) {
			if n++; n == after {
				close(c.came)
			}
			if n%3 == 0 && len(c.held) < p.NumBuffers()/2 {
				c.held = append(c.held, b)
				return
			}
			assert.NoError(t, b.Release())
		})
		c.ended <- err
	}()
	return c
}

// finish is called after receiver, pool or loop was closed. It checks that the receiver
// ended, that leases stay valid, and that nothing is left.
func (c *closing) finish(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.ended:
		require.ErrorIs(t, err, ErrClosed)
	case <-time.After(patience):
		require.Fail(t, "the receiver did not end")
	}
	require.NoError(t, c.r.Close())
	<-c.sent
	require.NoError(t, c.sender.Close())
	for _, b := range c.held {
		require.Len(t, b.Bytes(), b.Len(), "leases outlive what they came from")
		sum(b.Bytes())
	}
	require.NoError(t, ReleaseAll(c.held))
	assert.Zero(t, c.pool.Stats().Outstanding)
	assert.Zero(t, c.pool.Stats().DoubleReleases)
}

// TestPoolClosesInMidStream closes pools from another goroutine at random moments.
func TestPoolClosesInMidStream(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		s, rng := newStream(3), rand.New(rand.NewSource(3))
		for range zcrxtest.Volume(50) {
			p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 32})
			c := newClosing(t, p, s, rng.Intn(60))
			<-c.came
			require.NoError(t, p.Close())
			c.finish(t)
			eventually(t, "the memory is unmapped", func() bool { return unmapped(p) })
		}
		require.NoError(t, l.Close())
		settled(t, fds, goroutines)
	})
}

// TestLoopClosesInMidStream closes loops from another goroutine at random moments.
func TestLoopClosesInMidStream(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		s, rng := newStream(4), rand.New(rand.NewSource(4))
		for range zcrxtest.Volume(50) {
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 32})
			c := newClosing(t, p, s, rng.Intn(60))
			<-c.came
			require.NoError(t, l.Close())
			c.finish(t)
			assert.True(t, unmapped(p))
			assert.Zero(t, l.Stats().Strays)
		}
		settled(t, fds, goroutines)
	})
}

// TestCloseOnTheLoopInMidStream closes receiver, pool and loop on the loop's own thread,
// where Close must not wait.
func TestCloseOnTheLoopInMidStream(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		s := newStream(5)
		for round := range 15 {
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 32})
			c := newClosing(t, p, s, 10)
			<-c.came
			require.NoError(t, l.do(func() error {
				switch round % 3 {
				case 0:
					return c.r.Close()
				case 1:
					return p.Close()
				default:
					return l.Close()
				}
			}))
			c.finish(t)
			require.NoError(t, l.Close())
			assert.True(t, unmapped(p))
		}
		settled(t, fds, goroutines)
	})
}

func TestLoopClosesWithWaitingReturns(t *testing.T) {
	l, p := newDeviceLessPool(t, PoolConfig{NumBuffers: 16, RefillEntries: 2})
	sender, r := newTestReceiver(t, p)
	go func() { _, _ = sender.Write(pattern(3, 32*int(pageSize()))) }() // the receiver ends it
	hold := takeBuffers(t, r, 16)
	onHeldLoop(t, l, func() {
		release(t, hold[:8]...)
		assert.Equal(t, 6, p.Stats().Waiting)
		release(t, hold[8:15]...)
	})
	require.NoError(t, r.Close())
	require.NoError(t, l.Close())
	assert.False(t, p.freed, "one lease is out")
	assert.Equal(t, 1, p.Stats().Outstanding)
	assert.NotNil(t, hold[15].Bytes(), "still readable")
	release(t, hold[15])
	assert.True(t, p.freed)
}
