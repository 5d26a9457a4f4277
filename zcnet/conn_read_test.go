//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// mixedReader reads a stream with randomly chosen methods and checks the bytes.
type mixedReader struct {
	t    *testing.T
	c    *Conn
	s    zcrxtest.Stream
	rng  *rand.Rand
	got  int
	held []zcrx.Buffer
	most int // leases to hold at most; with all of the share it would wait for itself
}

func (m *mixedReader) expect(p []byte) {
	require.True(m.t, bytes.Equal(m.s.At(m.got, len(p)), p), "at %d", m.got)
	m.got += len(p)
}

// take checks a buffer and releases it now or later.
func (m *mixedReader) take(b zcrx.Buffer) {
	m.expect(b.Bytes())
	m.held = append(m.held, b)
	if len(m.held) > m.rng.Intn(1+m.most) {
		require.NoError(m.t, zcrx.ReleaseAll(m.held))
		m.held = m.held[:0]
	}
}

var errStopped = errors.New("the test stops writing")

// step calls one method that reads.
func (m *mixedReader) step(ctx context.Context) error {
	switch n := m.rng.Intn(20_000); m.rng.Intn(8) {
	case 0:
		b, err := m.c.Recv(ctx)
		if err == nil {
			m.take(b)
		}
		return err
	case 1:
		var batch [5]zcrx.Buffer
		k, err := m.c.RecvBatch(ctx, batch[:1+m.rng.Intn(5)])
		for _, b := range batch[:k] {
			m.take(b)
		}
		return err
	case 2:
		left := m.rng.Intn(4)
		for b, err := range m.c.Buffers(ctx) {
			if err != nil {
				return err
			}
			m.take(b)
			if left--; left < 0 {
				return nil
			}
		}
		return io.EOF
	case 3:
		p := make([]byte, n)
		k, err := m.c.Read(p)
		m.expect(p[:k])
		return err
	case 4:
		p, err := m.c.Peek(ctx, n)
		m.expect(p)
		m.got -= len(p) // Peek does not consume them
		return err
	case 5:
		k, err := m.c.Discard(ctx, n)
		m.got += k
		return err
	case 6:
		for chunk, err := range m.c.Chunks(ctx, n) {
			if err != nil {
				return err
			}
			m.expect(chunk)
			if m.rng.Intn(4) == 0 {
				break
			}
		}
	case 7:
		_, err := m.c.WriteTo(writerFunc(func(p []byte) (int, error) {
			k := m.rng.Intn(len(p) + 1)
			m.expect(p[:k])
			if k < len(p) || m.rng.Intn(3) == 0 {
				return k, errStopped
			}
			return k, nil
		}))
		if err == nil {
			return io.EOF
		}
		return err
	}
	return nil
}

// TestMixedReading reads with all methods, some of which end early because of a context, a
// deadline or a writer's error, and checks that no byte is lost.
func TestMixedReading(t *testing.T) {
	for _, most := range []int{0, 2, 8} {
		withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 64, MaxLeases: most + 1}}, func(t *testing.T, e *Engine) {
			for seed := range int64(3) {
				client, server := connPair(t, e)
				m := &mixedReader{t: t, c: server, s: zcrxtest.NewStream(seed), rng: rand.New(rand.NewSource(seed)), most: most}
				total := zcrxtest.Volume(1 << 20)
				var sending sync.WaitGroup
				sending.Go(func() {
					rng := rand.New(rand.NewSource(seed))
					for sent := 0; sent < total; {
						n := min(1+rng.Intn(1+rng.Intn(30_000)), total-sent)
						_, err := client.Write(m.s.At(sent, n))
						assert.NoError(t, err)
						sent += n
					}
					assert.NoError(t, client.CloseWrite())
				})
				for ended := false; !ended; {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(m.rng.Intn(2000))*time.Microsecond)
					if m.rng.Intn(2) == 0 {
						require.NoError(t, server.SetReadDeadline(time.Now().Add(time.Duration(m.rng.Intn(2000))*time.Microsecond)))
					}
					err := m.step(ctx)
					cancel()
					require.NoError(t, server.SetReadDeadline(time.Time{}))
					switch {
					case err == nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errStopped):
					case errors.Is(err, io.EOF):
						ended = m.got == total // Peek may return io.EOF before
					default:
						require.NoError(t, err)
					}
				}
				require.Equal(t, total, m.got)
				require.NoError(t, zcrx.ReleaseAll(m.held))
				sending.Wait()
				require.NoError(t, client.Close())
				require.NoError(t, server.Close())
			}
		})
	}
}

func TestPeekDiscardChunks(t *testing.T) {
	withConnPair(t, Config{Pool: zcrx.PoolConfig{MaxLeases: 4}}, func(t *testing.T, e *Engine, client, server *Conn) {
		want := zcrxtest.Pattern(41, 200_000)
		go func() {
			for i := range 100 { // one by one, so that each lies in a buffer of its own
				_, err := client.Write(want[i : i+1])
				assert.NoError(t, err)
			}
			_, err := client.Write(want[100:])
			assert.NoError(t, err)
			assert.NoError(t, client.CloseWrite())
		}()
		ctx := t.Context()
		head, err := server.Peek(ctx, 90)
		require.NoError(t, err)
		require.Equal(t, want[:90], head)
		require.Equal(t, 90, cap(head))
		again, err := server.Peek(ctx, 100_000)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[:100_000], again))
		n, err := server.Discard(ctx, 50)
		require.NoError(t, err)
		require.Equal(t, 50, n)
		at := 50
		for chunk, err := range server.Chunks(ctx, 120_000) {
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[at:at+len(chunk)], chunk))
			at += len(chunk)
		}
		require.Equal(t, 120_050, at)
		b, err := server.Recv(ctx)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[at:at+b.Len()], b.Bytes()))
		at += b.Len()
		require.NoError(t, b.Release())
		rest, err := io.ReadAll(server)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want[at:], rest))
		short, err := server.Peek(ctx, 1)
		assert.ErrorIs(t, err, io.EOF)
		assert.Empty(t, short)
	})
}

// TestPeekWithOneLease calls Peek for more bytes than fit in the single lease that the
// connection may have out.
func TestPeekWithOneLease(t *testing.T) {
	withConnPair(t, Config{Pool: zcrx.PoolConfig{MaxLeases: 1}}, func(t *testing.T, e *Engine, client, server *Conn) {
		want := zcrxtest.Pattern(45, 100_000)
		go func() {
			_, err := client.Write(want)
			assert.NoError(t, err)
		}()
		for _, n := range []int{1, 10_000, len(want)} {
			got, err := server.Peek(t.Context(), n)
			require.NoError(t, err)
			require.True(t, bytes.Equal(want[:n], got))
		}
		n, err := server.Discard(t.Context(), len(want))
		require.NoError(t, err)
		assert.Equal(t, len(want), n)
	})
}

// TestReadersTakeTurns has several goroutines read, and checks that each byte goes to one.
func TestReadersTakeTurns(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		const total = 200_000
		go func() {
			_, err := zcrxtest.NewStream(1).Write(client, 0, total)
			assert.NoError(t, err)
			assert.NoError(t, client.CloseWrite())
		}()
		var mu sync.Mutex
		sum := 0
		var all sync.WaitGroup
		for i := range 6 {
			all.Go(func() {
				n := 0
				if i%2 == 0 {
					k, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{server}, make([]byte, 999))
					assert.NoError(t, err)
					n = int(k)
				} else {
					for b, err := range server.Buffers(context.Background()) {
						assert.NoError(t, err)
						n += b.Len()
						assert.NoError(t, b.Release())
					}
				}
				mu.Lock()
				sum += n
				mu.Unlock()
			})
		}
		all.Wait()
		assert.Equal(t, total, sum)
	})
}

func TestImpossibleCounts(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		for _, n := range []int{-1, maxPeek + 1} {
			_, err := server.Peek(t.Context(), n)
			assert.ErrorContains(t, err, "allowed are 0 to 1073741824")
		}
		_, err := server.Discard(t.Context(), -1)
		assert.ErrorContains(t, err, "-1 is out of range")
		n, err := server.RecvBatch(t.Context(), nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		n, err = server.Read(nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		p, err := server.Peek(t.Context(), 0)
		assert.NoError(t, err)
		assert.Empty(t, p)
		k, err := server.Discard(t.Context(), 0)
		assert.NoError(t, err)
		assert.Zero(t, k)
	})
}

// TestResetIsNoEnd checks that a reset is never reported as the end of the stream. Bytes
// before it may be lost.
func TestResetIsNoEnd(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		for i := range 20 {
			peer, c := peerPair(t, e)
			_, err := peer.Write(make([]byte, i*1000))
			require.NoError(t, err)
			require.NoError(t, peer.SetLinger(0))
			require.NoError(t, peer.Close())
			_, err = io.Copy(io.Discard, c)
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			require.NoError(t, c.Close())
		}
	})
}

// TestWriteToAWriterThatFails checks that the bytes that the writer did not take stay in
// the connection.
func TestWriteToAWriterThatFails(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		want := zcrxtest.Pattern(4, 1<<20)
		client, server := connPair(t, e)
		go func() {
			_, err := client.Write(want)
			assert.NoError(t, err)
			assert.NoError(t, client.CloseWrite())
		}()
		var got bytes.Buffer
		failed := errors.New("the writer failed")
		n, err := server.WriteTo(writerFunc(func(p []byte) (int, error) {
			k := min(len(p), 100_001-got.Len())
			got.Write(p[:k])
			if got.Len() == 100_001 {
				return k, failed
			}
			return k, nil
		}))
		assert.ErrorIs(t, err, failed)
		assert.EqualValues(t, 100_001, n)

		// Writers that are closed connections, one of the engine and one of package net.
		peer, c := peerPair(t, e)
		require.NoError(t, c.Close())
		n, err = server.WriteTo(c)
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Zero(t, n)
		peer.Close()
		n, err = server.WriteTo(peer)
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Zero(t, n)

		// A writer that takes the rest.
		a, b := zcrxtest.TCPPair(t)
		all := collect(t, b)
		n, err = server.WriteTo(a)
		require.NoError(t, err)
		assert.EqualValues(t, len(want)-100_001, n)
		a.Close()
		assert.True(t, bytes.Equal(want, append(got.Bytes(), <-all...)))
		b.Close()
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
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
		assert.ErrorContains(t, err, "invalid count")
	}
}

// TestResetThatPeekMetIsNoEnd shows that reading on after a Peek that returned a reset
// returns the bytes before it, and the reset again.
func TestResetThatPeekMetIsNoEnd(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		_, err := peer.Write([]byte("0123456789"))
		require.NoError(t, err)
		p, err := c.Peek(t.Context(), 10)
		require.NoError(t, err)
		require.Len(t, p, 10)
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
		p, err = c.Peek(t.Context(), 100)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Len(t, p, 10)
		n, err := io.Copy(io.Discard, c)
		assert.EqualValues(t, 10, n)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

// TestZeroLengthsAfterClose shows that calls for no bytes fail after Close, as package
// net's do.
func TestZeroLengthsAfterClose(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		require.NoError(t, c.Close())
		_, err := c.Read(nil)
		assert.ErrorIs(t, err, net.ErrClosed, "Read")
		_, err = c.RecvBatch(t.Context(), nil)
		assert.ErrorIs(t, err, net.ErrClosed, "RecvBatch")
		_, err = c.Discard(t.Context(), 0)
		assert.ErrorIs(t, err, net.ErrClosed, "Discard")
		_, err = c.Peek(t.Context(), 0)
		assert.ErrorIs(t, err, net.ErrClosed, "Peek")
		_, err = c.Write(nil)
		assert.ErrorIs(t, err, net.ErrClosed, "Write")
	})
	_, own := zcrxtest.TCPPair(t)
	require.NoError(t, own.Close())
	_, err := own.Read(nil)
	assert.ErrorIs(t, err, net.ErrClosed, "package net")
}

// TestPeekReturnsBytesWithItsError shows that Peek returns the bytes that there are when its
// context or the deadline ends, also if that was before the call.
func TestPeekReturnsBytesWithItsError(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		_, err := peer.Write([]byte("hello"))
		require.NoError(t, err)
		_, err = c.Peek(t.Context(), 5)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		for range 2 { // while it waits, and before
			p, err := c.Peek(ctx, 6)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, "hello", string(p))
		}
		require.NoError(t, c.SetReadDeadline(time.Now().Add(-1)))
		p, err := c.Peek(t.Context(), 6)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, "hello", string(p))
	})
}

// endless is a socket that always has another byte, so that recv never waits. last runs
// when it returns the tenth.
type endless struct {
	socket
	returned int
	last     func()
}

func (s *endless) recv(_ context.Context, dst []zcrx.Buffer, _ *deadline) (int, error) {
	if s.returned++; s.returned == 10 {
		s.last()
	}
	dst[0] = zcrx.NewBuffer([]byte{1})
	return 1, nil
}

// TestPeekEndsWhileDataFlows shows that a context or a deadline ends a Peek for more than is
// there also if it never has to wait for data.
func TestPeekEndsWhileDataFlows(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		for _, want := range []error{context.Canceled, os.ErrDeadlineExceeded} {
			peer, c := peerPair(t, e)
			ctx, cancel := context.WithCancel(t.Context())
			c.setSocket(&endless{socket: c.socket(), last: func() {
				if errors.Is(want, context.Canceled) {
					cancel()
				} else {
					assert.NoError(t, c.SetReadDeadline(time.Unix(1, 0)))
				}
			}})
			p, err := c.Peek(ctx, 1000)
			cancel()
			assert.ErrorIs(t, err, want)
			assert.Len(t, p, 10)
			require.NoError(t, c.Close())
			require.NoError(t, peer.Close())
		}
	})
}

// TestPeekShowsWhatFollows compares what Peek returns with the stream, while other methods
// consume parts of it.
func TestPeekShowsWhatFollows(t *testing.T) {
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 6}}, func(t *testing.T, e *Engine) {
		s := zcrxtest.NewStream(10)
		rng := rand.New(rand.NewSource(1))
		const size = 8 << 20
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		s.Send(t, peer, size)
		p := make([]byte, 1<<18)
		for at := 0; at < size; {
			n := min(rng.Intn(1<<(1+rng.Intn(17))), size-at)
			shown, err := c.Peek(t.Context(), n)
			require.NoError(t, err)
			require.Len(t, shown, n)
			require.Equal(t, n, cap(shown))
			require.True(t, bytes.Equal(s.At(at, n), shown), "Peek of %d at %d", n, at)
			switch rng.Intn(4) {
			case 0:
				k, err := c.Discard(t.Context(), n/2)
				require.NoError(t, err)
				at += k
			case 1:
				k, err := c.Read(p[:1+rng.Intn(len(p))])
				require.NoError(t, err)
				require.True(t, bytes.Equal(s.At(at, k), p[:k]), "Read at %d", at)
				at += k
			case 2:
				b, err := c.Recv(t.Context())
				require.NoError(t, err)
				require.True(t, bytes.Equal(s.At(at, b.Len()), b.Bytes()), "Recv at %d", at)
				at += b.Len()
				require.NoError(t, b.Release())
			}
		}
		_, err := c.Read(p)
		assert.Equal(t, io.EOF, err)
		shown, err := c.Peek(t.Context(), 1)
		assert.Equal(t, io.EOF, err)
		assert.Empty(t, shown)
	})
}
