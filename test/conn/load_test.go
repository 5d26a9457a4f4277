package conn

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/zcnet"
)

// TestHTTPUnderLoad posts as fast as it can to net/http's server, on a listener of package net
// and on an engine's in each mode. No request may fail. It logs the rates and does not check
// them.
//
// ZCRX_LOAD is how long each takes, by default 1s. If ZCRX_H2LOAD is set, it is the command
// that runs h2load, which then makes the requests instead of net/http's client.
func TestHTTPUnderLoad(t *testing.T) {
	duration := time.Second
	if s := os.Getenv("ZCRX_LOAD"); s != "" {
		var err error
		duration, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	generate := clientLoad
	if command := strings.Fields(os.Getenv("ZCRX_H2LOAD")); len(command) > 0 {
		generate = func(t *testing.T, k webKind, url string, body []byte, duration time.Duration) uint64 {
			return h2load(t, command, k, url, body, duration)
		}
	}
	run := func(t *testing.T, ln func() net.Listener) {
		for _, k := range webKinds[:2] {
			t.Run(k.name, func(t *testing.T) {
				body := pattern(3, 10_000)
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					got, err := io.ReadAll(r.Body)
					if err != nil || !bytes.Equal(body, got) {
						w.WriteHeader(http.StatusBadRequest)
						fmt.Fprintf(w, "%d bytes, not those that were sent: %v", len(got), err)
					}
				})
				w := startWeb(t, k, ln(), new(net.Dialer).DialContext, handler)
				defer w.stop(t)
				begin := time.Now()
				n := generate(t, k, w.url, body, duration)
				assert.Positive(t, n)
				t.Logf("%s: %d requests, %.0f/s", t.Name(), n, float64(n)/time.Since(begin).Seconds())
			})
		}
	}
	t.Run("net", func(t *testing.T) {
		run(t, func() net.Listener {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			return ln
		})
	})
	inEachMode(t, func(t *testing.T, e *zcnet.Engine) {
		run(t, func() net.Listener { return listen(t, e) })
	})
}

// clientLoad makes requests with net/http's client over package net's connections, and returns
// their number.
func clientLoad(t *testing.T, k webKind, url string, body []byte, duration time.Duration) uint64 {
	transport := &http.Transport{Protocols: k.protocols(), MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	ctx, cancel := context.WithTimeout(t.Context(), duration)
	defer cancel()
	var posted atomic.Uint64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for ctx.Err() == nil {
				answer, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
				if !assert.NoError(t, err) {
					return
				}
				text, err := io.ReadAll(answer.Body)
				_ = answer.Body.Close()
				if !assert.NoError(t, err) || !assert.Equal(t, http.StatusOK, answer.StatusCode, "%s", text) {
					return
				}
				posted.Add(1)
			}
		})
	}
	all.Wait()
	return posted.Load()
}

// h2load makes requests with nghttp2's program h2load, and returns their number.
func h2load(t *testing.T, command []string, k webKind, url string, body []byte, duration time.Duration) uint64 {
	file := filepath.Join(t.TempDir(), "body")
	require.NoError(t, os.WriteFile(file, body, 0o600))
	args := []string{"-D", strconv.Itoa(max(1, int(duration.Seconds()))), "-d", file}
	if k.proto == "HTTP/1.1" {
		args = append(args, "--h1", "-c", "32")
	} else {
		args = append(args, "-c", "4", "-m", "32")
	}
	out, err := exec.CommandContext(t.Context(), command[0], slices.Concat(command[1:], args, []string{url})...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	fields := regexp.MustCompile(`(?m)^requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`).FindSubmatch(out)
	require.Len(t, fields, 5, "%s", out)
	for _, failed := range fields[2:] {
		require.Equal(t, "0", string(failed), "%s", out)
	}
	assert.Regexp(t, `status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx`, string(out))
	n, err := strconv.ParseUint(string(fields[1]), 10, 64)
	require.NoError(t, err)
	return n
}
