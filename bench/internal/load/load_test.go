package load

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// serve runs fn for each connection to the address that it returns.
func serve(t *testing.T, fn func(net.Conn)) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go fn(conn)
		}
	}()
	return ln.Addr().String()
}

func echo(conn net.Conn) { _, _ = io.Copy(conn, conn); _ = conn.Close() }

// run measures until enough messages are recorded.
func run(t *testing.T, address string, c scenario.Case) Report {
	l, err := Start(t.Context(), address, c)
	require.NoError(t, err)
	defer l.Close()
	l.Begin()
	require.Eventually(t, func() bool {
		n, _ := l.record.latency()
		return n > 20 || l.failed.Load() || c.Workload == scenario.Bulk && l.record.sent.Load() > 20
	}, time.Minute, time.Millisecond)
	r, err := l.End()
	require.NoError(t, err)
	return r
}

func TestWorkloads(t *testing.T) {
	for _, c := range []scenario.Case{
		{Workload: scenario.Echo, Connections: 2, Size: 1},
		{Workload: scenario.Echo, Connections: 2, Size: 100_000},
		{Workload: scenario.Echo, Connections: 3, Size: 64, Rate: 2000},
		{Workload: scenario.Churn, Connections: 2, Size: 100},
	} {
		t.Run(c.String(), func(t *testing.T) {
			r := run(t, serve(t, echo), c)
			assert.Greater(t, r.Requests, int64(20))
			assert.Greater(t, r.Seconds, 0.0)
			assert.Positive(t, r.Latency.P50)
			assert.LessOrEqual(t, r.Latency.P50, r.Latency.P999)
		})
	}
	t.Run("bulk", func(t *testing.T) {
		address := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
		r := run(t, address, scenario.Case{Workload: scenario.Bulk, Connections: 2, Size: 4096})
		assert.Positive(t, r.Requests)
		assert.Nil(t, r.Latency)
	})
}

func TestHTTPResponses(t *testing.T) {
	read := func(text string) error { return readResponse(bufio.NewReader(strings.NewReader(text))) }
	assert.NoError(t, read("HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\n\r\nab"))
	assert.EqualError(t, read("HTTP/1.1 500 Oh\r\n\r\n"), `the server replied "HTTP/1.1 500 Oh"`)
	assert.EqualError(t, read("HTTP/1.1 200 OK\r\n\r\n"), "the server's reply has no Content-Length")
	assert.ErrorIs(t, read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"), io.EOF)
}

func TestChangedReplyIsAnError(t *testing.T) {
	address := serve(t, func(conn net.Conn) {
		p := make([]byte, 64)
		for {
			if _, err := io.ReadFull(conn, p); err != nil {
				return
			}
			p[0]++
			_, _ = conn.Write(p)
		}
	})
	l, err := Start(t.Context(), address, scenario.Case{Workload: scenario.Echo, Connections: 1, Size: 64})
	require.NoError(t, err)
	defer l.Close()
	l.Begin()
	require.Eventually(t, l.failed.Load, time.Minute, time.Millisecond)
	_, err = l.End()
	assert.EqualError(t, err, "message 0 came back changed")
}

// A server that answers nothing for a while is charged with it by every message that was due
// meanwhile, not by one only.
func TestFixedRateHasNoCoordinatedOmission(t *testing.T) {
	const pause = 200 * time.Millisecond
	var paused atomic.Bool
	address := serve(t, func(conn net.Conn) {
		p := make([]byte, 64)
		for {
			if _, err := io.ReadFull(conn, p); err != nil {
				return
			}
			if !paused.Swap(true) {
				time.Sleep(pause)
			}
			_, _ = conn.Write(p)
		}
	})
	l, err := Start(t.Context(), address, scenario.Case{Workload: scenario.Echo, Connections: 1, Size: 64, Rate: 1000})
	require.NoError(t, err)
	defer l.Close()
	l.record.from.Store(0) // the first message is counted too
	require.Eventually(t, func() bool { n, _ := l.record.latency(); return n >= 200 }, time.Minute, time.Millisecond)
	r, err := l.End()
	require.NoError(t, err)
	// Of the messages that were due in the pause, half waited for half of it or longer.
	waited := int64(0)
	for i := range l.record.shards {
		for _, bar := range l.record.shards[i].histogram.Distribution() {
			if bar.From >= int64(pause/2) {
				waited += bar.Count
			}
		}
	}
	assert.GreaterOrEqual(t, waited, int64(90))
	assert.GreaterOrEqual(t, r.Latency.Max, int64(pause)*99/100)
}

func TestMessagesWithoutReplyAreCounted(t *testing.T) {
	r := newRecorder()
	l := &Load{record: r, c: scenario.Case{Rate: 1}}
	start := time.Now().Add(-time.Second)
	s := schedule{start: start, interval: 1e8, conns: 1}
	l.paced = []*paced{{schedule: s, shard: r.shard(0)}}
	l.paced[0].answered.Store(5)
	l.failed.Store(true) // so that nobody waits
	r.base = start
	r.from.Store(0)
	r.to.Store(int64(850 * time.Millisecond))
	l.awaitDue()
	n, latency := r.latency()
	assert.Equal(t, int64(4), n) // 5 to 8
	assert.GreaterOrEqual(t, latency.Max, int64(500*time.Millisecond)*99/100)
}

func TestScheduleGoesAround(t *testing.T) {
	s := schedule{start: time.Unix(0, 0), interval: 1000, conns: 3}
	assert.Equal(t, int64(0), s.due(0, 0).UnixNano())
	assert.Equal(t, int64(2000), s.due(2, 0).UnixNano())
	assert.Equal(t, int64(4000), s.due(1, 1).UnixNano())
}
