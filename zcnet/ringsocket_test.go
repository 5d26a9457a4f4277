//go:build linux && cgo

package zcnet

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// Sending without a copy. Over loopback the kernel copies all the same, and reports it.

func zeroCopyEngine() Config { return Config{Loops: 2, SendZeroCopyFrom: 64 << 10} }

// alwaysZeroCopy makes the connection go on sending without a copy although the kernel
// reports that it copies.
func alwaysZeroCopy(c *Conn) {
	if s, ok := c.socket().(*ringSocket); ok {
		s.evenIfCopied = true
	}
}

func TestSendZeroCopyNoticesThatItIsNone(t *testing.T) {
	withEngine(t, zeroCopyEngine(), func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		s := zcrxtest.NewStream(60)
		const total = 4 << 20
		var both sync.WaitGroup
		both.Go(func() { s.AssertRead(t, server, total) })
		_, err := s.Write(client, 0, total)
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		both.Wait()
		if own, ok := client.socket().(*ringSocket); ok {
			assert.True(t, own.copies.Load(), "the kernel reported that it copied")
			assert.False(t, server.socket().(*ringSocket).copies.Load(), "the server sent nothing")
		}
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	})
}

// TestSendZeroCopy sends both ways at a time, large writes without a copy and small ones
// with.
func TestSendZeroCopy(t *testing.T) {
	withEngine(t, zeroCopyEngine(), func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		s := zcrxtest.NewStream(61)
		const total = 6<<20 + 5
		var all sync.WaitGroup
		for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
			alwaysZeroCopy(ends[0])
			all.Go(func() {
				for sent, i := 0, 0; sent < total; i++ {
					n := min([]int{1 << 20, 10, 64 << 10, 3000}[i%4], total-sent)
					v := net.Buffers{s.At(sent, n/2), s.At(sent+n/2, n-n/2)}
					k, err := ends[0].WriteBuffers(v)
					if !assert.NoError(t, err) {
						return
					}
					sent += int(k)
				}
				assert.NoError(t, ends[0].CloseWrite())
			})
			all.Go(func() { s.AssertRead(t, ends[1], total) })
		}
		all.Wait()
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	})
}

// blockedZeroCopy returns a connection with a Write under way whose memory the kernel uses,
// and the channel that gets its error.
func blockedZeroCopy(t *testing.T, e *Engine) (peer *net.TCPConn, c *Conn, ended <-chan error) {
	t.Helper()
	// The peer must be the one that is accepted: listeners of package net use MPTCP, and
	// sending without a copy on what they accept fails (EOPNOTSUPP, seen on Linux 6.18).
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c, err = e.Dial(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	accepted, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	peer = accepted.(*net.TCPConn)
	alwaysZeroCopy(c)
	ended = fillUp(c)
	// All writes go without a copy. When the peer takes no more, one of them waits.
	before := 0
	zcrxtest.Eventually(t, "the kernel uses the writer's memory", func() bool {
		last := before
		before = unsent(t, c)
		return before > 0 && before == last
	})
	return peer, c, ended
}

func TestSendZeroCopyIsEnded(t *testing.T) {
	withEngine(t, zeroCopyEngine(), func(t *testing.T, e *Engine) {
		for range 10 {
			peer, c, ended := blockedZeroCopy(t, e)
			require.NoError(t, c.Close())
			assert.ErrorIs(t, <-ended, net.ErrClosed)
			peer.Close()

			peer, c, ended = blockedZeroCopy(t, e)
			require.NoError(t, peer.SetLinger(0))
			require.NoError(t, peer.Close())
			err := <-ended
			assert.True(t, isReset(err), "%v", err)
			require.NoError(t, c.Close())

			// A deadline ends the write as soon as the peer has taken what the kernel has
			// taken of it. Later writes copy.
			peer, c, ended = blockedZeroCopy(t, e)
			require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Millisecond)))
			drained := make(chan struct{})
			go func() {
				defer close(drained)
				p := make([]byte, 64<<10)
				for {
					if _, err := peer.Read(p); err != nil {
						return
					}
				}
			}()
			assert.ErrorIs(t, <-ended, os.ErrDeadlineExceeded)
			require.NoError(t, c.Close())
			<-drained
			peer.Close()
		}
	})
}

// TestSendZeroCopyWhoseLoopGoes checks that the write returns when its loop is closed.
func TestSendZeroCopyWhoseLoopGoes(t *testing.T) {
	withEngine(t, zeroCopyEngine(), func(t *testing.T, e *Engine) {
		peer, c, ended := blockedZeroCopy(t, e)
		require.NoError(t, e.Close())
		assert.ErrorIs(t, <-ended, net.ErrClosed)
		assert.ErrorIs(t, c.Close(), net.ErrClosed)
		peer.Close()
	})
}
