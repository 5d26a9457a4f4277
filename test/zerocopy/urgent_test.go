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

// TestUrgentPackets would make the kernel panic if they reached TCP with their payload in
// a pool. They are dropped, and hold up nobody but their sender: on a socket taken over,
// and on an accepted one before anybody has accepted it.
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
		a := newAudience(t, w)
		var out *net.TCPConn
		require.NoError(t, w.inPeer(func() (err error) {
			out, err = net.DialTCP("tcp", nil, a.to)
			return err
		}))
		sendUrgent(t, out)
		time.Sleep(100 * time.Millisecond)
		in, err := a.l.AcceptConn(t.Context())
		require.NoError(t, err)
		a.read(1 << 20)
		require.NoError(t, in.Close())
		require.NoError(t, out.SetLinger(0))
		require.NoError(t, out.Close())
	})
}
