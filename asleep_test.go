//go:build linux && cgo

package zcrx

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestSleepersAreWoken imitates a receive that sleeps although bytes wait: the socket's
// low-water mark is 1000 bytes, so it reports none. Only sleepWatch can wake the receive.
func TestSleepersAreWoken(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	p := openTestPool(t, l, Provided, PoolConfig{NumBuffers: 16})
	users := p.users()
	require.NoError(t, l.do(func() error { users.sleeps.on = true; return nil }))
	peer, r := newTestReceiver(t, p)
	require.NoError(t, unix.SetsockoptInt(r.socket.fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 1000))
	want := pattern(5, 2010)
	send := func(from, to int) {
		t.Helper()
		_, err := peer.Write(want[from:to])
		require.NoError(t, err)
	}
	receive := func(from, to int) {
		t.Helper()
		for from < to {
			b, err := r.Recv(t.Context())
			require.NoError(t, err)
			require.Equal(t, want[from:from+b.Len()], b.Bytes())
			from += b.Len()
			require.NoError(t, b.Release())
		}
	}
	watched := func() (n int) {
		require.NoError(t, l.do(func() error { n = len(users.sleeps.watched); return nil }))
		return n
	}
	send(0, 1000)
	receive(0, 1000)
	send(1000, 1010)
	receive(1000, 1010)
	assert.Equal(t, 1, watched())
	// A receiver without data is removed, and added again with its next bytes.
	require.Eventually(t, func() bool { return watched() == 0 }, 10*time.Second, sleepCheck)
	send(1010, 2010)
	receive(1010, 2010)
	assert.Equal(t, 1, watched())
	require.NoError(t, r.Close())
	assert.Zero(t, watched())
}
