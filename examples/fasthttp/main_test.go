package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/examples/internal/exampletest"
)

// TestPut sends bodies of several sizes over connections that stay open. At the end of the
// test the server must end although they are idle then.
func TestPut(t *testing.T) {
	url := "http://" + exampletest.Serve(t, run)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			for _, size := range []int{0, 1, 4096, inPlace + 1, 3<<20 + 1} {
				body := exampletest.Bytes(size)
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, bytes.NewReader(body))
				assert.NoError(t, err)
				answer, err := client.Do(request)
				if !assert.NoError(t, err) {
					return
				}
				got, err := io.ReadAll(answer.Body)
				assert.NoError(t, err)
				assert.NoError(t, answer.Body.Close())
				assert.Equal(t, fmt.Sprintf("%d bytes, SHA-256 %x\n", size, sha256.Sum256(body)), string(got))
			}
			// The connection stays open.
		})
	}
	all.Wait()
}

func TestOtherMethods(t *testing.T) {
	answer, err := http.Get("http://" + exampletest.Serve(t, run))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	assert.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
}

// TestNewConnectionIsIdle has the server end while a connection has sent nothing.
func TestNewConnectionIsIdle(t *testing.T) {
	var conn net.Conn
	t.Cleanup(func() { assert.NoError(t, conn.Close()) }) // runs after the server has ended
	address := exampletest.Serve(t, run)
	var err error
	conn, err = net.Dial("tcp", address)
	require.NoError(t, err)
}
