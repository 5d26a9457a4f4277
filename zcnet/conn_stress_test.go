//go:build linux && cgo

package zcnet

import (
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

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestCloseAmidEverything closes connections while every method runs on them. Every call
// ends with an error that says so, and no lease stays out. It runs for 2s in each mode, or
// ZCRX_STRESS_TIME.
func TestCloseAmidEverything(t *testing.T) {
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 16}}, func(t *testing.T, e *Engine) {
		s := zcrxtest.NewStream(9)
		seed := time.Now().UnixNano()
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewSource(seed))
		for end := time.Now().Add(zcrxtest.StressTime(t)); time.Now().Before(end) && !t.Failed(); {
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
			p, out := make([]byte, 5000), make([]byte, 5000)
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
			until("write", func() error { _, err := c.Write(out); return err })
			until("deadline", func() error { return c.SetReadDeadline(time.Now().Add(time.Millisecond)) })
			until("write deadline", func() error { return c.SetWriteDeadline(time.Now().Add(time.Millisecond)) })
			if e.Mode() != zcrx.Socket {
				loops := e.Group().Loops()
				i := 0
				until("migrate", func() error { i++; return c.Migrate(ctx, loops[i%len(loops)]) })
			}
			if rng.Intn(2) == 0 {
				pause := time.Duration(rng.Intn(2000)) * time.Microsecond
				all.Go(func() {
					time.Sleep(pause)
					_ = c.Handle(func(_ *Conn, buffers []zcrx.Buffer, _ error) { _ = zcrx.ReleaseAll(buffers) })
				})
			}
			time.Sleep(time.Duration(500+rng.Intn(3000)) * time.Microsecond)
			require.NoError(t, c.Close())
			require.NoError(t, peer.Close())
			zcrxtest.Within(t, "a call that was under way", all.Wait)
			zcrxtest.Eventually(t, "nothing is out", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
		}
	})
}
