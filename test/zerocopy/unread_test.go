//go:build nic

package zerocopy

import (
	"cmp"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// server is an engine in its default configuration on one queue, with a listener.
type server struct {
	t  testing.TB
	w  *wire
	e  *zcnet.Engine
	l  *zcnet.Listener
	to *net.TCPAddr
}

func newServer(t testing.TB, w *wire) *server {
	t.Helper()
	e, err := zcnet.NewEngine(t.Context(), zcnet.Config{Mode: zcrx.ZeroCopy, Interface: device, Queues: []int{1}})
	require.NoError(t, err)
	l, err := e.Listen(t.Context(), "tcp4", deviceAddr4.String()+":0")
	require.NoError(t, err)
	srv := &server{t: t, w: w, e: e, l: l, to: l.Addr().(*net.TCPAddr)}
	steer(t, rule{to: srv.to.AddrPort(), queue: 1})
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		assert.NoError(t, e.Close())
		assert.Zero(t, e.Stats().Group.Total.Outstanding)
	})
	return srv
}

// connect makes a connection and returns the sender's end and the engine's.
func (srv *server) connect() (*net.TCPConn, *zcnet.Conn) {
	srv.t.Helper()
	var out *net.TCPConn
	require.NoError(srv.t, srv.w.inPeer(func() (err error) {
		out, err = net.DialTCP("tcp", nil, srv.to)
		return err
	}))
	in, err := srv.l.AcceptConn(srv.t.Context())
	require.NoError(srv.t, err)
	return out, in
}

// unread makes n connections that are not read and whose peers send as much as they can. It
// returns when no more bytes arrive.
func (srv *server) unread(n int) (end func()) {
	srv.t.Helper()
	var sending errgroup.Group
	var outs []*net.TCPConn
	var ins []*zcnet.Conn
	for range n {
		out, in := srv.connect()
		outs, ins = append(outs, out), append(ins, in)
		// Both ends use the memory that the kernel allows TCP, which is not much here.
		require.NoError(srv.t, out.SetWriteBuffer(64<<10))
		sending.Go(func() error {
			for err := error(nil); err == nil; {
				_, err = out.Write(pattern()[:chunkSize])
			}
			return nil // end has closed the connection
		})
	}
	for was := uint64(0); ; {
		time.Sleep(200 * time.Millisecond)
		c := readCounters(srv.t).sum("bytes", 1)
		if c-was < 64<<10 { // probes of closed windows still arrive
			break
		}
		was = c
	}
	return func() {
		for i := range outs {
			assert.NoError(srv.t, outs[i].SetLinger(0))
			assert.NoError(srv.t, outs[i].Close())
			assert.NoError(srv.t, ins[i].Close())
		}
		assert.NoError(srv.t, sending.Wait())
	}
}

// read makes a connection, transfers size bytes over it, and returns how long that took.
func (srv *server) read(size int64) time.Duration {
	srv.t.Helper()
	out, in := srv.connect()
	start := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- send(out, size) }()
	var s stream
	buffers := make([]zcrx.Buffer, 256)
	for {
		n, err := in.RecvBatch(srv.t.Context(), buffers)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(srv.t, err)
		for _, b := range buffers[:n] {
			require.NoError(srv.t, s.check(b.Bytes()))
		}
		require.NoError(srv.t, zcrx.ReleaseAll(buffers[:n]))
	}
	took := time.Since(start)
	require.NoError(srv.t, s.end(size))
	require.NoError(srv.t, <-sent)
	require.NoError(srv.t, in.Close())
	require.NoError(srv.t, out.Close())
	return took
}

// TestUnreadConnections checks that fifty connections that are not read leave most of the pool
// to one that is read.
func TestUnreadConnections(t *testing.T) {
	w := newWire(t)
	srv := newServer(t, w)
	end := srv.unread(50)
	s := srv.e.Stats().Group.Total
	t.Logf("%d leases out, %d allocations failed, %d pauses", s.Outstanding, s.AllocFailures, s.Paused)
	before := readCounters(t)
	srv.read(16 << 20)
	assert.Zero(t, readCounters(t).since(before).sum("no_buffer", 1))
	assert.Zero(t, srv.e.Stats().Group.Total.AllocFailures)
	assert.Less(t, s.Outstanding, zcrx.DefaultNumBuffers, "leases, of which several may be in a buffer")
	end()
}

// BenchmarkUnreadConnections compares the throughput of a connection beside two hundred that
// are not read with its throughput alone, and reports the largest heap of the program.
func BenchmarkUnreadConnections(b *testing.B) {
	const size, rounds, unread = 16 << 20, 5, 200
	w := newWire(b)
	srv := newServer(b, w)
	srv.read(size) // warm up
	var alone, beside []time.Duration
	heap := uint64(0)
	for range rounds {
		alone = append(alone, srv.read(size))
		end := srv.unread(unread)
		beside = append(beside, srv.read(size))
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap = max(heap, m.HeapAlloc)
		end()
	}
	b.ReportMetric(size/median(alone).Seconds()/1e6, "alone-MB/s")
	b.ReportMetric(size/median(beside).Seconds()/1e6, "beside-MB/s")
	b.ReportMetric(median(alone).Seconds()/median(beside).Seconds(), "beside/alone")
	b.ReportMetric(float64(heap)/1e6, "heap-MB")
	b.ReportMetric(0, "ns/op")
	b.Logf("alone %v, beside %v; %+v", alone, beside, srv.e.Stats().Group.Total)
}

// median sorts values and returns the one in the middle.
func median[T cmp.Ordered](values []T) T {
	slices.Sort(values)
	return values[len(values)/2]
}
