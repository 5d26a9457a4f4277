//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/uring"
)

// TestMigrate takes both ends of a connection round and round between loops while
// they echo.
func TestMigrate(t *testing.T) {
	inEveryConnMode(t, Config{Loops: 3}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		if e.Mode() == zcrx.Socket {
			assert.ErrorContains(t, client.Migrate(t.Context(), nil), "a connection in mode socket is on no loop")
			assert.Nil(t, client.Loop())
			return
		}
		stranger, err := zcrx.NewLoop(zcrx.LoopConfig{})
		require.NoError(t, err)
		assert.ErrorContains(t, client.Migrate(t.Context(), stranger), "the loop is none of the engine's 3")
		require.NoError(t, stranger.Close())

		for _, l := range e.Group().Loops() {
			require.NoError(t, client.Migrate(t.Context(), l))
			require.Same(t, l, client.Loop())
		}

		want := zcrxtest.Pattern(50, 4<<20)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := io.Copy(server, server)
			assert.NoError(t, err)
			assert.NoError(t, server.CloseWrite())
		})
		wg.Go(func() {
			for at := 0; at < len(want); {
				n, err := client.Write(want[at:min(len(want), at+30_000)])
				if !assert.NoError(t, err) {
					return
				}
				at += n
			}
			assert.NoError(t, client.CloseWrite())
		})
		for i, c := range []*Conn{client, server} {
			wg.Go(func() {
				loops := e.Group().Loops()
				for n := i; ; n++ {
					if err := c.Migrate(context.Background(), loops[n%3]); err != nil {
						assert.ErrorIs(t, err, io.EOF)
						assert.Greater(t, n, 2)
						return
					}
				}
			})
		}
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "%d of %d bytes", len(got), len(want))
		wg.Wait()
	})
}

func TestMigrateEnds(t *testing.T) {
	inEveryConnMode(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return
		}
		client, server := connPair(t, e)
		loops := e.Group().Loops()
		require.NoError(t, loops[0].Do(t.Context(), func(*uring.Ring) error {
			assert.ErrorIs(t, server.Migrate(t.Context(), loops[1]), ErrWouldBlock)
			return nil
		}))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		server.writing <- struct{}{} // as a Write under way
		assert.ErrorIs(t, server.Migrate(ended, loops[0]), context.Canceled)
		server.writing.leave()
		require.NoError(t, loops[1].Close())
		// It is on that loop, or moves there and finds out: the connection ends.
		assert.ErrorIs(t, client.Migrate(t.Context(), loops[1]), net.ErrClosed)
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		assert.ErrorIs(t, server.Migrate(t.Context(), loops[0]), net.ErrClosed)
	})
}
