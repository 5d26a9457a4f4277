package main

import (
	"encoding/binary"
	"hash/crc32"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", exampletest.Serve(t, run))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	return conn
}

// TestMessages sends messages of many sizes in one stream, whose writes end anywhere.
func TestMessages(t *testing.T) {
	conn := dial(t)
	data := exampletest.Bytes(8 << 20)
	sizes := []int{0, 1, 3, 4, 5, 4096, 65_535, 0, 1_000_003, len(data), 7}
	var stream []byte
	for _, size := range sizes {
		stream = binary.BigEndian.AppendUint32(stream, uint32(size))
		stream = append(stream, data[:size]...)
	}
	go func() {
		for _, b := range stream[:100] { // so that headers arrive in pieces too
			_, err := conn.Write([]byte{b})
			assert.NoError(t, err)
		}
		_, err := conn.Write(stream[100:])
		assert.NoError(t, err)
		assert.NoError(t, conn.(*net.TCPConn).CloseWrite())
	}()
	for _, size := range sizes {
		var answer [4]byte
		_, err := io.ReadFull(conn, answer[:])
		require.NoError(t, err)
		assert.Equal(t, crc32.ChecksumIEEE(data[:size]), binary.BigEndian.Uint32(answer[:]), "%d bytes", size)
	}
	rest, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Empty(t, rest)
}

// TestTooLarge checks that the server closes a connection that announces a message longer
// than maxMessage.
func TestTooLarge(t *testing.T) {
	conn := dial(t)
	_, err := conn.Write(binary.BigEndian.AppendUint32(nil, maxMessage+1))
	require.NoError(t, err)
	rest, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Empty(t, rest)
}
