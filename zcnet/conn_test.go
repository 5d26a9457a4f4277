//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// inEveryConnMode runs the test with an engine of every mode that needs no
// interface, and checks that nothing of it stays.
func inEveryConnMode(t *testing.T, cfg Config, test func(t *testing.T, e *Engine)) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == zcrx.DeviceLess {
				needDeviceLess(t)
			}
			fds, goroutines := zcrxtest.OpenFDs(t), runtime.NumGoroutine()
			cfg.Mode = mode
			if cfg.Pool.NumBuffers == 0 {
				cfg.Pool.NumBuffers = 256
			}
			e, err := NewEngine(t.Context(), cfg)
			require.NoError(t, err)
			test(t, e)
			s := e.Stats()
			require.NoError(t, e.Close())
			assert.Equal(t, mode, e.Mode())
			assert.Zero(t, s.Connections, "the test closes its connections")
			assert.Zero(t, s.Group.Total.Outstanding)
			zcrxtest.Settled(t, fds, goroutines)
		})
	}
}

// needDeviceLess skips the test where the kernel or the process lacks it.
func needDeviceLess(t testing.TB) {
	t.Helper()
	f := zcrx.FeatureDeviceLess
	skip.Unless(t, f.String(), f.MinKernel(), zcrx.Have(f))
}

// connPair is a connection of the engine with itself.
func connPair(t testing.TB, e *Engine) (client, server *Conn) {
	t.Helper()
	ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	client, err = e.Dial(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	server, err = ln.AcceptConn(t.Context())
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return client, server
}

func TestConnBothWays(t *testing.T) {
	inEveryConnMode(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		assert.Equal(t, client.LocalAddr().String(), server.RemoteAddr().String())
		assert.Equal(t, client.RemoteAddr().String(), server.LocalAddr().String())
		want := zcrxtest.Pattern(40, 3<<20)
		go func() { // echo
			_, err := io.Copy(server, server)
			assert.NoError(t, err)
			assert.NoError(t, server.CloseWrite())
		}()
		go func() {
			n, err := client.WriteBuffers(net.Buffers{want[:1], nil, want[1:5000], want[5000:]})
			assert.NoError(t, err)
			assert.EqualValues(t, len(want), n)
			assert.NoError(t, client.CloseWrite())
		}()
		var got []byte
		for b, err := range client.Buffers(t.Context()) {
			require.NoError(t, err)
			got = append(got, b.Bytes()...)
			require.NoError(t, b.Release())
		}
		require.True(t, bytes.Equal(want, got), "%d bytes", len(got))
	})
}

func TestPeekDiscardChunks(t *testing.T) {
	inEveryConnMode(t, Config{Pool: zcrx.PoolConfig{MaxLeases: 4}}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		want := zcrxtest.Pattern(41, 200_000)
		go func() {
			for i := range 100 { // one by one, so that they lie in leases of their own
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

func TestHandler(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		want := zcrxtest.Pattern(42, 1<<20)
		_, err := client.Write(want[:10])
		require.NoError(t, err)
		head, err := server.Peek(t.Context(), 5)
		require.NoError(t, err)
		require.Equal(t, want[:5], head)
		var got []byte
		ended := make(chan error)
		require.NoError(t, server.Handle(func(c *Conn, buffers []zcrx.Buffer, err error) {
			if err != nil {
				_ = c.Close()
				ended <- err
				return
			}
			for _, b := range buffers {
				got = append(got, b.Bytes()...)
			}
			assert.NoError(t, zcrx.ReleaseAll(buffers))
		}))
		_, err = server.Recv(context.Background())
		assert.ErrorContains(t, err, "a Handler takes the connection's bytes")
		_, err = client.Write(want[10:])
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		require.Equal(t, io.EOF, <-ended)
		require.True(t, bytes.Equal(want, got))
	})
}

// TestEngineCloseBehindListenerClose: a listener that its user has closed, and whose
// connections are still open, is no error of the engine's Close.
func TestEngineCloseBehindListenerClose(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		other, err := NewEngine(t.Context(), Config{Mode: e.Mode(), Pool: zcrx.PoolConfig{NumBuffers: 64}})
		require.NoError(t, err)
		client, server := connPair(t, other)
		require.NoError(t, other.Close())
		assert.ErrorIs(t, client.Close(), net.ErrClosed)
		assert.ErrorIs(t, server.Close(), net.ErrClosed)
	})
}
