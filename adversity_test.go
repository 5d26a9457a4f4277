//go:build linux && cgo

package zcrx

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// receive takes the stream from offset on, checks it, and gives each buffer on. It
// ends with the stream or with the receiver and returns how far it came.
func (s stream) receive(t testing.TB, r *Receiver, offset int, give func(Buffer)) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	for {
		b, err := r.Recv(ctx)
		if err != nil {
			return offset, err
		}
		if !assert.True(t, bytes.Equal(s.At(offset, b.Len()), b.Bytes()), "%d bytes at %d differ", b.Len(), offset) {
			return offset, errors.New("bytes differ")
		}
		offset += b.Len()
		give(b)
	}
}

// receiveExactly takes n bytes and the end.
func (s stream) receiveExactly(t testing.TB, r *Receiver, n int) {
	got, err := s.receive(t, r, 0, func(b Buffer) { assert.NoError(t, b.Release()) })
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, n, got)
}

// The address on which children listen: nothing else here uses it, so a port that
// one of them had is free for the next.
const childAddress = "127.77.0.1"

const (
	adversityMode = "ZCRX_ADVERSITY_MODE"
	adversityPort = "ZCRX_ADVERSITY_PORT"
	adversityExit = "ZCRX_ADVERSITY_EXIT"
)

// TestAdversityChild is what TestAdversityExit starts: a process that ends, or is
// ended, with requests in flight and every buffer out.
func TestAdversityChild(t *testing.T) {
	name, isChild := os.LookupEnv(adversityMode)
	if !isChild {
		return
	}
	mode, err := ParseMode(name)
	require.NoError(t, err)
	ln, err := net.Listen("tcp", net.JoinHostPort(childAddress, os.Getenv(adversityPort)))
	require.NoError(t, err)
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	p, err := OpenPool(t.Context(), l, mode, Queue{}, PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	// The first connection brings data, the second only waits.
	var receivers []*Receiver
	for range 2 {
		conn, err := ln.Accept()
		require.NoError(t, err)
		r, err := NewReceiver(p, conn.(*net.TCPConn))
		require.NoError(t, err)
		receivers = append(receivers, r)
	}
	holding := false
	_, err = newStream(1).receive(t, receivers[0], 0, func(Buffer) { // kept
		if p.Stats().Outstanding < p.NumBuffers() || holding {
			return
		}
		holding = true
		fmt.Println("holding")
		if os.Getenv(adversityExit) != "" {
			os.Exit(0)
		}
	})
	require.NoError(t, err)
}

// runChild has a child receive and end, by itself or by SIGKILL, and looks at what
// its peers see. It returns the child's port.
func runChild(t *testing.T, mode Mode, port int, kill bool) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, exe, "-test.run=^TestAdversityChild$")
	cmd.Env = append(os.Environ(), adversityMode+"="+mode.String(), adversityPort+"="+strconv.Itoa(port))
	if !kill {
		cmd.Env = append(cmd.Env, adversityExit+"=1")
	}
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "the child says its port")
	got, err := strconv.Atoi(lines.Text())
	require.NoError(t, err, "the child said %q", lines.Text())
	if port != 0 {
		require.Equal(t, port, got)
	}
	var conns []*net.TCPConn
	for range 2 {
		c, err := net.Dial("tcp", net.JoinHostPort(childAddress, strconv.Itoa(got)))
		require.NoError(t, err)
		defer c.Close()
		conns = append(conns, c.(*net.TCPConn))
	}
	ended := newStream(1).Flood(t, conns[0])
	require.True(t, lines.Scan(), "the child receives")
	require.Equal(t, "holding", lines.Text())
	if kill {
		require.NoError(t, cmd.Process.Kill())
	}
	err = cmd.Wait()
	if kill {
		require.Equal(t, syscall.SIGKILL, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	} else {
		require.NoError(t, err)
	}
	// The kernel ends what was in flight, and so both connections.
	<-ended
	require.NoError(t, conns[1].SetReadDeadline(time.Now().Add(patience)))
	_, err = conns[1].Read(make([]byte, 1))
	require.True(t, errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET), "%v", err)
	return got
}

// TestAdversityExit ends processes with requests in flight and every buffer out,
// and does the same again at once, on the same port.
func TestAdversityExit(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		port := 0
		for _, kill := range []bool{false, true, false, true} {
			port = runChild(t, mode, port, kill)
		}
		ln, err := net.Listen("tcp", net.JoinHostPort(childAddress, strconv.Itoa(port)))
		require.NoError(t, err)
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		sender, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		conn, err := ln.Accept()
		require.NoError(t, err)
		r, err := NewReceiver(p, conn.(*net.TCPConn))
		require.NoError(t, err)
		s := newStream(2)
		s.Send(t, sender.(*net.TCPConn), 1<<20)
		s.receiveExactly(t, r, 1<<20)
		require.NoError(t, r.Close())
		require.NoError(t, l.Close())
		require.NoError(t, sender.Close())
		require.NoError(t, ln.Close())
		settled(t, fds, goroutines)
	})
}

// closing is a receiver in the middle of a stream, for tests that end it.
type closing struct {
	pool   BufferPool
	r      *Receiver
	sender *net.TCPConn
	came   chan struct{} // closed when so many buffers as asked for have come
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

// finish is called once something was closed. It checks that the receiver heard
// of it, that leases outlive it, and that nothing is left.
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

// TestAdversityPoolCloses closes pools from another goroutine at random moments.
func TestAdversityPoolCloses(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		s, rng := newStream(3), rand.New(rand.NewSource(3))
		for range 50 {
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

// unmapped tells whether the pool has given up its memory.
func unmapped(p BufferPool) bool {
	g := p.accounts()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.freed
}

// TestAdversityLoopCloses closes loops from another goroutine at random moments.
func TestAdversityLoopCloses(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		fds, goroutines := openFDs(t), runtime.NumGoroutine()
		s, rng := newStream(4), rand.New(rand.NewSource(4))
		for range 50 {
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

// TestAdversityClosedOnTheLoop ends receiver, pool and loop on the loop's own
// thread, where nothing can be waited for.
func TestAdversityClosedOnTheLoop(t *testing.T) {
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

// TestAdversityHundredPools has 100 pools on four loops receive at once.
func TestAdversityHundredPools(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const pools, size = 100, 1<<18 + 1
		var loops []*Loop
		for range 4 {
			loops = append(loops, newTestLoop(t, LoopConfig{}))
		}
		s := newStream(6)
		var wg sync.WaitGroup
		var all []BufferPool
		for i := range pools {
			p := openTestPool(t, loops[i%len(loops)], mode, PoolConfig{NumBuffers: 16})
			all = append(all, p)
			sender, r := newTestReceiver(t, p)
			s.from(i).Send(t, sender, size) // each its own bytes
			wg.Go(func() { s.from(i).receiveExactly(t, r, size) })
		}
		wg.Wait()
		for i, p := range all {
			got := p.Stats()
			assert.Equal(t, uint64(size), got.Bytes, "pool %d", i)
			assert.Zero(t, got.Outstanding, "pool %d", i)
		}
	})
}

// TestAdversityConsumerThatNeverReads holds up its own sender and nobody else, and
// has lost nothing once it reads.
func TestAdversityConsumerThatNeverReads(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size, other = 64 << 20, 4 << 20
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64, MaxLeases: 1 << 20})
		sender, r := newTestReceiver(t, p)
		s := newStream(7)
		// It blocks for certain when nothing is taken for a while.
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

// TestDropUrgent: the filter is put on once, drops urgent packets alone, and leaves a
// filter that is there.
func TestDropUrgent(t *testing.T) {
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

// TestUrgentByte: what comes behind an urgent byte is received, also if the stream ends
// there; the byte itself is not part of it.
func TestUrgentByte(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 64})
		sender, conn := tcpPair(t)
		want := pattern(14, 2000)
		raw, err := sender.SyscallConn()
		require.NoError(t, err)
		// All of it is there before the receive begins, which stops at the mark.
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

// TestAdversityReleasesAfterTheLoop gives leases back when loop and pool have
// gone, on goroutines that never saw them.
func TestAdversityReleasesAfterTheLoop(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		for range 10 {
			l, err := NewLoop(LoopConfig{})
			require.NoError(t, err)
			p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256, MaxLeases: 256})
			sender, r := newTestReceiver(t, p)
			s := newStream(8)
			s.Send(t, sender, 1<<19)
			var held []Buffer
			_, err = s.receive(t, r, 0, func(b Buffer) { held = append(held, b) })
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, l.Close())
			assert.Equal(t, len(held), p.Stats().Outstanding)
			var offset int
			var wg sync.WaitGroup
			for _, b := range held {
				at := offset
				offset += b.Len()
				wg.Go(func() {
					assert.True(t, bytes.Equal(s.At(at, b.Len()), b.Bytes()))
					assert.NoError(t, b.Release())
					assert.ErrorIs(t, b.Release(), ErrReleased)
				})
			}
			wg.Wait()
			got := p.Stats()
			assert.Zero(t, got.Outstanding)
			assert.Equal(t, uint64(len(held)), got.Returned)
			assert.Equal(t, uint64(len(held)), got.DoubleReleases)
			assert.True(t, unmapped(p))
		}
	})
}

// TestAdversityReleasesInRandomOrder has eight goroutines hold leases for a random
// while over a transfer of many times the pool's size.
func TestAdversityReleasesInRandomOrder(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const size, goroutines = 32 << 20, 8
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 256, RefillEntries: 32, MaxLeases: 256})
		sender, r := newTestReceiver(t, p)
		s := newStream(9)
		s.Send(t, sender, size)
		work := make(chan Buffer)
		var wg sync.WaitGroup
		for i := range goroutines {
			wg.Go(func() {
				rng := rand.New(rand.NewSource(int64(i)))
				var held []Buffer
				for b := range work {
					held = append(held, b)
					// All together hold fewer than there are.
					for len(held) > rng.Intn(200/goroutines) {
						last := len(held) - 1
						pick := rng.Intn(len(held))
						b := held[pick]
						held[pick] = held[last]
						held = held[:last]
						assert.NoError(t, b.Release())
					}
				}
				assert.NoError(t, ReleaseAll(held))
			})
		}
		got, err := s.receive(t, r, 0, func(b Buffer) { work <- b })
		close(work)
		wg.Wait()
		assert.ErrorIs(t, err, io.EOF)
		assert.Equal(t, size, got)
		stats := p.Stats()
		assert.Equal(t, uint64(size), stats.Bytes)
		assert.Equal(t, stats.Completions, stats.Returned)
		assert.Zero(t, stats.Outstanding)
		assert.Zero(t, stats.DoubleReleases)
		assert.Zero(t, stats.UsesAfterRelease)
	})
}

// TestAdversityHalfClose ends one direction and uses the other, both ways round.
func TestAdversityHalfClose(t *testing.T) {
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
		s.receiveExactly(t, r, size) // theirs has ended
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

func TestAdversityOneByteWrites(t *testing.T) {
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

// TestAdversityGrow grows a pool whose buffers are all held.
func TestAdversityGrow(t *testing.T) {
	needFeature(t, FeatureAddArea)
	const size, first, more = 8 << 20, 16, 48
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: first})
	require.NoError(t, err)
	sender, r := newTestReceiver(t, p)
	s := newStream(12)
	s.Send(t, sender, size)

	var held []Buffer
	offset := 0
	take := func(ctx context.Context) (id uint64, err error) {
		b, err := r.Recv(ctx)
		if err != nil {
			return 0, err
		}
		require.True(t, bytes.Equal(s.At(offset, b.Len()), b.Bytes()), "%d bytes at %d differ", b.Len(), offset)
		offset += b.Len()
		held = append(held, b)
		return b.lease.token >> areaShift, nil
	}
	for range first {
		id, err := take(t.Context())
		require.NoError(t, err)
		require.Zero(t, id)
	}
	eventually(t, "every buffer is out and a receive waits", func() bool {
		stats := p.Stats()
		return stats.Outstanding == first && stats.RearmedNoBuffer > 0
	})
	stalled, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = take(stalled)
	require.ErrorIs(t, err, context.DeadlineExceeded, "nothing comes without a buffer")

	require.NoError(t, p.Grow(t.Context(), more))
	assert.Equal(t, first+more, p.NumBuffers())
	for range more {
		id, err := take(t.Context())
		require.NoError(t, err)
		require.Equal(t, uint64(1), id, "the first area's buffers are held")
	}
	require.NoError(t, ReleaseAll(held))

	areas := map[uint64]int{}
	offset, err = s.receive(t, r, offset, func(b Buffer) {
		areas[b.lease.token>>areaShift]++
		assert.NoError(t, b.Release())
	})
	require.ErrorIs(t, err, io.EOF)
	assert.Equal(t, size, offset)
	// It goes on much longer than the buffers last without a return.
	assert.Greater(t, areas[1], 2*more, "the second area's buffers come back")
	assert.Positive(t, areas[0])
	assert.Zero(t, p.Stats().Outstanding)

	// Several areas more, and all of them are used and unmapped.
	for range 3 {
		require.NoError(t, p.Grow(t.Context(), 4))
	}
	assert.Equal(t, first+more+12, p.NumBuffers())
	sender, r = newTestReceiver(t, p)
	s.Send(t, sender, size)
	s.receiveExactly(t, r, size)
	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	require.True(t, unmapped(p))
	for i, a := range areasOf(p) {
		assert.Nil(t, a.mem, "area %d", i)
	}
}

// TestAdversityGrowWithoutTheKernel: a kernel that cannot is not asked, whatever
// the number.
func TestAdversityGrowWithoutTheKernel(t *testing.T) {
	missing := Have(FeatureAddArea)
	if missing == nil {
		return // TestAdversityGrow
	}
	k := newPool73(t, 4, 4)
	for _, n := range []int{1, 0, -1} {
		assert.Equal(t, missing, k.pool.Grow(t.Context(), n))
	}
	assert.ErrorIs(t, missing, ErrNotSupported)
	assert.Equal(t, 4, k.pool.NumBuffers())
	k.destroy()
	if Have(FeatureDeviceLess) == nil {
		p, err := NewDeviceLessPool(t.Context(), newTestLoop(t, LoopConfig{}), PoolConfig{NumBuffers: 4})
		require.NoError(t, err)
		assertLayer(t, p.Grow(t.Context(), 1), LayerKernel)
		assert.Equal(t, 4, p.NumBuffers())
	}
}

// TestAdversityGrowRefuses leaves the pool as it was.
func TestAdversityGrowRefuses(t *testing.T) {
	ctx := t.Context()
	needFeature(t, FeatureAddArea)
	l, err := NewLoop(LoopConfig{})
	require.NoError(t, err)
	p, err := NewDeviceLessPool(ctx, l, PoolConfig{NumBuffers: 4})
	require.NoError(t, err)
	most := int(maxAreaSize / uint64(p.BufferSize()))
	for _, n := range []int{0, -1, -1 << 62, most + 1, 1 << 40, 1<<63 - 1} {
		maps := mappings(t)
		err := p.Grow(ctx, n)
		assert.ErrorContains(t, err, fmt.Sprintf("%d is out of range: allowed are 1 to %d", n, most))
		assert.LessOrEqual(t, mappings(t), maps+1) // the runtime maps on its own now and then
	}
	assert.Equal(t, 4, p.NumBuffers())
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, p.Grow(cancelled, 1), context.Canceled)

	require.NoError(t, p.Close())
	assert.ErrorIs(t, p.Grow(ctx, 1), ErrClosed)
	other, err := NewDeviceLessPool(ctx, l, PoolConfig{NumBuffers: 4})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	assert.ErrorIs(t, other.Grow(ctx, 1), ErrClosed)
	assert.Equal(t, 4, other.NumBuffers())
}

// hugePages reads how many huge pages of 2 MiB are reserved and not in use.
func hugePages(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	require.NoError(t, err)
	return n
}

// TestAdversityHugeTLB receives into reserved huge pages, where there are any, and
// says what to reserve where there are none.
func TestAdversityHugeTLB(t *testing.T) {
	const reserve = "/proc/sys/vm/nr_hugepages"
	if os.Getenv("ZCRX_LANE") == "vm" {
		before, err := os.ReadFile(reserve)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, os.WriteFile(reserve, before, 0o644)) })
		// A signal, as Go's scheduler sends them to its own threads, ends the
		// kernel's work on the way.
		eventually(t, "8 huge pages are reserved", func() bool {
			require.NoError(t, os.WriteFile(reserve, []byte("8"), 0o644))
			return hugePages(t) == 8
		})
	}
	inEveryMode(t, func(t *testing.T, mode Mode) {
		free := hugePages(t)
		l := newTestLoop(t, LoopConfig{})
		cfg := PoolConfig{Memory: MemoryHugeTLB, NumBuffers: hugePageSize/int(pageSize()) + 1} // two huge pages
		if free < 2 {
			fds, maps := openFDs(t), mappings(t)
			_, err := OpenPool(t.Context(), l, mode, Queue{}, cfg)
			assertLayer(t, err, LayerPrivilege)
			assert.ErrorContains(t, err, "vm.nr_hugepages")
			assert.Equal(t, fds, openFDs(t))
			assert.LessOrEqual(t, mappings(t), maps+1)
			return
		}
		p := openTestPool(t, l, mode, cfg)
		assert.Equal(t, free-2, hugePages(t))
		assert.GreaterOrEqual(t, p.NumBuffers(), cfg.NumBuffers)
		sender, r := newTestReceiver(t, p)
		s := newStream(13)
		s.Send(t, sender, 8<<20)
		s.receiveExactly(t, r, 8<<20)
		assert.Zero(t, p.Stats().Outstanding)

		// More than there are is refused, and takes none.
		cfg.NumBuffers = (free + 1) * hugePageSize / int(pageSize())
		if cfg.NumBuffers <= MaxProvidedBuffers {
			_, err := OpenPool(t.Context(), l, mode, Queue{}, cfg)
			assertLayer(t, err, LayerPrivilege)
			assert.Equal(t, free-2, hugePages(t))
		}
		require.NoError(t, r.Close())
		require.NoError(t, p.Close())
		assert.True(t, unmapped(p))
		require.NoError(t, l.Close())
		eventually(t, "the huge pages come back with the ring", func() bool { return hugePages(t) == free })
	})
}

// TestAdversityDMABufRefused: where the kernel copies, it copies into user memory.
func TestAdversityDMABufRefused(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	fds := openFDs(t)
	for _, fd := range []int{0, 1} {
		_, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 4, Memory: MemoryDMABuf, DMABuf: fd})
		assert.ErrorContains(t, err, "a device-less pool cannot lie in a dma-buf")
		_, err = NewProvidedPool(l, PoolConfig{NumBuffers: 4, Memory: MemoryDMABuf, DMABuf: fd})
		assert.ErrorContains(t, err, "a provided pool cannot lie in a dma-buf")
	}
	_, err := NewProvidedPool(l, PoolConfig{NumBuffers: 4, DMABuf: 1})
	assert.ErrorContains(t, err, "goes with MemoryDMABuf")
	assert.Equal(t, fds, openFDs(t))
}

// TestAdversityUDMABuf makes an area in a dma-buf, or is told why it cannot.
func TestAdversityUDMABuf(t *testing.T) {
	fds := openFDs(t)
	const buffers = 64
	a, err := newArea(MemoryDMABuf, buffers, pageSize(), -1)
	if _, missing := os.Stat("/dev/udmabuf"); missing != nil {
		assertLayer(t, err, LayerKernel)
		assert.ErrorContains(t, err, "/dev/udmabuf")
		assert.Equal(t, fds, openFDs(t))
		return
	}
	require.NoError(t, err)
	assert.Equal(t, fds+1, openFDs(t), "the dma-buf's own")
	assert.Len(t, a.mem, buffers*int(pageSize()))
	assert.Equal(t, buffers, a.buffers())
	end, err := unix.Seek(a.dmabuf, 0, io.SeekEnd)
	require.NoError(t, err)
	assert.Equal(t, int64(len(a.mem)), end)
	flags, err := unix.FcntlInt(uintptr(a.dmabuf), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.NotZero(t, flags&unix.FD_CLOEXEC)
	assert.Zero(t, sum(a.mem), "every byte can be read")

	// The same dma-buf as a caller's: its fd stays open.
	callers, err := newArea(MemoryDMABuf, buffers, pageSize(), a.dmabuf)
	require.NoError(t, err)
	callers.unmap()
	assert.Equal(t, fds+1, openFDs(t))
	_, err = newArea(MemoryDMABuf, buffers+1, pageSize(), a.dmabuf)
	assert.Error(t, err, "it is too small")
	assert.Equal(t, fds+1, openFDs(t))

	start, size := sliceAddr(a.mem), len(a.mem)
	a.unmap()
	assert.Equal(t, fds, openFDs(t))
	assert.Zero(t, mappedBytes(t, start, size))
}
