package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func TestReceive(t *testing.T) {
	dir := t.TempDir()
	address := exampletest.Serve(t, run, "-dir", dir)
	want := exampletest.Bytes(5<<20 + 3)
	for i, name := range []string{"received-1", "received-2"} {
		part := want[i*1000:]
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		_, err = conn.Write(part)
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		_, err = io.ReadAll(conn) // wait until the file is complete
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(part, got), "%d bytes", len(got))
	}
}
