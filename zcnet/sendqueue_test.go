//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The deadline wakes the fiber that waits, on its loop, also after a move.
func TestWriteDeadlineAfterMigrate(t *testing.T) {
	e := ringEngine(t, Config{Loops: 2})
	loops := e.Group().Loops()
	big := make([]byte, 16<<20)
	address, stop := serve(t, e, func(c *Conn) {
		for i := range 6 {
			to := loops[i%2]
			assert.NoError(t, c.SetWriteDeadline(time.Time{}))
			assert.NoError(t, c.Migrate(context.Background(), to))
			ended := make(chan struct{})
			assert.NoError(t, c.Go(func(c *Conn) {
				defer close(ended)
				assert.NoError(t, c.SetWriteDeadline(time.Now().Add(5*time.Millisecond)))
				_, err := c.Write(big)
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
			}))
			Await(func() { <-ended })
		}
	})
	peer := dialNet(t, address)
	defer peer.Close()
	require.Eventually(t, func() bool { return e.Stats().Fibers.Started > 0 }, time.Minute, time.Millisecond)
	within(t, "the fiber", func() {
		for e.Stats().Fibers.Open > 0 {
			time.Sleep(time.Millisecond)
		}
	})
	peer.Close()
	stop()
}

// CloseWrite ends the stream behind what was written before: a later Write fails at once, also
// while that is unsent.
func TestWriteBehindCloseWrite(t *testing.T) {
	e := ringEngine(t, Config{Loops: 1})
	address, stop := serve(t, e, func(c *Conn) {
		_, err := c.Write([]byte("last"))
		assert.NoError(t, err)
		assert.NoError(t, c.CloseWrite())
		_, err = c.Write([]byte("later"))
		assert.ErrorIs(t, err, syscall.EPIPE)
	})
	peer := dialNet(t, address)
	defer peer.Close()
	got, err := io.ReadAll(peer)
	require.NoError(t, err)
	assert.Equal(t, "last", string(got))
	stop()
}
