package main

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

// TestEcho lets some connections send more than sockets hold before they read anything, so
// that the handler cannot write all of it at once.
func TestEcho(t *testing.T) {
	address := exampletest.Serve(t, run)
	want := exampletest.Bytes(16 << 20)
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			conn, err := net.Dial("tcp", address)
			if !assert.NoError(t, err) {
				return
			}
			defer conn.Close()
			ahead := i % 2 * len(want) / 2
			_, err = conn.Write(want[:ahead])
			assert.NoError(t, err)
			go func() {
				_, err := conn.Write(want[ahead:])
				assert.NoError(t, err)
				assert.NoError(t, conn.(*net.TCPConn).CloseWrite())
			}()
			got, err := io.ReadAll(conn)
			assert.NoError(t, err)
			assert.True(t, bytes.Equal(want, got), "%d bytes", len(got))
		})
	}
	all.Wait()
}

// TestPeersReset checks that the server still works after connections were reset.
func TestPeersReset(t *testing.T) {
	address := exampletest.Serve(t, run)
	for range 10 {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = conn.Write(exampletest.Bytes(100_000))
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
		require.NoError(t, conn.Close())
	}
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	_, err = conn.Write([]byte("still there?"))
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "still there?", string(got))
	require.NoError(t, conn.Close())
}
