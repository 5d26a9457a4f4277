//go:build linux && cgo

package zcrx

import (
	"bytes"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// What a real kernel answers to a program that gets things wrong, as liburing's own
// tests of zcrx ask it: each is refused, and what follows works.

// TestBadRegistrations spoils one thing of a registration at a time.
func TestBadRegistrations(t *testing.T) {
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

// TestBadRefillEntries puts nonsense between good entries: the kernel stops at it,
// and returns as if it had not. Every good entry counts all the same.
func TestBadRefillEntries(t *testing.T) {
	const buffers = 8
	r, id, q, _, _ := newRegisteredRing(t, uring.SetupCQE32, buffers, 32)
	sender := receiveInto(t, r, id, 0)
	receive := func(n int) (offsets []uint64) {
		for range n { // one at a time: each fills a buffer
			_, err := sender.Write(make([]byte, 4096))
			require.NoError(t, err)
			c := reap(t, r, 1)[0]
			require.Equal(t, int32(4096), c.Res)
			offsets = append(offsets, c.Big[0])
		}
		return offsets
	}
	for range 3 {
		got := receive(4)
		nonsense := []uint64{
			5 << areaShift,         // no such area
			buffers * 4096,         // behind the area
			areaMask,               // far behind
			^uint64(0),             // the farthest
			(buffers - 1) * 4096,   // a buffer that is the kernel's already
			got[0], got[0], got[0], // one that came back already
		}
		for _, offset := range got {
			for _, bad := range nonsense[:5] {
				q.write(bad)
			}
			q.write(offset)
		}
		for _, bad := range nonsense[5:] {
			q.write(bad)
		}
		q.publish()
		calls, err := r.flushIfq(id, q)
		require.NoError(t, err)
		t.Logf("%d system calls for %d entries", calls, 4*6+3)
		require.Zero(t, q.pending())
	}
	// All buffers are the kernel's again: so many can be filled at once, and no more.
	assert.Len(t, receive(buffers), buffers)
	_, err := sender.Write(make([]byte, 4096))
	require.NoError(t, err)
	assert.ErrorIs(t, reap(t, r, 1)[0].Errno(), syscall.ENOMEM)
}

// TestReceiverEndsWhenFlushFails plays a kernel that refuses to empty the refill
// queue: receives that wait for a buffer end with its answer, and no buffer is lost.
func TestReceiverEndsWhenFlushFails(t *testing.T) {
	const buffers = 8
	l, p := newDeviceLessPool(t, PoolConfig{NumBuffers: buffers})
	sender, r := newTestReceiver(t, p)
	data := pattern(1, 4*buffers*int(pageSize()))
	go func() { _, _ = sender.Write(data) }() // the receiver's end ends it
	held := takeBuffers(t, r, buffers)
	var got []byte
	for _, b := range held {
		got = append(got, b.Bytes()...)
	}
	require.True(t, bytes.HasPrefix(data, got))
	require.NoError(t, l.do(func() error {
		f := newFlushRequest(p.id, p.memory.refillQueue.khead, 0)
		setFlushError(&f, syscall.EIO)
		p.flushed(l, &f)
		return nil
	}))
	require.NoError(t, ReleaseAll(held))
	_, err := r.Recv(t.Context())
	require.ErrorIs(t, err, syscall.EIO)
	s := p.Stats()
	assert.Zero(t, s.Outstanding)
	assert.Equal(t, uint64(1), s.FlushErrors, "it is not tried again and again")
	require.NoError(t, r.Close())
	require.NoError(t, p.Close())
	assert.True(t, unmapped(p))
}
