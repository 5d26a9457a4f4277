//go:build linux && cgo

package zcnet

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestSocketOptions sets every option and reads it back from the kernel.
func TestSocketOptions(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		for _, c := range []*Conn{client, server} {
			raw, err := c.SyscallConn()
			require.NoError(t, err)
			get := func(level, option int) (value int) {
				require.NoError(t, raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, option) }))
				require.NoError(t, err)
				return value
			}
			assert.Equal(t, 1, get(unix.IPPROTO_TCP, unix.TCP_NODELAY), "the default of package net")
			assert.Equal(t, 1, get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
			assert.Equal(t, 15, get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
			assert.Equal(t, 15, get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL))
			assert.Equal(t, 9, get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))

			require.NoError(t, c.SetNoDelay(false))
			assert.Equal(t, 0, get(unix.IPPROTO_TCP, unix.TCP_NODELAY))
			require.NoError(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 1500 * time.Millisecond, Interval: 7 * time.Second, Count: 3}))
			assert.Equal(t, 2, get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
			assert.Equal(t, 7, get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL))
			assert.Equal(t, 3, get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))
			require.NoError(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1}))
			assert.Equal(t, 0, get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
			assert.Equal(t, 2, get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), "a negative value changes nothing")
			require.NoError(t, c.SetKeepAlive(true))
			assert.Equal(t, 1, get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
			require.NoError(t, c.SetReadBuffer(10_000))
			assert.Equal(t, 20_000, get(unix.SOL_SOCKET, unix.SO_RCVBUF), "Linux doubles it")
			require.NoError(t, c.SetWriteBuffer(10_000))
			assert.Equal(t, 20_000, get(unix.SOL_SOCKET, unix.SO_SNDBUF))

			linger := func() (l *unix.Linger) {
				require.NoError(t, raw.Control(func(fd uintptr) { l, err = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER) }))
				require.NoError(t, err)
				return l
			}
			require.NoError(t, c.SetLinger(3))
			assert.Equal(t, unix.Linger{Onoff: 1, Linger: 3}, *linger())
			require.NoError(t, c.SetLinger(-1))
			assert.Zero(t, linger().Onoff)
		}
		// With linger 0 Close resets the connection.
		require.NoError(t, client.SetLinger(0))
		require.NoError(t, client.Close())
		_, err := server.Recv(t.Context())
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}
