package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

func dial(t *testing.T, args ...string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", exampletest.Serve(t, run, args...))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // a test may have closed it
	return conn.(*net.TCPConn)
}

// TestSums sends many lines at once, and some byte by byte.
func TestSums(t *testing.T) {
	conn := dial(t)
	const lines = 10_000
	go func() {
		for _, b := range []byte("1 2 3\n\n-4\n  5  \n") {
			_, err := conn.Write([]byte{b})
			assert.NoError(t, err)
		}
		out := bufio.NewWriter(conn)
		for i := range lines {
			fmt.Fprintf(out, "%d 1 %d\n", i, i)
		}
		assert.NoError(t, out.Flush())
		assert.NoError(t, conn.CloseWrite())
	}()
	answers := bufio.NewScanner(conn)
	for _, want := range []string{"6", "0", "-4", "5"} {
		require.True(t, answers.Scan())
		assert.Equal(t, want, answers.Text())
	}
	for i := range lines {
		require.True(t, answers.Scan(), "line %d", i)
		require.Equal(t, fmt.Sprint(2*i+1), answers.Text())
	}
	assert.False(t, answers.Scan())
	assert.NoError(t, answers.Err())
}

func TestNotANumber(t *testing.T) {
	conn := dial(t)
	_, err := conn.Write([]byte("1 two\n3\n"))
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.Equal(t, "error: strconv.ParseInt: parsing \"two\": invalid syntax\n3\n", string(got))
}

// TestLongLine checks that a line that has no end ends the connection.
func TestLongLine(t *testing.T) {
	conn := dial(t)
	_, err := conn.Write(bytes.Repeat([]byte{'1'}, maxLine+1))
	require.NoError(t, err)
	got, _ := io.ReadAll(conn) // a reset if the server had not read all of it
	assert.Empty(t, got)
}

func TestIdle(t *testing.T) {
	conn := dial(t, "-idle", "10ms")
	_, err := io.ReadAll(conn)
	require.NoError(t, err)
}

// TestEndOfTheProgram has the server end while a connection is open.
func TestEndOfTheProgram(t *testing.T) {
	var conn net.Conn
	t.Cleanup(func() { // runs after the server has ended
		got, err := io.ReadAll(conn)
		assert.NoError(t, err)
		assert.Empty(t, got)
		assert.NoError(t, conn.Close())
	})
	address := exampletest.Serve(t, run)
	var err error
	conn, err = net.Dial("tcp", address)
	require.NoError(t, err)
	_, err = conn.Write([]byte("1 2\n"))
	require.NoError(t, err)
	answer := make([]byte, 2)
	_, err = io.ReadFull(conn, answer)
	require.NoError(t, err)
	assert.Equal(t, "3\n", string(answer))
}
