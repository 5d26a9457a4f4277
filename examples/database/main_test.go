package main

import (
	"context"
	"database/sql"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
	"github.com/zcrx-go/zcrx/zcnet"
)

// ask sends lines and returns what comes back.
func ask(t *testing.T, address, lines string) string {
	conn, err := net.Dial("tcp", address)
	if !assert.NoError(t, err) {
		return ""
	}
	defer conn.Close()
	_, err = io.WriteString(conn, lines)
	assert.NoError(t, err)
	assert.NoError(t, conn.(*net.TCPConn).CloseWrite())
	got, err := io.ReadAll(conn)
	assert.NoError(t, err)
	return string(got)
}

func TestAnswers(t *testing.T) {
	address := exampletest.Serve(t, run)
	var all sync.WaitGroup
	for range 50 { // more than the database has connections
		all.Go(func() {
			assert.Equal(t, "#ff0000\nnothing\n#0000ff\n", ask(t, address, "red\nmauve\nblue\n"))
		})
	}
	all.Wait()
}

// TestLoopGoesOn has a query wait until there is a query of another connection, which is on
// the same loop.
func TestLoopGoesOn(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	db := sql.OpenDB(standIn{
		values: map[string]string{"red": "#ff0000"},
		query:  func() { both.Done(); both.Wait() },
	})
	address := exampletest.Serve(t, func(ctx context.Context, _ []string, out io.Writer) error {
		return listen(ctx, "127.0.0.1:0", zcnet.Config{Mode: zcrx.Provided, Loops: 1}, db, out)
	})
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { assert.Equal(t, "#ff0000\n", ask(t, address, "red\n")) })
	}
	all.Wait()
	require.NoError(t, db.Close())
}

// TestLongName checks that a line that has no end ends the connection.
func TestLongName(t *testing.T) {
	conn, err := net.Dial("tcp", exampletest.Serve(t, run))
	require.NoError(t, err)
	defer conn.Close()
	_, _ = io.WriteString(conn, strings.Repeat("a", 1<<20)) // may be reset
	got, _ := io.ReadAll(conn)
	assert.Empty(t, got)
}
