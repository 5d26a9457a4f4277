//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newTestSocketReceiver(t *testing.T, cfg PoolConfig) (*net.TCPConn, *SocketReceiver) {
	t.Helper()
	p, err := NewSocketPool(cfg)
	require.NoError(t, err)
	peer, conn := tcpPair(t)
	r, err := NewSocketReceiver(p, conn)
	require.NoError(t, err)
	return peer, r
}

func TestSocketReceiver(t *testing.T) {
	peer, r := newTestSocketReceiver(t, PoolConfig{NumBuffers: 4, BufferSizeHint: 1 << 16, MaxLeases: 2})
	p := r.Pool()
	assert.Equal(t, []int{4, 1 << 16, 2}, []int{p.NumBuffers(), p.BufferSize(), p.MaxLeases()})
	want := pattern(92, 1<<20)
	send(t, peer, want)
	var got []byte
	for {
		b, err := r.Recv(t.Context())
		if err != nil {
			assert.Equal(t, io.EOF, err)
			break
		}
		got = append(got, b.Bytes()...)
		require.NoError(t, b.Release())
	}
	assert.Equal(t, want, got)
	require.NoError(t, r.Close())
	_, err := r.Recv(t.Context())
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.ErrorIs(t, r.Close(), net.ErrClosed)
	assert.Zero(t, p.Stats().Outstanding)
}

// TestSocketReceiverWaits ends each wait of a SocketReceiver in each way: the wait for
// data, for its share, and for a buffer.
func TestSocketReceiverWaits(t *testing.T) {
	for name, out := range map[string]struct{ own, others int }{"data": {0, 0}, "share": {2, 0}, "buffer": {0, 4}} {
		t.Run(name, func(t *testing.T) {
			peer, r := newTestSocketReceiver(t, PoolConfig{NumBuffers: 4, MaxLeases: 2})
			defer r.Close()
			ctx := t.Context()
			held := map[string][]Buffer{}
			if name != "data" {
				_, err := peer.Write([]byte("data"))
				require.NoError(t, err)
			}
			for range out.own {
				b, err := r.Recv(ctx)
				require.NoError(t, err)
				held[name] = append(held[name], b)
				_, err = peer.Write([]byte("more"))
				require.NoError(t, err)
			}
			for range out.others {
				var b socketBuffer
				require.True(t, r.pool.tryBorrow(&b))
				held[name] = append(held[name], r.pool.leaseTo(&share{limit: 4}, &b, 1))
			}
			for range 3 {
				ended, cancel := context.WithTimeout(ctx, time.Millisecond)
				_, err := r.Recv(ended)
				cancel()
				assert.ErrorIs(t, err, context.DeadlineExceeded)

				recv := make(chan error)
				go func() {
					_, err := r.Recv(context.Background())
					recv <- err
				}()
				time.Sleep(time.Millisecond) // it may or may not wait already
				require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Hour)))
				require.NoError(t, r.SetReadDeadline(time.Now().Add(time.Millisecond)))
				assert.ErrorIs(t, <-recv, os.ErrDeadlineExceeded)
				require.NoError(t, r.SetReadDeadline(time.Time{}))
			}
			recv := make(chan error)
			for range 2 {
				go func() {
					b, err := r.Recv(context.Background())
					_ = b.Release()
					recv <- err
				}()
				if len(held[name]) == 0 {
					_ = r.Close() // the second time it is closed already
					assert.ErrorIs(t, <-recv, net.ErrClosed)
					continue
				}
				require.NoError(t, ReleaseAll(held[name]))
				assert.NoError(t, <-recv, "what it waited for has come")
				held[name] = nil
			}
		})
	}
}

// TestSocketReceiverReportsResetAgain shows that each Recv after a reset returns it, as a
// Receiver's does. The kernel reports it once.
func TestSocketReceiverReportsResetAgain(t *testing.T) {
	peer, r := newTestSocketReceiver(t, PoolConfig{NumBuffers: 4})
	defer r.Close()
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	for range 2 {
		_, err := r.Recv(t.Context())
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	}
}

// TestSocketReceiverKeepsItsContext shows that reads under one context do not allocate for it, that
// a new context takes the place of the old one, and that Close lets go of it.
func TestSocketReceiverKeepsItsContext(t *testing.T) {
	peer, r := newTestSocketReceiver(t, PoolConfig{NumBuffers: 4})
	first, end := context.WithCancel(t.Context())
	data := []byte("data")
	receive := func(ctx context.Context) {
		_, err := peer.Write(data)
		require.NoError(t, err)
		b, err := r.Recv(ctx)
		require.NoError(t, err)
		require.NoError(t, b.Release())
	}
	receive(first)
	without := testing.AllocsPerRun(100, func() { // 0, but package context allocates under a sanitizer
		receive(context.Background())
		_, _ = first.Done(), first.Err()
	})
	assert.InDelta(t, without, testing.AllocsPerRun(100, func() { receive(first) }), 0)

	end() // while no read waits, and for a context that later reads do not have
	receive(t.Context())
	_, err := r.Recv(first)
	require.ErrorIs(t, err, context.Canceled)
	receive(t.Context())
	require.NoError(t, r.Close())
	assert.Nil(t, r.unwatch)
	_, err = r.Recv(t.Context())
	require.ErrorIs(t, err, net.ErrClosed)
	assert.Nil(t, r.unwatch)
}

// TestSocketReceiverContextsEndAnyTime lets contexts end before, in and after reads of a
// stream, some of which are used for several reads. Every byte arrives in order.
func TestSocketReceiverContextsEndAnyTime(t *testing.T) {
	peer, r := newTestSocketReceiver(t, PoolConfig{NumBuffers: 4, BufferSizeHint: 4096})
	defer r.Close()
	want := pattern(93, 1<<20)
	go func() {
		for piece := range slices.Chunk(want, 1<<10) {
			_, err := peer.Write(piece)
			assert.NoError(t, err)
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			}
		}
		assert.NoError(t, peer.CloseWrite())
	}()
	var got []byte
	for ended := false; !ended; {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(300))*time.Microsecond)
		for range 1 + rand.IntN(4) {
			b, err := r.Recv(ctx)
			got = append(got, b.Bytes()...)
			require.NoError(t, b.Release())
			if errors.Is(err, io.EOF) {
				ended = true
				break
			}
			if err != nil {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
		}
		cancel()
	}
	assert.True(t, bytes.Equal(want, got), "%d of %d bytes", len(got), len(want))
}
