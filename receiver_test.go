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
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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

// TestFewBuffersAndSlowConsumer repeatedly holds every buffer: the kernel has none, and
// nothing is lost.
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

// TestManyConnectionsShareOnePool receives from more connections than there are buffers.
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

// TestTryRecvWithReadable receives a stream as another connection type would: it waits for
// Readable and for something else.
func TestTryRecvWithReadable(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64, MaxLeases: 8})
		assert.Equal(t, 8, p.MaxLeases())
		sender, r := newTestReceiver(t, p)
		assert.Same(t, p, r.Pool())
		n, err := r.TryRecv(nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		n, err = r.TryRecv(make([]Buffer, 1))
		assert.NoError(t, err)
		assert.Zero(t, n, "nothing is there")
		select {
		case <-r.Readable():
			t.Fatal("nothing has come")
		default:
		}

		want := pattern(90, 1<<20)
		send(t, sender, want)
		var got []byte
		dst := make([]Buffer, 3)
		for err == nil {
			n, err = r.TryRecv(dst)
			for _, b := range dst[:n] {
				got = append(got, b.Bytes()...)
			}
			require.NoError(t, ReleaseAll(dst[:n]))
			if n == 0 && err == nil {
				select {
				case <-r.Readable():
				case <-t.Context().Done():
					t.Fatal("it does not come")
				}
			}
		}
		assert.ErrorIs(t, err, io.EOF)
		assert.True(t, bytes.Equal(want, got), "%d bytes", len(got))
	})
}
