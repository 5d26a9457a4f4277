//go:build nic

package zerocopy

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// audience is an engine in its default configuration, on one queue, with connections
// to it.
type audience struct {
	t  testing.TB
	w  *wire
	e  *zcnet.Engine
	l  *zcnet.Listener
	to *net.TCPAddr
}

func newAudience(t testing.TB, w *wire) *audience {
	t.Helper()
	e, err := zcnet.NewEngine(t.Context(), zcnet.Config{Mode: zcrx.ZeroCopy, Interface: device, Queues: []int{1}})
	require.NoError(t, err)
	l, err := e.Listen(t.Context(), "tcp4", deviceAddr4.String()+":0")
	require.NoError(t, err)
	a := &audience{t: t, w: w, e: e, l: l, to: l.Addr().(*net.TCPAddr)}
	steer(t, rule{to: a.to.AddrPort(), queue: 1})
	t.Cleanup(func() {
		assert.NoError(t, l.Close())
		assert.NoError(t, e.Close())
		assert.Zero(t, e.Stats().Group.Total.Outstanding)
	})
	return a
}

// connect returns the sender's end and the engine's.
func (a *audience) connect() (*net.TCPConn, *zcnet.Conn) {
	a.t.Helper()
	var out *net.TCPConn
	require.NoError(a.t, a.w.inPeer(func() (err error) {
		out, err = net.DialTCP("tcp", nil, a.to)
		return err
	}))
	in, err := a.l.AcceptConn(a.t.Context())
	require.NoError(a.t, err)
	return out, in
}

// unread makes n connections whose peers send all they can, and which nobody reads. It
// returns when no more comes.
func (a *audience) unread(n int) (end func()) {
	a.t.Helper()
	var sending errgroup.Group
	var outs []*net.TCPConn
	var ins []*zcnet.Conn
	for range n {
		out, in := a.connect()
		outs, ins = append(outs, out), append(ins, in)
		// What they queue here is the same kernel's memory, of which TCP may not use much.
		require.NoError(a.t, out.SetWriteBuffer(64<<10))
		sending.Go(func() error {
			for err := error(nil); err == nil; {
				_, err = out.Write(pattern()[:chunkSize])
			}
			return nil // it was closed: see end
		})
	}
	for was := uint64(0); ; {
		time.Sleep(200 * time.Millisecond)
		c := readCounters(a.t).sum("bytes", 1)
		if c-was < 64<<10 { // probes of closed windows come still
			break
		}
		was = c
	}
	return func() {
		for i := range outs {
			assert.NoError(a.t, outs[i].SetLinger(0))
			assert.NoError(a.t, outs[i].Close())
			assert.NoError(a.t, ins[i].Close())
		}
		assert.NoError(a.t, sending.Wait())
	}
}

// read transfers size bytes over a connection of its own, which is read.
func (a *audience) read(size int64) time.Duration {
	a.t.Helper()
	out, in := a.connect()
	start := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- send(out, size) }()
	var s stream
	buffers := make([]zcrx.Buffer, 256)
	for {
		n, err := in.RecvBatch(a.t.Context(), buffers)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(a.t, err)
		for _, b := range buffers[:n] {
			require.NoError(a.t, s.check(b.Bytes()))
		}
		require.NoError(a.t, zcrx.ReleaseAll(buffers[:n]))
	}
	took := time.Since(start)
	require.NoError(a.t, s.end(size))
	require.NoError(a.t, <-sent)
	require.NoError(a.t, in.Close())
	require.NoError(a.t, out.Close())
	return took
}

// TestUnreadConnections has fifty connections that nobody reads leave most of the pool
// to one that is read.
func TestUnreadConnections(t *testing.T) {
	w := newWire(t)
	a := newAudience(t, w)
	end := a.unread(50)
	s := a.e.Stats().Group.Total
	t.Logf("%d leases out, %d allocations failed, %d pauses", s.Outstanding, s.AllocFailures, s.Paused)
	before := readCounters(t)
	a.read(16 << 20)
	assert.Zero(t, readCounters(t).since(before).sum("no_buffer", 1))
	assert.Zero(t, a.e.Stats().Group.Total.AllocFailures)
	assert.Less(t, s.Outstanding, zcrx.DefaultNumBuffers, "several leases lie in a buffer")
	end()
}

// BenchmarkUnreadConnections is the throughput of a connection that is read beside fifty
// that are not, against its throughput alone.
func BenchmarkUnreadConnections(b *testing.B) {
	const size, rounds = 16 << 20, 7
	w := newWire(b)
	a := newAudience(b, w)
	a.read(size) // warm
	var alone, beside []time.Duration
	for range rounds {
		alone = append(alone, a.read(size))
		end := a.unread(50)
		beside = append(beside, a.read(size))
		end()
	}
	b.ReportMetric(size/median(alone)/1e6, "alone-MB/s")
	b.ReportMetric(size/median(beside)/1e6, "beside-MB/s")
	b.ReportMetric(median(alone)/median(beside), "beside/alone")
	b.ReportMetric(0, "ns/op")
	b.Logf("alone %v, beside %v; %+v", alone, beside, a.e.Stats().Group.Total)
}

// median is in seconds. It sorts d.
func median(d []time.Duration) float64 {
	slices.Sort(d)
	return d[len(d)/2].Seconds()
}
