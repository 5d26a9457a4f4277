//go:build nic

package zerocopy

import (
	"net"
	"os"
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
)

// TestGibibyte receives a gibibyte, or ZCRX_NIC_BYTES. Not a byte of it may be copied.
func TestGibibyte(t *testing.T) {
	size := int64(1 << 30)
	if s := os.Getenv("ZCRX_NIC_BYTES"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(t, err)
		size = n
	}
	w := newWire(t, "tso=1", "ring=1024")
	// In a slow emulated machine TCP would retransmit packets that are not lost.
	w.setPeerSysctl("net.ipv4.tcp_early_retrans", "0")
	w.setPeerSysctl("net.ipv4.tcp_rto_min_us", "20000000")
	pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 8192})
	p := beginProof(t, 1)
	c := w.connect(1)
	require.NoError(t, transfer(t, c, pool, size))
	assert.Zero(t, c.resent(t))
	assert.NoError(t, p.check(size))
	s := pool.Stats()
	assert.Equal(t, uint64(size), s.Bytes)
	assert.Zero(t, s.CopiedBytes)
	t.Logf("%+v", s)
}

// TestSeveralCompletionsPerBuffer holds leases until several are in one buffer. Releasing one
// of them twice must not return the reference of another: the kernel would reuse a buffer
// that is still leased, and drop the run of refill entries that contains the second return.
func TestSeveralCompletionsPerBuffer(t *testing.T) {
	const size, buffers = 8 << 20, 128
	w := newWire(t)
	pool, err := zcrx.NewPool(t.Context(), newLoop(t), zcrx.Queue{Interface: device, Number: 1}, zcrx.PoolConfig{NumBuffers: buffers, MaxLeases: zcrx.MaxNumBuffers})
	require.NoError(t, err)
	p := beginProof(t, 1)
	c := w.connect(1)
	r, err := zcrx.NewReceiver(pool, c.in)
	require.NoError(t, err)
	sent := make(chan error, 1)
	go func() { sent <- send(c.out, size) }()

	var s stream
	var held []zcrx.Buffer
	shared, twice := 0, uint64(0)
	for s.at < size {
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.check(b.Bytes()))
		if len(held) > 0 && bufferOf(t, pool, held[len(held)-1]) == bufferOf(t, pool, b) {
			shared++
		}
		held = append(held, b)
		if len(held) < 16 && s.at < size {
			continue
		}
		// Release the leases of a buffer together, each of them twice, and the first of them
		// once more.
		require.NoError(t, held[0].Release())
		require.ErrorIs(t, zcrx.ReleaseAll(append(held, held...)), zcrx.ErrReleased)
		twice += uint64(len(held)) + 1
		held = held[:0]
	}
	_, err = r.Recv(t.Context())
	require.Error(t, err)
	require.NoError(t, <-sent)
	require.NoError(t, p.check(size, c))
	stats := pool.Stats()
	assert.Positive(t, shared)
	assert.Greater(t, stats.Completions, uint64(size/4096), "some buffer has the payload of two packets")
	assert.Equal(t, twice, stats.DoubleReleases)
	assert.Zero(t, stats.UnreadBytes, "there is no other connection")
	assert.Equal(t, stats.Completions, stats.Returned)
	// The kernel must have every buffer back: receive more bytes than fit into all of them.
	require.NoError(t, transfer(t, w.connect(1), pool, buffers*4096*4))
	assert.NoError(t, r.Close())
	assert.NoError(t, pool.Close())
}

// bufferOf returns a number that identifies the buffer of the pool that b is in.
func bufferOf(t *testing.T, pool *zcrx.Pool, b zcrx.Buffer) uintptr {
	t.Helper()
	addr := uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes())))
	require.NotZero(t, addr)
	return addr / uintptr(pool.BufferSize()) // areas are aligned to their buffers
}

// TestBufferSizes asks for buffers larger than a page. The pool must have them if memory and
// device support them, else buffers of a page. make test-nic reserves huge pages.
func TestBufferSizes(t *testing.T) {
	const total = 4 << 20
	for name, test := range map[string]struct {
		option string
		cfg    zcrx.PoolConfig
		hinted int // the size that the library understands the hint as
		want   int // the size of the pool's buffers
	}{
		"granted":       {"page_size=1", zcrx.PoolConfig{Memory: zcrx.MemoryHugeTLB, BufferSizeHint: 32 << 10}, 32 << 10, 32 << 10},
		"too large":     {"page_size=1", zcrx.PoolConfig{Memory: zcrx.MemoryHugeTLB, BufferSizeHint: 2 << 20}, 2 << 20, 4096},
		"no support":    {"page_size=0", zcrx.PoolConfig{Memory: zcrx.MemoryHugeTLB, BufferSizeHint: 32 << 10}, 32 << 10, 4096},
		"a page":        {"page_size=0", zcrx.PoolConfig{BufferSizeHint: 4096}, 4096, 4096},
		"no power of 2": {"page_size=1", zcrx.PoolConfig{BufferSizeHint: 5000}, 4096, 4096},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, test.option, "tso=1")
			cfg := test.cfg
			cfg.NumBuffers = total / test.hinted
			pool := newPool(t, newLoop(t), 1, cfg)
			assert.Equal(t, test.want, pool.BufferSize())
			assert.Equal(t, total, pool.NumBuffers()*pool.BufferSize())
			p := beginProof(t, 1)
			c := w.connect(1)
			require.NoError(t, transfer(t, c, pool, 16<<20))
			assert.NoError(t, p.check(16<<20, c))
		})
	}
}

// TestDMABuf receives into a dma-buf.
func TestDMABuf(t *testing.T) {
	const size = 16 << 20
	w := newWire(t)
	pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 512, Memory: zcrx.MemoryDMABuf})
	p := beginProof(t, 1)
	c := w.connect(1)
	require.NoError(t, transfer(t, c, pool, size))
	assert.NoError(t, p.check(size, c))
}

// TestIPv6 receives over IPv6.
func TestIPv6(t *testing.T) {
	const size = 4 << 20
	w := newWire(t)
	pool := newPool(t, newLoop(t), 3, zcrx.PoolConfig{NumBuffers: 512})
	l := w.listen(deviceAddr6)
	steer(t, rule{to: l.Addr().(*net.TCPAddr).AddrPort(), queue: 3})
	p := beginProof(t, 3)
	c := w.dial(l)
	require.NoError(t, transfer(t, c, pool, size))
	assert.NoError(t, p.check(size, c))
}

// TestCopiedFragments receives packets that the device did not split, or that arrived on a
// queue without a pool, into a zero-copy pool. The kernel copies them: the bytes must be right
// and the library's statistics must count the copies.
func TestCopiedFragments(t *testing.T) {
	const size = 4 << 20
	unsplit := func(t *testing.T, buffers int) zcrx.PoolStats {
		w := newWire(t)
		setOption(t, "unsplit_nth", 8)
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: buffers})
		p := beginProof(t, 1)
		c := w.connect(1)
		require.NoError(t, transfer(t, c, pool, size))
		assert.Error(t, p.check(size, c))
		s := pool.Stats()
		assert.Equal(t, uint64(size), s.Bytes)
		grown := readCounters(t).since(p.before)
		assert.Positive(t, grown.sum("unsplit", 1))
		assert.Positive(t, grown.sum("linear_bytes", 1))
		assert.GreaterOrEqual(t, grown.sum("page_bytes", 1), s.CopiedBytes-s.RescuedBytes)
		all := grown.sum("placed_bytes", 1) + grown.sum("linear_bytes", 1) + grown.sum("page_bytes", 1)
		assert.GreaterOrEqual(t, all, uint64(size))
		assert.LessOrEqual(t, all, uint64(size+c.resent(t)))
		t.Logf("%d of %d bytes rescued, %d stalls", s.RescuedBytes, size, s.Stalls)
		assert.Zero(t, s.Stalls)
		return s
	}
	t.Run("unsplit packets", func(t *testing.T) {
		s := unsplit(t, 512)
		assert.Positive(t, s.CopiedFragments)
		assert.Less(t, s.RescuedBytes, uint64(size/100))
	})
	t.Run("unsplit packets and few buffers", func(t *testing.T) { unsplit(t, 128) })
	t.Run("another queue", func(t *testing.T) {
		w := newWire(t)
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 512})
		p := beginProof(t, 1)
		c := w.connect(2)
		require.NoError(t, transfer(t, c, pool, size))
		assert.ErrorContains(t, p.check(size, c), "the device placed 0 bytes")
		// All of it was copied; what TCP has put beside headers is not counted.
		assert.Positive(t, pool.Stats().CopiedBytes)
		assert.LessOrEqual(t, pool.Stats().CopiedBytes, uint64(size))
	})
}

// TestNAPIOfAcceptedConnection checks that the NAPI instance of an accepted socket is that of
// the queue that it arrived on.
func TestNAPIOfAcceptedConnection(t *testing.T) {
	w := newWire(t)
	for _, queue := range []int{3, 1} {
		c := w.connect(queue)
		raw, err := c.in.SyscallConn()
		require.NoError(t, err)
		var napi int
		require.NoError(t, raw.Control(func(fd uintptr) {
			napi, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_INCOMING_NAPI_ID)
		}))
		require.NoError(t, err)
		facts, err := readQueue(queue)
		require.NoError(t, err)
		assert.NotZero(t, napi)
		assert.Equal(t, facts.napi, uint32(napi))
	}
}
