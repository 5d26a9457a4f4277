//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// inEveryMode runs the test with a pool of every mode that needs no interface.
func inEveryMode(t *testing.T, test func(t *testing.T, mode Mode)) {
	for _, mode := range []Mode{Provided, DeviceLess} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == DeviceLess {
				needDeviceLess(t)
			}
			test(t, mode)
		})
	}
}

func needDeviceLess(t testing.TB) {
	t.Helper()
	needFeature(t, FeatureDeviceLess)
}

// needFeature skips the test where the kernel or the process lacks it.
func needFeature(t testing.TB, f Feature) {
	t.Helper()
	skip.Unless(t, f.String(), f.MinKernel(), Have(f))
}

func openTestPool(t testing.TB, l *Loop, mode Mode, cfg PoolConfig) BufferPool {
	t.Helper()
	p, err := OpenPool(t.Context(), l, mode, Queue{}, cfg)
	require.NoError(t, err)
	return p
}

func newTestReceiver(t testing.TB, p BufferPool) (*net.TCPConn, *Receiver) {
	t.Helper()
	sender, conn := tcpPair(t)
	r, err := NewReceiver(p, conn)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return sender, r
}

// receiveAll reads to the end of the stream and releases everything.
func receiveAll(t testing.TB, r *Receiver) []byte {
	t.Helper()
	var all []byte
	for {
		b, err := r.Recv(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, b.Bytes()...)
		require.NoError(t, b.Release())
	}
}

func TestReceiveExactly(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		for _, size := range []CompletionSize{Completion32, CompletionAuto} {
			for _, n := range []int{0, 1, 4096, 4097, 3_000_000} {
				t.Run(fmt.Sprintf("%d bytes, completions %d", n, size), func(t *testing.T) {
					l := newTestLoop(t, LoopConfig{CompletionSize: size})
					p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256})
					sender, r := newTestReceiver(t, p)
					want := pattern(int64(n), n)
					send(t, sender, want)
					got := receiveAll(t, r)
					require.True(t, bytes.Equal(want, got), "%d bytes sent, %d received", len(want), len(got))
					s := p.Stats()
					assert.Equal(t, uint64(n), s.Bytes)
					assert.Equal(t, uint64(n), s.CopiedBytes, "these modes copy")
					assert.Zero(t, s.Outstanding)
					_, err := r.Recv(t.Context())
					assert.ErrorIs(t, err, io.EOF, "the end stays the end")
				})
			}
		}
	})
}

// TestFewBuffersAndSlowConsumer holds all the buffers again and again: the
// kernel runs dry, and nothing is lost.
func TestFewBuffersAndSlowConsumer(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 8, RefillEntries: 2})
		sender, r := newTestReceiver(t, p)
		want := pattern(1, 2<<20)
		send(t, sender, want)
		rng := rand.New(rand.NewSource(3))
		sum := sha256.New()
		var held []Buffer
		for {
			b, err := r.Recv(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			sum.Write(b.Bytes())
			held = append(held, b)
			if len(held) == 8 { // all of them: nothing can come before a release
				if rng.Intn(8) == 0 {
					time.Sleep(time.Millisecond)
				}
				n := 1 + rng.Intn(8)
				require.NoError(t, ReleaseAll(held[:n]))
				held = append(held[:0], held[n:]...)
			}
		}
		require.NoError(t, ReleaseAll(held))
		require.Equal(t, sha256.Sum256(want), [32]byte(sum.Sum(nil)))
		s := p.Stats()
		assert.Positive(t, s.RearmedNoBuffer, "%+v", s)
		assert.Zero(t, s.Outstanding)
		if mode == DeviceLess {
			assert.Positive(t, s.Flushes)
		}
	})
}

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
			// Before 7.2.10 the receive may just pause.
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

// TestResetBehindMuchData resets with data in flight, again and again: the reset
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

// TestSocketStaysOpenUntilClose checks that the end of the stream does not close
// our side.
func TestSocketStaysOpenUntilClose(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 8})
		sender, r := newTestReceiver(t, p)
		send(t, sender, []byte("all"))
		assert.Equal(t, "all", string(receiveAll(t, r)))
		require.NoError(t, sender.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err := sender.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "no FIN yet")
		require.NoError(t, r.Close())
		require.NoError(t, sender.SetReadDeadline(time.Time{}))
		_, err = sender.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
	})
}

// TestCloseInEveryOrder ends receiver, pool and loop in every order while data
// comes in and leases are out.
func TestCloseInEveryOrder(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
			fds, goroutines := openFDs(t), runtime.NumGoroutine()
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
			sender, conn := tcpPair(t)
			r, err := NewReceiver(p, conn)
			require.NoError(t, err)
			data := pattern(5, 200_000)
			written := make(chan struct{})
			go func() {
				defer close(written)
				_, _ = sender.Write(data) // ends with the receiver
			}()
			var held []Buffer
			for got := 0; got < 20_000; {
				b, err := r.Recv(t.Context())
				require.NoError(t, err)
				require.Equal(t, data[got:got+b.Len()], b.Bytes())
				held = append(held, b)
				got += b.Len()
			}
			for _, what := range order {
				switch what {
				case 0:
					require.NoError(t, r.Close())
				case 1:
					require.NoError(t, p.Close())
				case 2:
					require.NoError(t, l.Close())
				}
			}
			require.NoError(t, r.Close(), "idempotent")
			require.NoError(t, p.Close())
			got := 0
			for _, b := range held {
				require.Equal(t, data[got:got+b.Len()], b.Bytes(), "leases outlive everything")
				got += b.Len()
				require.NoError(t, b.Release())
			}
			s := p.Stats()
			require.Zero(t, s.Outstanding, "order %v: %+v", order, s)
			require.True(t, p.accounts().freed, "order %v: the memory is unmapped", order)
			_, err = r.Recv(t.Context())
			require.ErrorIs(t, err, ErrClosed)
			require.NoError(t, sender.Close())
			<-written
			settled(t, fds, goroutines)
		}
	})
}

// TestCloseWhileReceiving closes from another goroutine at random moments.
func TestCloseWhileReceiving(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		rng := rand.New(rand.NewSource(6))
		data := pattern(7, 1<<20)
		for range 30 {
			sender, conn := tcpPair(t)
			r, err := NewReceiver(p, conn)
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() { _, _ = sender.Write(data) }) // the close ends it
			wg.Go(func() {
				for {
					b, err := r.Recv(context.Background())
					if err != nil {
						assert.True(t, errors.Is(err, ErrClosed) || errors.Is(err, io.EOF), "%v", err)
						return
					}
					assert.NoError(t, b.Release())
				}
			})
			time.Sleep(time.Duration(rng.Intn(2000)) * time.Microsecond)
			require.NoError(t, r.Close())
			require.NoError(t, sender.Close())
			wg.Wait()
		}
		assert.Zero(t, p.Stats().Outstanding)
	})
}

func TestRecvHonoursItsContext(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 8})
		sender, r := newTestReceiver(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_, err := r.Recv(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		send(t, sender, []byte("still there"))
		assert.Equal(t, "still there", string(receiveAll(t, r)))
		n, err := r.RecvBatch(t.Context(), nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
	})
}

// TestManyConnectionsShareOnePool lets more connections than buffers compete.
func TestManyConnectionsShareOnePool(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 16})
		var wg sync.WaitGroup
		for i := range 32 {
			sender, r := newTestReceiver(t, p)
			want := pattern(int64(i), 100_000+i)
			send(t, sender, want)
			wg.Go(func() {
				assert.True(t, bytes.Equal(want, receiveAll(t, r)), "connection %d", i)
			})
		}
		wg.Wait()
		assert.Zero(t, p.Stats().Outstanding)
	})
}

func TestReceiverRefusesWhatCannotBeReceived(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	p := openTestPool(t, l, Provided, PoolConfig{NumBuffers: 8})
	_, closed := tcpPair(t)
	require.NoError(t, closed.Close())
	_, err := NewReceiver(p, closed)
	assert.ErrorIs(t, err, net.ErrClosed)

	sender, conn := tcpPair(t)
	require.NoError(t, p.Close())
	fds := openFDs(t)
	_, err = NewReceiver(p, conn)
	assert.ErrorIs(t, err, ErrClosed)
	assert.Equal(t, fds, openFDs(t))
	go func() { _, _ = sender.Write([]byte("x")) }()
	n, err := conn.Read(make([]byte, 1))
	assert.NoError(t, err, "the connection is still its caller's")
	assert.Equal(t, 1, n)
	require.NoError(t, conn.Close())
}

// TestSubmissionQueueFullForAWhile lets the kernel take no requests for some
// turns: receives, polls and cancellations are begun later, and nothing is lost.
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

// TestOneCallPerTurn counts entries into C over a transfer: one a turn, and none
// beside.
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
