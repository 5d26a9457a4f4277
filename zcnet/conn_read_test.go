//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// What takes a connection's bytes, in any mixture, against the bytes that were sent.

// mixedReader reads with whatever method comes.
type mixedReader struct {
	t    *testing.T
	c    *Conn
	s    zcrxtest.Stream
	rng  *rand.Rand
	got  int
	held []zcrx.Buffer
	most int // leases that it may hold: with all that there may be it would wait for itself
}

func (m *mixedReader) expect(p []byte) {
	require.True(m.t, bytes.Equal(m.s.At(m.got, len(p)), p), "at %d", m.got)
	m.got += len(p)
}

// take checks a lease, and releases it now or later.
func (m *mixedReader) take(b zcrx.Buffer) {
	m.expect(b.Bytes())
	m.held = append(m.held, b)
	if len(m.held) > m.rng.Intn(1+m.most) {
		require.NoError(m.t, zcrx.ReleaseAll(m.held))
		m.held = m.held[:0]
	}
}

var errStopped = errors.New("the test's writer has had enough")

// step reads something.
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
		m.got -= len(p) // they are still to come
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

// TestMixedReading loses nothing, whatever ends early.
func TestMixedReading(t *testing.T) {
	for _, most := range []int{0, 2, 8} {
		inEveryConnMode(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 64, MaxLeases: most + 1}}, func(t *testing.T, e *Engine) {
			for seed := range int64(3) {
				client, server := connPair(t, e)
				m := &mixedReader{t: t, c: server, s: zcrxtest.NewStream(seed), rng: rand.New(rand.NewSource(seed)), most: most}
				const total = 1 << 20
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
						ended = m.got == total // a Peek meets it before
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

// TestReadersTakeTurns: of many, each byte has one.
func TestReadersTakeTurns(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
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
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
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

// TestDeadlineMovesWhileItIsWaitedFor, by whichever method, and by a context that ends
// at the same time.
func TestDeadlineMovesWhileItIsWaitedFor(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		for i := range 50 {
			require.NoError(t, server.SetReadDeadline(time.Time{}))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				_, err := server.Recv(ctx)
				ended <- err
			}()
			var both sync.WaitGroup
			both.Go(func() {
				assert.NoError(t, server.SetReadDeadline(time.Now().Add(time.Hour)))
				assert.NoError(t, server.SetReadDeadline(time.Time{}))
			})
			if i%2 == 0 {
				both.Go(cancel)
				assert.ErrorIs(t, <-ended, context.Canceled)
			} else {
				both.Wait()
				assert.NoError(t, server.SetReadDeadline(time.Now().Add(time.Millisecond)))
				assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
			}
			both.Wait()
			cancel()
		}
		require.NoError(t, server.SetReadDeadline(time.Time{}))
		_, err := client.Write([]byte("x"))
		require.NoError(t, err)
		b, err := server.Recv(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "x", string(b.Bytes()))
		require.NoError(t, b.Release())
	})
}

func TestCloseRead(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		_, err := client.Write([]byte("before"))
		require.NoError(t, err)
		head, err := server.Peek(t.Context(), 6)
		require.NoError(t, err)
		require.NoError(t, server.CloseRead())
		assert.Equal(t, "before", string(head))
		rest, err := io.ReadAll(server)
		require.NoError(t, err)
		assert.Equal(t, "before", string(rest))
		_, err = server.Write([]byte("the other way"))
		require.NoError(t, err)
		got, err := client.Peek(t.Context(), 13)
		require.NoError(t, err)
		assert.Equal(t, "the other way", string(got))
	})
}

// TestResetIsNoEnd: what came before may be lost, but it is never taken for the end.
func TestResetIsNoEnd(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
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

// TestPeekWithOneLease peeks at more than the only lease that may be out has.
func TestPeekWithOneLease(t *testing.T) {
	inEveryConnMode(t, Config{Pool: zcrx.PoolConfig{MaxLeases: 1}}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
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
