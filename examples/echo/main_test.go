package main

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func TestEcho(t *testing.T) {
	conn, err := net.Dial("tcp", exampletest.Serve(t, run))
	require.NoError(t, err)
	defer conn.Close()
	want := exampletest.Bytes(3<<20 + 1)
	go func() {
		_, err := conn.Write(want)
		assert.NoError(t, err)
		assert.NoError(t, conn.(*net.TCPConn).CloseWrite())
	}()
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "%d bytes", len(got))
}
