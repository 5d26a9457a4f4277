package contestant

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// start starts a contestant.
func start(t *testing.T, c *Contestant, w scenario.Workload, size int) *Server {
	s, err := c.Start(context.Background(), Config{
		Case: scenario.Case{Workload: w, Connections: 2, Size: size}, Threads: 2, Address: "127.0.0.1:0",
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// with returns the contestants with a workload that this machine can run. Zero copy needs an
// interface.
func with(w scenario.Workload) []*Contestant {
	deviceLess := zcrx.Have(zcrx.FeatureDeviceLess) == nil
	return slices.DeleteFunc(All(), func(c *Contestant) bool {
		return !slices.Contains(c.Workloads, w) || strings.HasSuffix(c.Name, "-zerocopy") ||
			strings.HasSuffix(c.Name, "-deviceless") && !deviceLess
	})
}

// Each server sends back what it gets, whatever pieces it comes in.
func TestEcho(t *testing.T) {
	for _, c := range with(scenario.Echo) {
		t.Run(c.Name, func(t *testing.T) {
			s := start(t, c, scenario.Echo, 100)
			for range 3 {
				conn, err := net.Dial("tcp", s.Address)
				require.NoError(t, err)
				sent := make([]byte, 3<<20)
				for i := range sent {
					sent[i] = byte(i / 251)
				}
				failed := make(chan error, 1)
				go func() {
					_, err := io.Copy(conn, io.MultiReader(
						bytes.NewReader(sent[:1]), bytes.NewReader(sent[1:70_000]), bytes.NewReader(sent[70_000:])))
					failed <- err
				}()
				got := make([]byte, len(sent))
				_, err = io.ReadFull(conn, got)
				require.NoError(t, err)
				require.NoError(t, <-failed)
				assert.True(t, bytes.Equal(sent, got))
				require.NoError(t, conn.Close())
			}
			assert.Equal(t, int64(9<<20), s.Received())
		})
	}
}

// Each server reads to the end, and then closes the connection without having sent anything.
func TestBulk(t *testing.T) {
	for _, c := range with(scenario.Bulk) {
		t.Run(c.Name, func(t *testing.T) {
			s := start(t, c, scenario.Bulk, 64<<10)
			conn, err := net.Dial("tcp", s.Address)
			require.NoError(t, err)
			_, err = conn.Write(make([]byte, 4<<20))
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			rest, err := io.ReadAll(conn)
			require.NoError(t, err)
			assert.Empty(t, rest)
			assert.Equal(t, int64(4<<20), s.Received())
			require.NoError(t, conn.Close())
		})
	}
}

func TestHTTP(t *testing.T) {
	for _, c := range with(scenario.HTTP) {
		t.Run(c.Name, func(t *testing.T) {
			s := start(t, c, scenario.HTTP, 100)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for range 3 {
				resp, err := client.Get("http://" + s.Address)
				require.NoError(t, err)
				text, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				assert.Equal(t, http.StatusOK, resp.StatusCode)
				assert.Equal(t, strings.Repeat("x", 100), string(text))
			}
		})
	}
}

func TestFind(t *testing.T) {
	found, err := Find([]string{"handler", "net"})
	require.NoError(t, err)
	assert.Equal(t, "handler", found[0].Name)
	assert.Equal(t, "net", found[1].Name)
	_, err = Find([]string{"hander"})
	assert.ErrorContains(t, err, `contestant "hander" is unknown: want some of net, gnet, `)
	_, err = found[0].Start(t.Context(), Config{Case: scenario.Case{Workload: scenario.HTTP}})
	assert.EqualError(t, err, "contestant handler has no workload http, only [bulk echo churn]")
}

// Each suite begins with what the others are compared with.
func TestSuite(t *testing.T) {
	for _, w := range scenario.Workloads() {
		var names []string
		for _, c := range Suite(w) {
			names = append(names, c.Name)
		}
		for _, c := range Suite(w) {
			assert.LessOrEqual(t, slices.Index(names, c.Baseline), slices.Index(names, c.Name))
		}
		assert.Greater(t, len(names), 4)
	}
	for _, name := range leftOut {
		assert.True(t, slices.Contains(Names(), name), name)
	}
}

func TestCBuffers(t *testing.T) {
	for _, k := range []struct {
		c       scenario.Case
		size, n int
	}{
		{scenario.Case{Workload: scenario.Bulk, Connections: 1, Size: 100}, 64 << 10, 64},
		{scenario.Case{Workload: scenario.Bulk, Connections: 1, Size: 100, BufferSize: 4096}, 4096, 1024},
		{scenario.Case{Workload: scenario.Bulk, Connections: 1, Size: 100, BufferSize: 16 << 20}, 16 << 20, 16},
		{scenario.Case{Workload: scenario.Echo, Connections: 513, Size: 100}, 4096, 2048},
		{scenario.Case{Workload: scenario.Echo, Connections: 512, Size: 5000}, 8192, 1024},
		{scenario.Case{Workload: scenario.Echo, Connections: 10000, Size: 1 << 20}, 64 << 10, 32768},
	} {
		size, n := cBuffers(k.c)
		assert.Equal(t, k.size, size, k.c)
		assert.Equal(t, k.n, n, k.c)
	}
}
