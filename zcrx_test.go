//go:build linux && cgo

package zcrx

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// newTestRing makes a ring for the test's goroutine, and locks that to its thread.
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

// TestZCRXRingRefusesOtherThreads checks the error of every call off the ring's thread, for
// which the kernel would return EEXIST or no error at all.
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

// TestUringErrorsBecomeOurs checks what this package makes of errors of package uring.
func TestUringErrorsBecomeOurs(t *testing.T) {
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

// newRegisteredRing makes a ring and registers a device-less instance with n buffers and
// the given number of refill entries.
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
	// Three times around the refill queue and the buffers.
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

// TestLengthLimitLooksLikeTheEnd shows that a receive that reaches its limit ends like a
// stream, so bytes must be counted.
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

	// The importer receives into the exporter's memory, returns through the shared refill
	// queue, and flushes.
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
	assert.ErrorContains(t, err, "not an exported zcrx instance")
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

// TestBadRegistrationsAreRefused makes one argument of a registration invalid at a time.
func TestBadRegistrationsAreRefused(t *testing.T) {
	needDeviceLess(t)
	r := newTestRing(t, uring.Config{Entries: 16, Flags: ownerFlags | uring.SetupCQE32})
	page := pageSize()
	mem := guarded(t, 4*page)
	region := guarded(t, page)
	defer func() {
		assert.NoError(t, sys.Unmap(mem))
		assert.NoError(t, sys.Unmap(region))
	}()
	readOnly, err := unix.Mmap(-1, 0, int(page), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	defer func() { assert.NoError(t, unix.Munmap(readOnly)) }()
	good := func() ifqRequest {
		return ifqRequest{
			flags: regDeviceLess, refillEntries: 16,
			areaAddr: sliceAddr(mem), areaLen: uint64(len(mem)),
			regionAddr: sliceAddr(region), regionSize: uint64(len(region)),
		}
	}
	for name, bad := range map[string]struct {
		spoil func(*ifqRequest)
		want  syscall.Errno
	}{
		"no refill entries":              {func(q *ifqRequest) { q.refillEntries = 0 }, syscall.EINVAL},
		"too many refill entries":        {func(q *ifqRequest) { q.refillEntries = maxRefillEntries + 1 }, syscall.EINVAL},
		"unknown flags":                  {func(q *ifqRequest) { q.flags |= 1 << 31 }, syscall.EINVAL},
		"an interface and none":          {func(q *ifqRequest) { q.ifindex = 1 }, syscall.EINVAL},
		"a queue of no interface":        {func(q *ifqRequest) { q.queue = 1 }, syscall.EINVAL},
		"buffers of 64 KiB":              {func(q *ifqRequest) { q.bufferSize = 64 << 10 }, syscall.EOPNOTSUPP},
		"buffers of 5000 bytes":          {func(q *ifqRequest) { q.bufferSize = 5000 }, syscall.EINVAL},
		"area of no bytes":               {func(q *ifqRequest) { q.areaLen = 0 }, syscall.EFAULT},
		"area at no address":             {func(q *ifqRequest) { q.areaAddr = 0 }, syscall.EFAULT},
		"area beside a page":             {func(q *ifqRequest) { q.areaAddr += 8 }, syscall.EINVAL},
		"area of a part of a page":       {func(q *ifqRequest) { q.areaLen -= 8 }, syscall.EINVAL},
		"area that is not mapped":        {func(q *ifqRequest) { q.areaAddr += 4 * page }, syscall.EFAULT},
		"area whose end is not mapped":   {func(q *ifqRequest) { q.areaAddr += page }, syscall.EFAULT},
		"area that cannot be written":    {func(q *ifqRequest) { q.areaAddr, q.areaLen = sliceAddr(readOnly), uint64(page) }, syscall.EFAULT},
		"area over the address space":    {func(q *ifqRequest) { q.areaAddr = ^uintptr(0) &^ (page - 1) }, syscall.EOVERFLOW},
		"area with unknown flags":        {func(q *ifqRequest) { q.areaFlags = 1 << 31 }, syscall.EINVAL},
		"a dma-buf that is none":         {func(q *ifqRequest) { q.dmabufFD = 1 }, syscall.EINVAL},
		"a dma-buf without interface":    {func(q *ifqRequest) { q.areaFlags, q.areaAddr, q.dmabufFD = areaDMABuf, 0, 1 }, syscall.EINVAL},
		"refill queue at no address":     {func(q *ifqRequest) { q.regionAddr = 0 }, syscall.EFAULT},
		"refill queue beside a page":     {func(q *ifqRequest) { q.regionAddr += 8 }, syscall.EINVAL},
		"refill queue that is too small": {func(q *ifqRequest) { q.refillEntries = 1024 }, syscall.EINVAL},
		"refill queue not mapped":        {func(q *ifqRequest) { q.regionAddr += page }, syscall.EFAULT},
	} {
		req := good()
		bad.spoil(&req)
		_, err := r.registerIfq(req)
		assert.ErrorIs(t, err, bad.want, name)
	}
	a, err := r.registerIfq(good())
	require.NoError(t, err, "the ring is as good as new")
	sender := receiveInto(t, r, a.id, 0)
	_, err = sender.Write([]byte("after all that"))
	require.NoError(t, err)
	assert.Equal(t, int32(14), reap(t, r, 1)[0].Res)
}
