//go:build linux && cgo

package zcrx

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/cprep"
	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// newTestRing makes a ring for the test's goroutine, which stays on its thread.
func newTestRing(t *testing.T, cfg uring.Config) *zcrxRing {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	if f := FeatureMixedCQE; cfg.Flags&uring.SetupCQEMixed != 0 {
		skip.Unless(t, f.String(), f.MinKernel(), Have(f))
	}
	r, err := newRing(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

const ownerFlags = uring.SetupSingleIssuer | uring.SetupDeferTaskrun

// reap waits for n completions.
func reap(t *testing.T, r *zcrxRing, n int) []uring.CQE {
	t.Helper()
	all := make([]uring.CQE, n)
	got := 0
	for deadline := time.Now().Add(5 * time.Second); got < n; {
		got += r.Completions(all[got:])
		if got < n {
			require.True(t, time.Now().Before(deadline), "%d of %d completions", got, n)
			_, err := r.SubmitAndWait(1, 100*time.Millisecond)
			require.NoError(t, err)
		}
	}
	return all
}

// TestZCRXRingRefusesOtherThreads checks that every call that the kernel would answer
// with EEXIST, or not refuse at all, says what is wrong.
func TestZCRXRingRefusesOtherThreads(t *testing.T) {
	r := newTestRing(t, uring.Config{Entries: 4, Flags: ownerFlags | uring.SetupDisabled})
	require.NoError(t, r.Enable())
	errs := make(chan []error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, export := r.exportIfq(0)
		_, add := r.addArea(0, &area{})
		_, register := r.registerIfq(ifqRequest{})
		_, imported := r.importIfq(0)
		errs <- []error{export, add, register, imported, r.Close(), r.Enable(),
			r.registerBufRing(nil, 1, 0, 0), r.unregisterBufRing(0), r.armEvent(0, 0)}
	}()
	for i, err := range <-errs {
		assert.ErrorIs(t, err, syscall.EEXIST, "call %d", i)
		assert.ErrorContains(t, err, "off the thread that owns the ring; call it from within Loop.Do")
	}
	_, err := r.turn(0, 0, nil)
	assert.NoError(t, err, "the owner still can")
}

func TestClosedZCRXRing(t *testing.T) {
	r := newTestRing(t, uring.Config{Entries: 4, Flags: ownerFlags})
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	_, turn := r.turn(0, 0, nil)
	_, export := r.exportIfq(0)
	for i, err := range []error{turn, export, r.Enable(), r.registerBufRing(nil, 1, 0, 0), r.unregisterBufRing(0)} {
		assert.Equal(t, ErrClosed, err, "call %d", i)
	}
}

// TestRingErrors holds errors of package uring against what they are here.
func TestRingErrors(t *testing.T) {
	r := newTestRing(t, uring.Config{Entries: 4, Flags: ownerFlags})
	assert.EqualError(t, r.Enable(), "zcrx: enable ring: "+errnoText(unix.EBADFD))
	mem, err := sys.MapAnonymous(pageSize(), pageSize())
	require.NoError(t, err)
	defer func() { assert.NoError(t, sys.Unmap(mem)) }()
	err = r.registerBufRing(unsafe.Pointer(&mem[0]), 3, 0, 0)
	assertLayer(t, err, LayerKernel)
	assert.ErrorContains(t, err, "register provided-buffer ring: EINVAL")
	assert.NoError(t, ringError("nothing", nil))
	other := errors.New("other")
	assert.Equal(t, other, ringError("something", other))
	_, err = newRing(uring.Config{Entries: 4, Flags: uring.SetupDeferTaskrun})
	assertLayer(t, err, LayerKernel)
	assert.ErrorContains(t, err, "set up ring: EINVAL")
}

// TestRecvBundleMatchesLiburing holds what a provided pool prepares against liburing.
func TestRecvBundleMatchesLiburing(t *testing.T) {
	var s uring.SQE
	(&ProvidedPool{group: 9, consumption: consumption{bundles: true}}).prepRecv(&s, 7, 1)
	assert.Equal(t, *(*[64]byte)(unsafe.Pointer(&s)), cprep.Prep(cprep.RecvBundle))
}

// newRegisteredRing makes a ring with a device-less instance of n buffers and
// entries refill entries, by hand.
func newRegisteredRing(t *testing.T, flags uring.SetupFlags, n int, entries uint32) (*zcrxRing, ZCRXID, *refillQueue, area, []byte) {
	t.Helper()
	needDeviceLess(t)
	r := newTestRing(t, uring.Config{Entries: 16, CQEntries: 256, Flags: ownerFlags | flags})
	a, err := newArea(MemoryAnonymous, n, pageSize(), -1)
	require.NoError(t, err)
	region, err := sys.MapAnonymous(refillRegionSize(entries, pageSize()), pageSize())
	require.NoError(t, err)
	t.Cleanup(func() {
		a.unmap()
		assert.NoError(t, sys.Unmap(region))
	})
	answer, err := r.registerIfq(ifqRequest{
		refillEntries: entries, flags: regDeviceLess,
		areaAddr: sliceAddr(a.mem), areaLen: uint64(len(a.mem)),
		regionAddr: sliceAddr(region), regionSize: uint64(len(region)),
	})
	require.NoError(t, err)
	assert.Equal(t, entries, answer.refillEntries)
	q, err := newRefillQueue(region, answer.offsets, entries)
	require.NoError(t, err)
	return r, answer.id, &q, a, region
}

// receiveInto arms a receive on a connection and returns the sending side.
func receiveInto(t *testing.T, r *zcrxRing, id ZCRXID, limit uint32) (sender *net.TCPConn) {
	t.Helper()
	sender, conn := tcpPair(t)
	fd, err := sys.DetachConn(conn)
	require.NoError(t, err)
	require.NoError(t, sys.SetNonblock(fd, false))
	require.NoError(t, conn.Close())
	t.Cleanup(func() { assert.NoError(t, sys.Close(fd)) })
	r.GetSQE().PrepRecvZC(fd, uint32(id), limit)
	_, err = r.Submit()
	require.NoError(t, err)
	return sender
}

func TestFlushEmptiesTheRefillQueue(t *testing.T) {
	r, id, q, a, _ := newRegisteredRing(t, uring.SetupCQE32, 16, 16)
	sender := receiveInto(t, r, id, 0)
	// Three times around the refill queue, and the buffers.
	for round := range 3 {
		for range 16 {
			want := pattern(int64(round), 4096)
			_, err := sender.Write(want)
			require.NoError(t, err)
			got := 0
			for got < len(want) {
				c := reap(t, r, 1)[0]
				require.Positive(t, c.Res, "%v", c.Errno())
				data, err := a.locate(c.Big[0]&areaMask, uint64(c.Res))
				require.NoError(t, err)
				first := *(*byte)(data)
				require.Equal(t, want[got], first)
				got += int(c.Res)
				require.Positive(t, q.room())
				q.write(c.Big[0])
				q.publish()
				if q.pending() >= 8 {
					calls, err := r.flushIfq(id, q)
					require.NoError(t, err)
					assert.Equal(t, 1, calls)
					assert.Zero(t, q.pending())
				}
			}
		}
	}
	_, err := r.flushIfq(id, q)
	require.NoError(t, err)
	calls, err := r.flushIfq(id, q)
	require.NoError(t, err)
	assert.Zero(t, calls, "an empty queue costs no system call")
	_, err = r.flushIfq(id+7, q)
	require.NoError(t, err, "nothing to flush, nobody is asked")
	q.write(0)
	q.publish()
	_, err = r.flushIfq(id+7, q)
	assert.ErrorIs(t, err, syscall.ENXIO)
}

// TestLengthLimitLooksLikeTheEnd shows why a limited receive must be counted.
func TestLengthLimitLooksLikeTheEnd(t *testing.T) {
	r, id, _, _, _ := newRegisteredRing(t, uring.SetupCQEMixed, 16, 16)
	sender := receiveInto(t, r, id, 100)
	_, err := sender.Write(make([]byte, 300))
	require.NoError(t, err)
	got := 0
	last := reap(t, r, 1)[0]
	for ; last.Res > 0; last = reap(t, r, 1)[0] {
		got += int(last.Res)
	}
	assert.Equal(t, 100, got)
	assert.Zero(t, last.Res)
	assert.False(t, last.More())
}

func TestExportImportAndControl(t *testing.T) {
	r, id, q, a, _ := newRegisteredRing(t, uring.SetupCQE32, 16, 16)
	fd, err := r.exportIfq(id)
	require.NoError(t, err)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	require.NoError(t, err)
	assert.NotZero(t, flags&unix.FD_CLOEXEC)

	importer := newTestRing(t, uring.Config{Entries: 8, Flags: ownerFlags | uring.SetupCQE32})
	answer, err := importer.importIfq(fd)
	require.NoError(t, err)
	require.NoError(t, sys.Close(fd), "the import holds its own reference")
	assert.Zero(t, answer.refillEntries, "the kernel does not tell an importer")

	// Received by the importer, into the exporter's memory, returned through
	// the one refill queue, flushed by the importer.
	sender := receiveInto(t, importer, answer.id, 0)
	_, err = io.WriteString(sender, "through an imported pool")
	require.NoError(t, err)
	c := reap(t, importer, 1)[0]
	data, err := a.locate(c.Big[0]&areaMask, uint64(c.Res))
	require.NoError(t, err)
	first := *(*byte)(data)
	assert.Equal(t, byte('t'), first)
	q.write(c.Big[0])
	q.publish()
	calls, err := importer.flushIfq(answer.id, q)
	require.NoError(t, err)
	assert.Equal(t, 1, calls)

	_, err = r.exportIfq(id + 9)
	assert.ErrorIs(t, err, syscall.ENXIO)
	assert.ErrorContains(t, err, "no zcrx instance")
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	_, err = importer.importIfq(int(null.Fd()))
	assert.ErrorIs(t, err, syscall.EBADF)
	assert.ErrorContains(t, err, "no exported zcrx instance")
	if Have(FeatureEvents) == nil {
		assert.ErrorIs(t, r.armEvent(id, eventAllocFailed), syscall.EINVAL, "it has not fired")
	}
}

func TestAddAreaGivesMoreBuffers(t *testing.T) {
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	f := FeatureAddArea
	skip.Unless(t, f.String(), f.MinKernel(), fs.Have(f))
	r, id, _, _, _ := newRegisteredRing(t, uring.SetupCQE32, 2, 16)
	more, err := newArea(MemoryAnonymous, 6, pageSize(), -1)
	require.NoError(t, err)
	defer more.unmap()
	token, err := r.addArea(id, &more)
	require.NoError(t, err)
	assert.Equal(t, uint64(1), token>>areaShift)

	sender := receiveInto(t, r, id, 0)
	_, err = sender.Write(make([]byte, 8*4096))
	require.NoError(t, err)
	areas := map[uint64]int{}
	for c := reap(t, r, 1)[0]; c.Res > 0; c = reap(t, r, 1)[0] {
		areas[c.Big[0]>>areaShift]++
		if areas[0]+areas[1] == 8 {
			break
		}
	}
	assert.Equal(t, 2, areas[0])
	assert.Equal(t, 6, areas[1], "the new area's offsets carry its token")
	_, err = r.addArea(id, &area{dmabuf: -1})
	assert.ErrorIs(t, err, syscall.EFAULT)
}

// TestRefusals holds what a kernel answers against the layer and the remedy that
// a user gets.
func TestRefusals(t *testing.T) {
	l := newTestLoop(t, LoopConfig{})
	fds, maps := openFDs(t), mappings(t)
	ctx := t.Context()
	lo := Queue{Interface: "lo"}
	for want, queue := range map[string]Queue{
		`interface "nosuch0": no such interface`:                           {Interface: "nosuch0"},
		`receive queue of "lo", -1 is out of range: allowed are 0 to 0`:    {Interface: "lo", Number: -1},
		`receive queue of "lo", 99999 is out of range: allowed are 0 to 0`: {Interface: "lo", Number: 99999},
		"Queue.Interface is empty: name an interface":                      {},
	} {
		_, err := NewPool(ctx, l, queue, PoolConfig{})
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, ProbeQueue(queue), want)
	}
	for want, cfg := range map[string]PoolConfig{
		"out of range: allowed are 1 to 16777216":                     {NumBuffers: 1 << 40},
		"RefillEntries 40000 is out of range: allowed are 1 to 32768": {RefillEntries: 40000},
	} {
		_, err := NewPool(ctx, l, lo, cfg)
		assert.ErrorContains(t, err, want)
		_, err = NewDeviceLessPool(ctx, l, cfg)
		assert.ErrorContains(t, err, want)
	}
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	if fs.Have(FeatureZeroCopy) == nil {
		for _, size := range []int{0, 64 << 10} { // the large one is tried again as pages
			_, err := NewPool(ctx, l, lo, PoolConfig{NumBuffers: 16, BufferSizeHint: size})
			assertLayer(t, err, LayerDevice)
			assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
		}
	}
	if err := fs.Have(FeatureDeviceLess); err != nil {
		_, got := NewDeviceLessPool(ctx, l, PoolConfig{})
		assert.Equal(t, err, got, "refused before it is tried")
	}
	narrow := newTestLoop(t, LoopConfig{CompletionSize: Completion16})
	if fs.Have(FeatureZeroCopy) == nil {
		_, err = NewPool(ctx, narrow, lo, PoolConfig{})
		assert.ErrorContains(t, err, "completions have 16 bytes")
	}
	require.NoError(t, narrow.Close())
	assert.Equal(t, fds, openFDs(t))
	assert.LessOrEqual(t, mappings(t), maps+8) // the runtime maps on its own now and then
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = NewPool(cancelled, l, lo, PoolConfig{})
	assert.Error(t, err)
}

// TestProbeQueue checks that what is said of lo without touching it is what the
// kernel says.
func TestProbeQueue(t *testing.T) {
	assertLayer(t, ProbeQueue(Queue{Interface: "lo", Number: 0}), LayerDevice)
	assert.ErrorContains(t, ProbeQueue(Queue{Interface: "nosuch0", Number: 0}), "no such interface")
	assert.ErrorContains(t, ProbeQueue(Queue{Interface: "lo", Number: 99999}), "out of range")
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

// memlockLayer is the layer of ENOMEM for who has a memlock limit, 0 without one.
func memlockLayer() Layer {
	if _, limited := sys.MemlockLimit(); limited {
		return LayerPrivilege
	}
	return 0
}

// TestErrnoTable goes through what KernelError and UnsupportedError make of the
// kernel's answers to a registration.
func TestErrnoTable(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		flags uint32
		layer Layer // 0: no UnsupportedError
		text  string
	}{
		{syscall.EPERM, 0, LayerPrivilege, "CAP_NET_ADMIN"},
		{syscall.ENODEV, 0, LayerDevice, "no interface with index 1073741824"},
		{syscall.EOPNOTSUPP, 0, LayerDevice, "no queue management"},
		{syscall.EOPNOTSUPP, regDeviceLess, LayerKernel, "needs Linux 7.1"},
		{syscall.EINVAL, regDeviceLess, LayerKernel, "needs Linux 7.1"},
		{syscall.EINVAL, 0, 0, "tcp-data-split on"},
		{syscall.ERANGE, 0, LayerDevice, "queue 4 of interface index 1073741824 is out of range"},
		{syscall.EEXIST, 0, 0, "already has a memory provider"},
		{syscall.EBUSY, 0, 0, "AF_XDP"},
		{sys.ENODATA, 0, LayerDevice, "ignored the buffer area"},
		{syscall.ENOMEM, 0, memlockLayer(), "bytes could not be pinned"},
		{syscall.EFAULT, 0, 0, "not mapped, not writable or empty"},
		{syscall.E2BIG, 0, 0, "is too large"},
		{syscall.EOVERFLOW, 0, 0, "ask for fewer buffers"},
	} {
		err := registerIfqError("register interface queue", ifqRequest{ifindex: 1 << 30, queue: 4, flags: c.flags}, c.errno)
		assert.ErrorIs(t, err, c.errno)
		assert.ErrorContains(t, err, c.text)
		if c.layer != 0 {
			assertLayer(t, err, c.layer)
		} else {
			assert.NotErrorIs(t, err, ErrNotSupported)
		}
	}
	for errno, text := range map[syscall.Errno]string{
		syscall.EPERM: "CAP_NET_ADMIN", syscall.EBADF: "no exported", syscall.EINVAL: "needs Linux 6.19", syscall.ENOMEM: "ENOMEM",
	} {
		assert.ErrorContains(t, importError("import", 5, errno), text)
	}
	for errno, text := range map[syscall.Errno]string{
		syscall.ENXIO: "no zcrx instance 2", syscall.EOPNOTSUPP: "needs Linux 7.3", syscall.EFAULT: "bad pointer", syscall.ENOMEM: "memory is used up",
	} {
		assert.ErrorContains(t, ctrlError("add zcrx area", FeatureAddArea, 2, errno), text)
	}
	for errno, text := range map[syscall.Errno]string{syscall.ENXIO: "no zcrx instance 2", syscall.ENOMEM: "4096 bytes could not be pinned"} {
		assert.ErrorContains(t, addAreaError("add zcrx area", 2, ifqRequest{areaLen: 4096}, errno), text)
	}
	for errno, text := range map[syscall.Errno]string{
		syscall.ENOTSOCK: "no socket", syscall.EPROTONOSUPPORT: "not plain TCP", syscall.ENOTCONN: "not connected",
		syscall.EFAULT: "another zcrx instance", syscall.ECONNRESET: "reset", syscall.EINVAL: "does not know",
	} {
		err := receiveError(errno)
		assert.ErrorContains(t, err, text)
		assert.ErrorIs(t, err, errno)
	}
}

// TestSetupRefusals checks what an unusable io_uring answers to its user.
func TestSetupRefusals(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		layer Layer
	}{
		{syscall.ENOSYS, LayerKernel}, {syscall.EPERM, LayerSandbox}, {syscall.EINVAL, LayerKernel},
	} {
		err := setupError(c.errno, 1)
		unsupported, ok := errors.AsType[*UnsupportedError](err)
		require.True(t, ok)
		assert.Equal(t, c.layer, unsupported.Layer)
		assert.NotEmpty(t, unsupported.Remedy)
		assert.ErrorIs(t, err, c.errno)
		assert.ErrorIs(t, err, ErrNotSupported)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
	assert.ErrorContains(t, setupError(syscall.EMFILE, 1), "RLIMIT_NOFILE")
	assert.Equal(t, memlockLayer() != 0, errors.Is(setupError(syscall.ENOMEM, 1), ErrNotSupported))
}

// TestMemlockMessages tells a limit that is too small from one that is used up.
func TestMemlockMessages(t *testing.T) {
	tooSmall := memlockError("io_uring", 544768, 65536, "entries", &KernelError{Op: "set up ring", Errno: syscall.ENOMEM})
	assertLayer(t, tooSmall, LayerPrivilege)
	assert.EqualError(t, tooSmall, "zcrx: io_uring not supported (privilege): set up ring: ENOMEM (cannot allocate memory): "+
		"544768 bytes could not be pinned; raise RLIMIT_MEMLOCK (ulimit -l) from 65536 to at least 544768 bytes, "+
		"and what other rings and pools of this user need, run with CAP_IPC_LOCK, or ask for fewer entries")
	usedUp := memlockError("io_uring", 8192, 65536, "entries", &KernelError{Op: "set up ring", Errno: syscall.ENOMEM})
	assertLayer(t, usedUp, LayerPrivilege)
	assert.EqualError(t, usedUp, "zcrx: io_uring not supported (privilege): set up ring: ENOMEM (cannot allocate memory): "+
		"8192 bytes could not be pinned: other rings and pools of this user hold too much of the 65536 that it may pin; "+
		"raise RLIMIT_MEMLOCK (ulimit -l) from 65536 to 73728 bytes, close other rings and pools, run with CAP_IPC_LOCK, or ask for fewer entries")
}

// TestRegistrationIsRetried plays an earlier owner whose teardown takes a while.
func TestRegistrationIsRetried(t *testing.T) {
	tries := 0
	err := retryExist(t.Context(), func() error {
		if tries++; tries < 4 {
			return &KernelError{Op: "register", Errno: syscall.EEXIST}
		}
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 4, tries)

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err = retryExist(ctx, func() error { return syscall.EEXIST })
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.ErrorIs(t, err, syscall.EEXIST)
}

// TestManyPoolsOnOneLoop holds many pools on one ring, and closes the loop under them.
func TestManyPoolsOnOneLoop(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		goroutines := runtime.NumGoroutine()
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		var pools []BufferPool
		for range 50 {
			pools = append(pools, openTestPool(t, l, mode, PoolConfig{NumBuffers: 8, RefillEntries: 8}))
		}
		for _, p := range pools[:25] {
			require.NoError(t, p.Close())
		}
		sender, r := newTestReceiver(t, pools[49])
		send(t, sender, []byte("the last pool works"))
		assert.Equal(t, "the last pool works", string(receiveAll(t, r)))
		require.NoError(t, r.Close())
		require.NoError(t, l.Close())
		for _, p := range pools {
			assert.True(t, p.accounts().freed)
		}
		settled(t, openFDs(t), goroutines)
	})
}

func TestCopyStatisticsComeFromTheKernel(t *testing.T) {
	needDeviceLess(t)
	fs, err := ProbeFeatures()
	require.NoError(t, err)
	skip.Unless(t, FeatureEvents.String(), FeatureEvents.MinKernel(), fs.Have(FeatureEvents))
	l := newTestLoop(t, LoopConfig{})
	p, err := NewDeviceLessPool(t.Context(), l, PoolConfig{NumBuffers: 64})
	require.NoError(t, err)
	require.NotNil(t, p.memory.copied)
	sender, r := newTestReceiver(t, p)
	send(t, sender, pattern(1, 1<<20))
	receiveAll(t, r)
	// Nearly all: what comes out of a packet's linear part is not counted.
	counted := atomic.LoadUint64(&p.memory.copied.bytes)
	assert.LessOrEqual(t, counted, uint64(1<<20))
	assert.Greater(t, counted, uint64(1<<19))
	s := p.Stats()
	assert.Positive(t, s.CopiedFragments)
	assert.Equal(t, uint64(1<<20), s.CopiedBytes)
	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	assert.Equal(t, s.CopiedFragments, p.Stats().CopiedFragments, "also after the memory has gone")
}
