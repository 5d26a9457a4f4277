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
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// TestReviewCloseAmidEverything: whatever is under way when a connection is closed ends,
// with an error that says so, and nothing stays out.
func TestReviewCloseAmidEverything(t *testing.T) {
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 16}}, func(t *testing.T, e *Engine) {
		s := zcrxtest.NewStream(9)
		rnd := rand.New(rand.NewSource(time.Now().UnixNano()))
		for end := time.Now().Add(6 * time.Second); time.Now().Before(end) && !t.Failed(); {
			peer, c := peerPair(t, e)
			var all sync.WaitGroup
			all.Go(func() { _, _ = s.Write(peer, 0, 1<<30) })
			all.Go(func() { _, _ = io.Copy(io.Discard, peer) })
			ctx := context.Background()
			until := func(what string, fn func() error) {
				all.Go(func() {
					for {
						err := fn()
						if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
							continue
						}
						if err != nil {
							assert.True(t, errors.Is(err, net.ErrClosed) || errors.Is(err, errHandled), "%s: %v", what, err)
							return
						}
					}
				})
			}
			p := make([]byte, 5000)
			until("read", func() error { _, err := c.Read(p); return err })
			until("recv", func() error {
				short, cancel := context.WithTimeout(ctx, 50*time.Microsecond)
				defer cancel()
				b, err := c.Recv(short)
				_ = b.Release()
				return err
			})
			until("batch", func() error {
				var dst [5]zcrx.Buffer
				n, err := c.RecvBatch(ctx, dst[:])
				_ = zcrx.ReleaseAll(dst[:n])
				return err
			})
			until("peek", func() error { _, err := c.Peek(ctx, 20_000); return err })
			until("chunks", func() error {
				for _, err := range c.Chunks(ctx, 10_000) {
					if err != nil {
						return err
					}
				}
				return nil
			})
			until("write", func() error { _, err := c.Write(p); return err })
			until("deadline", func() error { return c.SetReadDeadline(time.Now().Add(time.Millisecond)) })
			until("write deadline", func() error { return c.SetWriteDeadline(time.Now().Add(time.Millisecond)) })
			if e.Mode() != zcrx.Socket {
				loops := e.Group().Loops()
				i := 0
				until("migrate", func() error { i++; return c.Migrate(ctx, loops[i%len(loops)]) })
			}
			if rnd.Intn(2) == 0 {
				pause := time.Duration(rnd.Intn(2000)) * time.Microsecond
				all.Go(func() {
					time.Sleep(pause)
					_ = c.Handle(func(_ *Conn, buffers []zcrx.Buffer, _ error) { _ = zcrx.ReleaseAll(buffers) })
				})
			}
			time.Sleep(time.Duration(500+rnd.Intn(3000)) * time.Microsecond)
			require.NoError(t, c.Close())
			require.NoError(t, peer.Close())
			done := make(chan struct{})
			go func() { all.Wait(); close(done) }()
			select {
			case <-done:
			case <-time.After(zcrxtest.Patience):
				panic("something does not end")
			}
			zcrxtest.Eventually(t, "nothing is out", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
		}
	})
}

// TestReviewPeekShows what follows, whoever reads otherwise in between, byte for byte.
func TestReviewPeekShows(t *testing.T) {
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 6}}, func(t *testing.T, e *Engine) {
		s := zcrxtest.NewStream(10)
		rnd := rand.New(rand.NewSource(1))
		const size = 24 << 20
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		s.Send(t, peer, size)
		at := 0
		p := make([]byte, 1<<18)
		for at < size {
			n := min(rnd.Intn(1<<(1+rnd.Intn(17))), size-at)
			shown, err := c.Peek(t.Context(), n)
			require.NoError(t, err)
			require.Len(t, shown, n)
			require.Equal(t, n, cap(shown))
			require.True(t, bytes.Equal(s.At(at, n), shown), "peek %d at %d", n, at)
			switch rnd.Intn(4) {
			case 0:
				k, err := c.Discard(t.Context(), n/2)
				require.NoError(t, err)
				at += k
			case 1:
				k, err := c.Read(p[:1+rnd.Intn(len(p))])
				if at < size {
					require.NoError(t, err)
				}
				require.True(t, bytes.Equal(s.At(at, k), p[:k]), "read")
				at += k
			case 2:
				if at == size {
					continue
				}
				b, err := c.Recv(t.Context())
				require.NoError(t, err)
				require.True(t, bytes.Equal(s.At(at, b.Len()), b.Bytes()), "recv")
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
