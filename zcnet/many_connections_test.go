//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// Environment variables for longer runs by hand, with the numbers that must work.
const (
	openConnections  = "ZCRX_CONN_OPEN"  // connections at a time: 10000
	shortConnections = "ZCRX_CONN_SHORT" // connections one after the other: 1000000
)

const feederChild = "ZCRX_TEST_FEEDER"

// feederPause is how many connections are opened before the last of them must be
// accepted. The kernel drops connections that do not fit into its queue, and the client
// tries again a second later.
const feederPause = 500

// feedOpenConnections runs in the child process of TestOpenConnections, because one process
// may not have enough fds for both ends. It opens n connections. For each line on standard
// input it sends every connection bytes of its own.
func feedOpenConnections(t *testing.T, address string, n int) {
	conns := make([]net.Conn, n)
	for i := range conns {
		// A source address has about 28000 ports, and finding a free one takes
		// milliseconds if an earlier run used thousands of them.
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, byte(100+os.Getpid()%100), byte(os.Getpid()/100), byte(1+i/5000))}}
		c, err := d.Dial("tcp", address)
		require.NoError(t, err)
		conns[i] = c
		_, err = fmt.Fprintf(c, "%08d", i)
		require.NoError(t, err)
		if i%feederPause == feederPause-1 {
			_, err = c.Read(make([]byte, 1))
			require.NoError(t, err)
		}
	}
	for round := 0; ; round++ {
		if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
			break
		}
		for i, c := range conns {
			_, err := c.Write(messageOf(i, round))
			require.NoError(t, err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
}

// messageOf returns what connection i receives in a round. No two are the same.
func messageOf(i, round int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%08d %04d|", i, round), 20+i%200)
}

// TestOpenConnections has many connections open at once, checks that each receives its own
// bytes, and logs how much memory an idle one takes.
func TestOpenConnections(t *testing.T) {
	if address := os.Getenv(feederChild); address != "" {
		feedOpenConnections(t, address, zcrxtest.Amount(t, openConnections, 0))
		return
	}
	n := zcrxtest.Amount(t, openConnections, zcrxtest.Volume(300))
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 4096, MaxLeases: 64}}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		start := time.Now()
		ask, stop := startFeeder(t, ln.Addr().String(), n)
		before := int64(zcrxtest.Heap())
		conns := make([]*Conn, n)
		for range n {
			c, err := ln.AcceptConn(t.Context())
			require.NoError(t, err)
			head, err := c.Peek(t.Context(), 8)
			require.NoError(t, err)
			i, err := strconv.Atoi(string(head))
			require.NoError(t, err)
			require.Nil(t, conns[i])
			_, err = c.Discard(t.Context(), 8)
			require.NoError(t, err)
			conns[i] = c
			if i%feederPause == feederPause-1 {
				_, err = c.Write([]byte("."))
				require.NoError(t, err)
			}
		}
		opened := time.Since(start)
		perConn := (int64(zcrxtest.Heap()) - before) / int64(n)
		start = time.Now()
		for round := range 2 {
			ask()
			for i, c := range conns {
				want := messageOf(i, round)
				for chunk, err := range c.Chunks(t.Context(), len(want)) {
					require.NoError(t, err)
					require.True(t, bytes.Equal(want[:len(chunk)], chunk), "connection %d, round %d", i, round)
					want = want[len(chunk):]
				}
			}
		}
		received := time.Since(start)
		assert.Equal(t, n, e.Stats().Connections)
		stop()
		for _, c := range conns {
			_, err := c.Recv(t.Context())
			require.ErrorIs(t, err, io.EOF)
		}
		start = time.Now()
		require.NoError(t, ln.Close())
		for _, c := range conns {
			require.NoError(t, c.Close())
		}
		t.Logf("%d open at once: accepted in %v, two rounds in %v, closed in %v; heap %d bytes for an idle one, kernel memory apart",
			n, opened.Round(time.Millisecond), received.Round(time.Millisecond), time.Since(start).Round(time.Millisecond), perConn)
	})
}

// startFeeder runs feedOpenConnections in a child process. ask makes it send, stop ends it.
func startFeeder(t *testing.T, address string, n int) (ask, stop func()) {
	cmd := zcrxtest.Child("TestOpenConnections", feederChild+"="+address, fmt.Sprintf("%s=%d", openConnections, n))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	ask = func() {
		_, err := in.Write([]byte("\n"))
		require.NoError(t, err)
	}
	stop = func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait(), "%s", &out)
	}
	return ask, stop
}

// TestShortConnections opens connections one after the other from several goroutines,
// exchanges a message on each, and closes it.
func TestShortConnections(t *testing.T) {
	n := zcrxtest.Amount(t, shortConnections, zcrxtest.Volume(300))
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 16}}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := echo(t, ln)
		var left atomic.Int64
		left.Store(int64(n))
		before, start := zcrxtest.Heap(), time.Now()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for i := left.Add(-1); i >= 0; i = left.Add(-1) {
					if !assert.NoError(t, exchangeOnce(t, e, ln.Addr().String(), int(i))) {
						return
					}
				}
			})
		}
		all.Wait()
		require.NoError(t, ln.Shutdown(t.Context()))
		<-served
		took := time.Since(start)
		assert.EqualValues(t, n, ln.Stats().Accepted)
		t.Logf("%d connections in %v, %.0f a second; heap %d KiB before, %d KiB after",
			n, took.Round(time.Millisecond), float64(n)/took.Seconds(), before>>10, zcrxtest.Heap()>>10)
	})
}

func exchangeOnce(t *testing.T, e *Engine, address string, i int) error {
	c, err := e.Dial(t.Context(), "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	want := messageOf(i, 0)
	if _, err = c.Write(want); err != nil {
		return err
	}
	if i%100 == 0 { // only a few end in order, because each of these keeps its port for a minute
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	got, err := c.Peek(context.Background(), len(want))
	if err != nil {
		return err
	}
	if !bytes.Equal(want, got) {
		return fmt.Errorf("connection %d: %q came back", i, got)
	}
	if i%100 == 0 {
		_, err = io.Copy(io.Discard, c)
		return err
	}
	return c.SetLinger(0) // resets it, so that its port is free at once
}
