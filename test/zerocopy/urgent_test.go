//go:build nic

package zerocopy

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
)

// TestUrgentPackets sends packets that make the kernel panic if they reach TCP with their
// payload in a pool. The library must drop them, on a socket that a receiver has taken over
// and on one that is not yet accepted, and other connections must not be affected.
func TestUrgentPackets(t *testing.T) {
	sendUrgent := func(t *testing.T, out *net.TCPConn) {
		t.Helper()
		raw, err := out.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) { err = unix.Send(int(fd), []byte{'!'}, unix.MSG_OOB) }))
		require.NoError(t, err)
	}
	t.Run("receiver", func(t *testing.T) {
		w := newWire(t)
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
		c := w.connect(1)
		r, err := zcrx.NewReceiver(pool, c.in)
		require.NoError(t, err)
		sendUrgent(t, c.out)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		_, err = r.Recv(ctx)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		require.NoError(t, transfer(t, w.connect(1), pool, 1<<20))
		require.NoError(t, r.Close())
	})
	t.Run("listener", func(t *testing.T) {
		w := newWire(t)
		srv := newServer(t, w)
		var out *net.TCPConn
		require.NoError(t, w.inPeer(func() (err error) {
			out, err = net.DialTCP("tcp", nil, srv.to)
			return err
		}))
		sendUrgent(t, out)
		time.Sleep(100 * time.Millisecond)
		in, err := srv.l.AcceptConn(t.Context())
		require.NoError(t, err)
		srv.read(1 << 20)
		require.NoError(t, in.Close())
		require.NoError(t, out.SetLinger(0))
		require.NoError(t, out.Close())
	})
}
