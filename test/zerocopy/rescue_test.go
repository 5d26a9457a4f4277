//go:build nic

package zerocopy

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx"
)

// rescuePatience is how long a test waits for bytes that the kernel has no buffer for. They
// arrive within milliseconds or never.
const rescuePatience = 30 * time.Second

// TestRescue makes the kernel stop a stream because it has no buffer to copy into, in each of
// the ways in which returning buffers does not help. The library must read the bytes that the
// kernel cannot copy, and the stream must go on.
func TestRescue(t *testing.T) {
	t.Run("the ring posts every buffer", func(t *testing.T) {
		w := newWire(t, "ring=256")
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
		rescueOne(t, w, pool)
	})
	t.Run("the socket holds every buffer", func(t *testing.T) {
		const size = 1 << 20
		w := newWire(t)
		setSysctl(t, "net.ipv4.tcp_rmem", "4096 6291456 6291456")
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 128})
		c := w.connect(1)
		before := readCounters(t)
		sent := make(chan error, 1)
		setOption(t, "unsplit_nth", 1)
		_, err := c.out.Write(pattern()[:1000])
		require.NoError(t, err)
		require.Eventually(t, func() bool { return queued(t, c) == 1000 }, rescuePatience, time.Millisecond)
		setOption(t, "unsplit_nth", 0)
		go func() { sent <- sendFrom(c.out, 1000, size) }()
		require.Eventually(t, func() bool {
			return readCounters(t).since(before).sum("no_buffer", 1) > 0
		}, rescuePatience, time.Millisecond)
		r, err := zcrx.NewReceiver(pool, c.in)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), rescuePatience)
		defer cancel()
		require.NoError(t, receive(ctx, r, size))
		require.NoError(t, <-sent)
		require.NoError(t, r.Close())
		s := pool.Stats()
		assert.GreaterOrEqual(t, s.RescuedBytes, uint64(1000))
		assert.Less(t, s.RescuedBytes, uint64(size/50))
	})
	t.Run("after a shortage", func(t *testing.T) {
		const size = 1 << 20 // far more than the pool: what is unread for long is copied out of it
		w := newWire(t, "ring=16")
		h := newWithheld(t, w, size)
		h.release(t)
		h.takeAll(t, 0)
		require.NoError(t, h.s.end(size))
		require.NoError(t, <-h.sent)
		h.release(t)
		rescueOne(t, w, h.pool)
	})
	t.Run("a dma-buf", func(t *testing.T) {
		w := newWire(t)
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256, Memory: zcrx.MemoryDMABuf})
		rescueOne(t, w, pool)
	})
}

// TestRescueBesideOthers has a connection rescued while another one returns buffers all the
// time, none of which help, and while a consumer holds leases and waits for more.
func TestRescueBesideOthers(t *testing.T) {
	t.Run("a stream", func(t *testing.T) {
		w := newWire(t, "ring=256", "queues=4")
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
		tr := startTraffic(t, w, pool, endless)
		c := w.connect(1)
		r, err := zcrx.NewReceiver(pool, c.in)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), rescuePatience)
		defer cancel()
		setOption(t, "unsplit_nth", 1)
		for i := range 20 {
			_, err = c.out.Write(pattern()[i : i+1])
			require.NoError(t, err)
			b, err := r.Recv(ctx)
			require.NoError(t, err)
			assert.Equal(t, pattern()[i:i+1], b.Bytes())
			require.NoError(t, b.Release())
		}
		require.NoError(t, tr.conn.out.Close())
		assert.Error(t, <-tr.sent)
		require.NoError(t, tr.r.Close())
		assert.Error(t, <-tr.received)
		require.NoError(t, r.Close())
	})
	t.Run("a holder", func(t *testing.T) {
		w := newWire(t, "ring=256")
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
		c := w.connect(1)
		r, err := zcrx.NewReceiver(pool, c.in)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), rescuePatience)
		defer cancel()
		var s stream
		var held []zcrx.Buffer
		for i := range int64(8) {
			setOption(t, "unsplit_nth", i%2)
			_, err = c.out.Write(pattern()[s.at : s.at+1000])
			require.NoError(t, err)
			for target := s.at + 1000; s.at < target; {
				b, err := r.Recv(ctx)
				require.NoError(t, err)
				require.NoError(t, s.check(b.Bytes()))
				held = append(held, b)
			}
		}
		assert.EqualValues(t, 4000, pool.Stats().RescuedBytes)
		assert.Equal(t, len(held), pool.Stats().Outstanding)
		var again stream // rescued bytes must not have been overwritten
		for _, b := range held {
			require.NoError(t, again.check(b.Bytes()))
		}
		require.NoError(t, zcrx.ReleaseAll(held))
		require.NoError(t, r.Close())
	})
}

// TestPartlyReadablePacket receives a packet of which the device left some payload beside the
// headers and put the rest into the pool. Without a free buffer the kernel cannot copy the
// first part, and recv(2) refuses the packet because of the second: only new buffers help.
func TestPartlyReadablePacket(t *testing.T) {
	const size = 1000
	begin := func(t *testing.T, cfg zcrx.PoolConfig) (*zcrx.Pool, *zcrx.Receiver) {
		w := newWire(t, "ring=256")
		cfg.NumBuffers = 256
		pool := newPool(t, newLoop(t), 1, cfg)
		c := w.connect(1)
		r, err := zcrx.NewReceiver(pool, c.in)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, r.Close()) })
		setOption(t, "late_nth", 1)
		_, err = c.out.Write(pattern()[:size])
		require.NoError(t, err)
		return pool, r
	}
	stalls := func(t *testing.T, pool *zcrx.Pool) {
		t.Helper()
		require.Eventually(t, func() bool { return pool.Stats().Stalls > 1 }, rescuePatience, time.Millisecond)
	}
	end := func(t *testing.T, pool *zcrx.Pool, r *zcrx.Receiver) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), rescuePatience)
		defer cancel()
		var s stream
		for s.at < size {
			b, err := r.Recv(ctx)
			require.NoError(t, err)
			require.NoError(t, s.check(b.Bytes()))
			require.NoError(t, b.Release())
		}
		assert.Zero(t, pool.Stats().RescuedBytes)
	}
	t.Run("tried again", func(t *testing.T) {
		pool, r := begin(t, zcrx.PoolConfig{})
		stalls(t, pool)
		setRing(t, 16) // returns the other buffers
		end(t, pool, r)
	})
	t.Run("grown", func(t *testing.T) {
		pool, r := begin(t, zcrx.PoolConfig{})
		stalls(t, pool)
		require.NoError(t, pool.Grow(t.Context(), 64))
		end(t, pool, r)
	})
	t.Run("grows by itself", func(t *testing.T) {
		pool, r := begin(t, zcrx.PoolConfig{MaxBuffers: 512})
		end(t, pool, r)
		assert.Equal(t, 512, pool.NumBuffers())
	})
	t.Run("the owner grows for an importer", func(t *testing.T) {
		w := newWire(t, "ring=256")
		owner := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256, MaxBuffers: 512})
		handle, err := owner.Export(t.Context())
		require.NoError(t, err)
		member, err := zcrx.ImportPool(t.Context(), newLoop(t), handle)
		require.NoError(t, err)
		t.Cleanup(func() { closePool(t, member) })
		require.NoError(t, handle.Close())
		c := w.connect(1)
		r, err := zcrx.NewReceiver(member, c.in)
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, r.Close()) })
		setOption(t, "late_nth", 1)
		_, err = c.out.Write(pattern()[:size])
		require.NoError(t, err)
		end(t, member, r)
		assert.Equal(t, 512, owner.NumBuffers())
	})
	t.Run("closed", func(t *testing.T) {
		pool, r := begin(t, zcrx.PoolConfig{})
		stalls(t, pool)
		require.NoError(t, r.Close())
	})
}

// rescueOne receives one packet that the device does not split, and then a stream.
func rescueOne(t *testing.T, w *wire, pool *zcrx.Pool) {
	t.Helper()
	const size = 100
	before := pool.Stats()
	setOption(t, "unsplit_nth", 1)
	c := w.connect(1)
	r, err := zcrx.NewReceiver(pool, c.in)
	require.NoError(t, err)
	defer func() { assert.NoError(t, r.Close()) }()
	_, err = c.out.Write(pattern()[:size])
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), rescuePatience)
	defer cancel()
	var s stream
	for s.at < size {
		b, err := r.Recv(ctx)
		require.NoError(t, err)
		require.NoError(t, s.check(b.Bytes()))
		assert.Equal(t, b.Len(), cap(b.Bytes()))
		require.NoError(t, b.Release())
	}
	after := pool.Stats()
	assert.Equal(t, uint64(size), after.RescuedBytes-before.RescuedBytes)
	assert.Equal(t, uint64(size), after.CopiedBytes-before.CopiedBytes)
	assert.Equal(t, uint64(size), after.Bytes-before.Bytes)
	assert.Zero(t, after.Outstanding)

	// The receive still works.
	setOption(t, "unsplit_nth", 0)
	const more = 64 << 10
	go func() { _ = sendFrom(c.out, size, size+more) }() // if it fails, the receiver does too
	for {
		b, err := r.Recv(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NoError(t, s.check(b.Bytes()))
		require.NoError(t, b.Release())
	}
	require.NoError(t, s.end(size+more))
}

// setSysctl sets a sysctl of this network namespace until the test ends.
func setSysctl(t *testing.T, name, value string) {
	t.Helper()
	file := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(value), 0))
	t.Cleanup(func() { assert.NoError(t, os.WriteFile(file, before, 0)) })
}

// queued returns the number of bytes in the queue of the receiver's socket.
func queued(t *testing.T, c connection) int {
	t.Helper()
	raw, err := c.in.SyscallConn()
	require.NoError(t, err)
	n := 0
	require.NoError(t, raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }))
	require.NoError(t, err)
	return n
}
