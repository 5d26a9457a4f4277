//go:build linux && cgo

package zcrx

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReviewShareIsKept with small messages, by a consumer that takes and keeps, and by one
// that takes half, sleeps, and takes the rest.
func TestReviewShareIsKept(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const share = 32
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: 1024, MaxLeases: share})
		peer, r := newTestReceiver(t, p)
		require.NoError(t, peer.SetNoDelay(true))
		stop := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_ = peer.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				_, _ = peer.Write([]byte{byte(i)})
			}
		}()
		most, total := 0, 0
		for range 300 {
			var held []Buffer
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				b, err := r.Recv(ctx)
				cancel()
				if err != nil {
					break
				}
				held = append(held, b)
				if len(held)%16 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			most = max(most, len(held), p.Stats().Outstanding)
			total += len(held)
			require.NoError(t, ReleaseAll(held))
		}
		close(stop)
		<-done
		t.Logf("at most %d leases out, of a share of %d; %d in all", most, share, total)
		assert.Less(t, most, 2*share)
		assert.Greater(t, total, 300*share/2)
	})
}

// TestReviewNetResetBehindWrite is what package net does in TestReviewResetBehindWrite.
func TestReviewNetResetBehindWrite(t *testing.T) {
	peer, c := tcpPair(t)
	defer c.Close()
	_, err := peer.Write([]byte("0123456789"))
	require.NoError(t, err)
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	eventually(t, "a write meets it", func() bool { _, err = c.Write([]byte{1}); return err != nil })
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	b := make([]byte, 100)
	n, err := c.Read(b)
	t.Logf("net: %d, %v", n, err)
	n, err = c.Read(b)
	t.Logf("net: %d, %v", n, err)
}
