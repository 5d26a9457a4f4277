//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// The parts that connections are made of, each by itself.

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestDeadline(t *testing.T) {
	var d deadline
	never := d.done()
	assert.False(t, isClosed(never))
	assert.False(t, d.hasPassed.Load())

	d.set(time.Now().Add(time.Hour))
	d.set(time.Now().Add(time.Millisecond)) // whoever waits already is concerned
	<-never
	assert.True(t, d.hasPassed.Load())

	d.set(time.Time{})
	assert.False(t, isClosed(d.done()), "who comes now waits for ever")
	assert.True(t, isClosed(never), "who was told stays told")
	assert.False(t, d.hasPassed.Load())

	d.set(time.Unix(1, 0))
	assert.True(t, isClosed(d.done()))
	d.set(time.Unix(1, 0)) // again: nothing is closed twice
	d.set(time.Now().Add(time.Hour))
	assert.False(t, isClosed(d.done()))
	d.set(time.Time{})
}

// TestDeadlineMovedByMany ends with the last word of whoever comes last.
func TestDeadlineMovedByMany(t *testing.T) {
	var d deadline
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 500 {
				switch (i + k) % 4 {
				case 0:
					d.set(time.Now().Add(time.Duration(k%50) * time.Microsecond))
				case 1:
					d.set(time.Unix(1, 0))
				case 2:
					d.set(time.Time{})
				case 3:
					if done := d.done(); d.hasPassed.Load() {
						_ = isClosed(done)
					}
				}
			}
		})
	}
	wg.Wait()
	d.set(time.Now().Add(time.Hour))
	require.False(t, isClosed(d.done()), "no timer that was stopped fires")
	d.set(time.Unix(1, 0))
	require.True(t, isClosed(d.done()))
}

func TestTurnstile(t *testing.T) {
	ctx := t.Context()
	turn := newTurnstile()
	require.NoError(t, turn.enter(ctx, &noLimit, nil))
	assert.False(t, turn.tryEnter())

	ended, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, turn.enter(ended, &noLimit, nil), context.Canceled)
	var limit deadline
	limit.set(time.Unix(1, 0))
	assert.ErrorIs(t, turn.enter(ctx, &limit, nil), os.ErrDeadlineExceeded)
	assert.ErrorIs(t, turn.enter(ctx, &noLimit, limit.done()), net.ErrClosed)

	entered := make(chan error)
	go func() { entered <- turn.enter(ctx, &noLimit, nil) }()
	turn.leave()
	require.NoError(t, <-entered)
	turn.leave()
	assert.True(t, turn.tryEnter())
}

// TestInbox has random calls against a plain slice of bytes.
func TestInbox(t *testing.T) {
	const buffers = 64
	p, err := zcrx.NewSocketPool(zcrx.PoolConfig{NumBuffers: buffers, MaxLeases: buffers})
	require.NoError(t, err)
	peer, conn := zcrxtest.TCPPair(t)
	leases, err := zcrx.NewSocketReceiver(p, conn)
	require.NoError(t, err)
	defer leases.Close()
	newLease := func(content []byte) zcrx.Buffer {
		_, err := peer.Write(content)
		require.NoError(t, err)
		b, err := leases.Recv(t.Context())
		require.NoError(t, err)
		require.Equal(t, content, b.Bytes())
		return b
	}
	rapid.Check(t, func(rt *rapid.T) {
		var in inbox
		var want []byte       // what is in the inbox
		made := 0             // a counter that makes each byte another
		var out []zcrx.Buffer // taken, not released
		leased := 0           // of them are in the pool
		expect := func(got []byte) {
			require.True(rt, bytes.Equal(want[:len(got)], got), "want %v, got %v", want[:len(got)], got)
		}
		upTo := func(what string) int { return rapid.IntRange(0, len(want)).Draw(rt, what) }
		rt.Repeat(map[string]func(*rapid.T){
			"add": func(rt *rapid.T) {
				var batch []zcrx.Buffer
				for range rapid.IntRange(0, 4).Draw(rt, "buffers") {
					if p.Stats().Outstanding == buffers {
						break
					}
					content := make([]byte, rapid.IntRange(1, 9).Draw(rt, "bytes"))
					for i := range content {
						content[i] = byte(made*7 + made>>8)
						made++
					}
					batch = append(batch, newLease(content))
					want = append(want, content...)
				}
				for len(batch) > 0 {
					n := copy(in.room(), batch)
					in.added(n)
					batch = batch[n:]
				}
			},
			"read": func(rt *rapid.T) {
				got := make([]byte, rapid.IntRange(0, 20).Draw(rt, "room"))
				n := in.read(got)
				require.Equal(rt, min(len(got), len(want)), n)
				expect(got[:n])
				want = want[n:]
			},
			"discard": func(rt *rapid.T) {
				n := upTo("discarded")
				require.Equal(rt, n, in.discard(n))
				want = want[n:]
			},
			"merge": func(rt *rapid.T) {
				n := upTo("merged")
				in.merge(n)
				require.GreaterOrEqual(rt, len(in.front()), n)
				expect(in.front())
			},
			"copy out": func(rt *rapid.T) {
				in.copyOut()
				require.Zero(rt, in.leases())
				require.Len(rt, in.front(), len(want))
			},
			"take": func(rt *rapid.T) {
				dst := make([]zcrx.Buffer, rapid.IntRange(1, 3).Draw(rt, "room"))
				before := in.leases()
				for _, b := range dst[:in.take(dst)] {
					expect(b.Bytes())
					want = want[b.Len():]
					out = append(out, b)
				}
				leased += before - in.leases()
			},
			"release": func(rt *rapid.T) {
				require.NoError(rt, zcrx.ReleaseAll(out))
				out, leased = nil, 0
			},
			"": func(rt *rapid.T) {
				require.Equal(rt, len(want), in.bytes)
				require.Equal(rt, len(want) == 0, in.empty())
				expect(in.front())
				require.Equal(rt, in.leases()+leased, p.Stats().Outstanding)
				require.LessOrEqual(rt, len(in.buffers)-in.first, buffers+1, "used places are used again")
				require.LessOrEqual(rt, cap(in.buffers), 256)
			},
		})
		require.NoError(rt, zcrx.ReleaseAll(out))
		in.release()
		require.True(rt, in.empty())
		st := p.Stats()
		require.Zero(rt, st.Outstanding)
		require.Zero(rt, st.DoubleReleases)
		require.Zero(rt, st.UsesAfterRelease)
	})
}

// TestWindow writes random slices in random steps.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 5), 0, 200).Draw(rt, "slices")
		lengths := make([]int, len(v))
		for i := range v {
			lengths[i] = len(v[i])
		}
		want := bytes.Join(v, nil)
		var got []byte
		w := newWindow(v)
		for w.next() {
			require.LessOrEqual(rt, len(w.slices), 64)
			for _, p := range w.slices {
				require.NotEmpty(rt, p)
			}
			some := bytes.Join(w.slices, nil)
			n := rapid.IntRange(0, len(some)).Draw(rt, "written")
			got = append(got, some[:n]...)
			w.wrote(n)
			if n == 0 { // do not draw it for ever
				got = append(got, some...)
				w.wrote(len(some))
			}
		}
		require.True(rt, bytes.Equal(want, got))
		require.Equal(rt, len(want), w.written)
		for i := range v {
			require.Len(rt, v[i], lengths[i], "the caller's slices stay as they are")
		}
	})
}

// fakeSocket is a socket that is only closed.
type fakeSocket struct {
	socket
	closed int
}

func (s *fakeSocket) close() error { s.closed++; return nil }

func TestConnSet(t *testing.T) {
	var s connSet
	addr := &net.TCPAddr{}
	a, b := &fakeSocket{}, &fakeSocket{}
	ca, cb := s.admit(a, addr, addr), s.admit(b, addr, addr)
	emptied := 0
	s.whenEmpty(func() { emptied++ })
	assert.Equal(t, 2, s.len())
	require.NoError(t, ca.Close())
	assert.Equal(t, 1, s.len())
	s.close()
	s.close()
	assert.True(t, s.isClosed())
	assert.Zero(t, emptied, "one is left")

	late := &fakeSocket{}
	assert.ErrorIs(t, s.admit(late, addr, addr).Close(), net.ErrClosed, "it is closed already")
	assert.Equal(t, 1, late.closed)
	assert.Zero(t, emptied)

	s.closeAll()
	assert.ErrorIs(t, cb.Close(), net.ErrClosed)
	assert.Equal(t, []int{1, 1, 1}, []int{a.closed, b.closed, emptied})
	s.whenEmpty(func() { emptied++ })
	assert.Equal(t, 2, emptied, "it is empty already")
	s.closeAll()
}

func TestEngineConfigOutOfRange(t *testing.T) {
	for want, cfg := range map[string]Config{
		`mode "mode(9)" is unknown: allowed are`:                       {Mode: 9},
		"mode zerocopy needs Config.Interface and Config.Queues":       {Mode: zcrx.ZeroCopy, Interface: "eth0"},
		"Config.Loop has a Logger: set Config.Logger":                  {Loop: zcrx.LoopConfig{Logger: slog.Default()}},
		"Config.Loops -1 is out of range: allowed are 1 to 1024":       {Loops: -1},
		"Config.Loops 1025 is out of range: allowed are 1 to 1024":     {Loops: 1025},
		"Config.SendZeroCopyFrom -1 is out of range: allowed are 0 to": {SendZeroCopyFrom: -1},
		"PoolConfig.NumBuffers -1 is out of range: allowed are":        {Mode: zcrx.Socket, Pool: zcrx.PoolConfig{NumBuffers: -1}},
		"LoopConfig.CQEntries 2 is out of range: allowed are":          {Mode: zcrx.Provided, Loop: zcrx.LoopConfig{CQEntries: 2}},
	} {
		_, err := NewEngine(t.Context(), cfg)
		assert.ErrorContains(t, err, want)
	}
	fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
	_, err := NewEngine(t.Context(), Config{Mode: zcrx.Provided, Loops: 3, Pool: zcrx.PoolConfig{NumBuffers: zcrx.MaxProvidedBuffers + 1}})
	assert.ErrorContains(t, err, "PoolConfig.NumBuffers 32769 is out of range")
	zcrxtest.Settled(t, fds, goroutines)
}

func TestUnknownNetwork(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		for _, network := range []string{"", "udp", "unix", "tcp5"} {
			_, err := e.Dial(t.Context(), network, "127.0.0.1:1")
			assert.ErrorContains(t, err, "allowed are tcp, tcp4 and tcp6")
			_, err = e.Listen(t.Context(), network, "127.0.0.1:0")
			assert.ErrorContains(t, err, "allowed are tcp, tcp4 and tcp6")
		}
		c, err := e.DialContext(t.Context(), "tcp", "127.0.0.1:0")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.Nil(t, c)
	})
}

func TestImpossibleWriter(t *testing.T) {
	short := writerFunc(func(p []byte) (int, error) { return len(p) - 1, nil })
	n, err := writeEach(short, [][]byte{{1, 2}, {3}})
	assert.EqualValues(t, 1, n)
	assert.ErrorIs(t, err, io.ErrShortWrite)
	for _, answer := range []int{-1, 3} {
		n, err = writeEach(writerFunc(func([]byte) (int, error) { return answer, nil }), [][]byte{{1, 2}})
		assert.Zero(t, n)
		assert.ErrorContains(t, err, "impossible count")
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
