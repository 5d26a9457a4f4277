//go:build linux && cgo

package zcrx

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"runtime/debug"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
)

// Short names for functions of zcrxtest, and helpers that several tests use.

// pageSize is the page size as an uintptr.
func pageSize() uintptr { return sys.PageSize() }

const patience = zcrxtest.Patience

// stream is a zcrxtest.Stream with methods that check a Receiver against it.
type stream struct{ zcrxtest.Stream }

func newStream(seed int64) stream { return stream{zcrxtest.NewStream(seed)} }

// from returns the stream from an offset on, so that each connection can have bytes of its
// own.
func (s stream) from(offset int) stream { return stream{s.Stream[offset:]} }

type measurement = zcrxtest.Measurement

func pattern(seed int64, n int) []byte { return zcrxtest.Pattern(seed, n) }

func send(t testing.TB, c *net.TCPConn, b []byte) { zcrxtest.Send(t, c, b) }

func tcpPair(t testing.TB) (sender, receiver *net.TCPConn) {
	t.Helper()
	return zcrxtest.TCPPair(t)
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	zcrxtest.Eventually(t, what, done)
}

func within(t testing.TB, what string, fn func()) {
	t.Helper()
	zcrxtest.Within(t, what, fn)
}

func openFDs(t testing.TB) int {
	t.Helper()
	return zcrxtest.OpenFDs(t)
}

func settled(t testing.TB, fds, goroutines int) {
	t.Helper()
	zcrxtest.Settled(t, fds, goroutines)
}

func mappings(t testing.TB) int {
	t.Helper()
	return zcrxtest.Mappings(t)
}

func heap() uint64 { return zcrxtest.Heap() }

func benchmarkInTurns(b *testing.B, n int, name string, measure measurement, otherName string, measureOther measurement) {
	b.Helper()
	zcrxtest.BenchmarkInTurns(b, n, name, measure, otherName, measureOther)
}

func median(x []float64) float64 { return zcrxtest.Median(x) }

// receive takes the stream from offset on, checks its bytes, and passes each Buffer to
// give. It returns the offset that it reached and the receiver's error.
func (s stream) receive(t testing.TB, r *Receiver, offset int, give func(Buffer)) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	for {
		b, err := r.Recv(ctx)
		if err != nil {
			return offset, err
		}
		if !assert.True(t, bytes.Equal(s.At(offset, b.Len()), b.Bytes()), "%d bytes at %d differ", b.Len(), offset) {
			return offset, errors.New("bytes differ")
		}
		offset += b.Len()
		give(b)
	}
}

// receiveExactly receives n bytes, releases them, and expects the end of the stream.
func (s stream) receiveExactly(t testing.TB, r *Receiver, n int) {
	got, err := s.receive(t, r, 0, func(b Buffer) { assert.NoError(t, b.Release()) })
	assert.ErrorIs(t, err, io.EOF)
	assert.Equal(t, n, got)
}

// unmapped reports whether the pool has unmapped its memory.
func unmapped(p BufferPool) bool {
	g := p.accounts()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.freed
}

// guard is the size of the guards before and after guarded memory in bytes: more than an
// offset or a length that is wrong by a few buffers.
const guard = 16 << 12

// guarded maps size bytes, in whole pages, between memory that faults when touched. The
// caller unmaps the bytes; the guards stay until the test ends.
func guarded(t *testing.T, size uintptr) []byte {
	t.Helper()
	whole, err := unix.MmapPtr(-1, 0, nil, size+2*guard, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	inside := unsafe.Add(whole, guard)
	mem := unsafe.Slice((*byte)(inside), size)
	require.NoError(t, unix.Mprotect(mem, unix.PROT_READ|unix.PROT_WRITE))
	t.Cleanup(func() {
		assert.NoError(t, unix.MunmapPtr(whole, guard))
		assert.NoError(t, unix.MunmapPtr(unsafe.Add(inside, size), guard))
	})
	return mem
}

// faults reports whether reading the byte faults.
func faults(at unsafe.Pointer) (fault bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { fault = recover() != nil }()
	readByte(at)
	return false
}

//go:noinline
func readByte(at unsafe.Pointer) byte { return *(*byte)(at) }

// mappedBytes returns how many of the size bytes at start are mapped, by /proc/self/maps.
func mappedBytes(t *testing.T, start uintptr, size int) int {
	t.Helper()
	f, err := os.Open("/proc/self/maps")
	require.NoError(t, err)
	defer f.Close()
	end, mapped := start+uintptr(size), 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var from, to uintptr
		_, err := fmt.Sscanf(lines.Text(), "%x-%x", &from, &to)
		require.NoError(t, err)
		if from, to = max(from, start), min(to, end); from < to {
			mapped += int(to - from)
		}
	}
	require.NoError(t, lines.Err())
	return mapped
}

// sum reads every byte, and faults if one is not mapped.
func sum(b []byte) (s int) {
	for _, c := range b {
		s += int(c)
	}
	return s
}

func TestGuardedMemoryFaultsOutside(t *testing.T) {
	mem := guarded(t, pageSize())
	start := unsafe.Pointer(unsafe.SliceData(mem))
	assert.True(t, faults(unsafe.Add(start, -1)))
	assert.False(t, faults(start))
	assert.False(t, faults(unsafe.Add(start, len(mem)-1)))
	assert.True(t, faults(unsafe.Add(start, len(mem))))
	require.NoError(t, sys.Unmap(mem))
	assert.True(t, faults(start))
}

// takeBuffers receives n whole buffers and keeps them.
func takeBuffers(t *testing.T, r *Receiver, n int) []Buffer {
	t.Helper()
	out := make([]Buffer, 0, n)
	for len(out) < n {
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		out = append(out, b)
	}
	return out
}

// onHeldLoop runs fn while the loop is blocked.
func onHeldLoop(t *testing.T, l *Loop, fn func()) {
	t.Helper()
	held, hold := make(chan struct{}), make(chan struct{})
	require.NoError(t, l.Post(func() { close(held); <-hold }))
	<-held
	defer close(hold)
	fn()
}

func newDeviceLessPool(t *testing.T, cfg PoolConfig) (*Loop, *Pool) {
	t.Helper()
	needDeviceLess(t)
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, cfg)
	require.NoError(t, err)
	return l, p
}

func assertLayer(t *testing.T, err error, layer Layer) {
	t.Helper()
	assert.ErrorIs(t, err, ErrNotSupported)
	var u *UnsupportedError
	if assert.ErrorAs(t, err, &u) {
		assert.Equal(t, layer, u.Layer, "%v", err)
		assert.NotEmpty(t, u.Remedy)
	}
}

// setFlushError makes errno the result of a flush request. Tests cannot use cgo, hence the
// reflection.
func setFlushError(f *flushRequest, errno syscall.Errno) {
	field := reflect.ValueOf(f).Elem().FieldByName("err")
	*(*int32)(unsafe.Pointer(field.UnsafeAddr())) = -int32(errno)
}

// setFlushCalls sets how many system calls the flush took.
func setFlushCalls(f *flushRequest, n uint32) {
	*(*uint32)(unsafe.Pointer(reflect.ValueOf(f).Elem().FieldByName("calls").UnsafeAddr())) = n
}

// takeNoRequests makes the ring's submission queue look full until restore is called. It
// writes to a field of package uring, which itself needs no such method.
func takeNoRequests(r *uring.Ring) (restore func()) {
	entries := (*uint32)(unsafe.Pointer(reflect.ValueOf(r).Elem().FieldByName("mem").FieldByName("sqEntries").UnsafeAddr()))
	granted := *entries
	*entries = 0
	return func() { *entries = granted }
}

// inEveryMode runs the test with a pool of every mode that needs no interface.
func inEveryMode(t *testing.T, test func(t *testing.T, mode Mode)) {
	for _, mode := range []Mode{Provided, DeviceLess} {
		t.Run(mode.String(), func(t *testing.T) {
			if mode == DeviceLess {
				needDeviceLess(t)
			}
			test(t, mode)
		})
	}
}

func needDeviceLess(t testing.TB) {
	t.Helper()
	needFeature(t, FeatureDeviceLess)
}

// needFeature skips the test if the kernel or the process lacks the feature.
func needFeature(t testing.TB, f Feature) {
	t.Helper()
	skip.Unless(t, f.String(), f.MinKernel(), Have(f))
}

func openTestPool(t testing.TB, l *Loop, mode Mode, cfg PoolConfig) BufferPool {
	t.Helper()
	p, err := OpenPool(t.Context(), l, mode, Queue{}, cfg)
	require.NoError(t, err)
	return p
}

// blockingFD returns a socket as accept4 returns it, and its peer.
func blockingFD(t testing.TB) (peer *net.TCPConn, fd int) {
	t.Helper()
	peer, conn := tcpPair(t)
	fd, err := sys.DetachConn(conn)
	require.NoError(t, err)
	require.NoError(t, sys.SetNonblock(fd, false))
	require.NoError(t, conn.Close())
	return peer, fd
}

func newTestReceiver(t testing.TB, p BufferPool) (*net.TCPConn, *Receiver) {
	t.Helper()
	sender, conn := tcpPair(t)
	r, err := NewReceiver(p, conn)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return sender, r
}

// resetWhilePaused floods the receiver until it is paused and nothing receives for it, and
// then resets the connection.
func resetWhilePaused(t testing.TB, peer *net.TCPConn, r *Receiver) {
	t.Helper()
	flooded := newStream(16).Flood(t, peer)
	eventually(t, "it is paused", func() (paused bool) {
		require.NoError(t, r.do(func() error { paused = r.paused && !r.armed; return nil }))
		return paused
	})
	require.NoError(t, peer.SetLinger(0))
	require.NoError(t, peer.Close())
	<-flooded
}

// receiveToError releases everything up to the receiver's error, and returns that.
func receiveToError(t testing.TB, r *Receiver) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		b, err := r.Recv(ctx)
		if err != nil {
			return err
		}
		require.NoError(t, b.Release())
	}
}

// receiveAll reads to the end of the stream and releases everything.
func receiveAll(t testing.TB, r *Receiver) []byte {
	t.Helper()
	var all []byte
	for {
		b, err := r.Recv(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, b.Bytes()...)
		require.NoError(t, b.Release())
	}
}
