//go:build linux && cgo

package zcrx

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/uring"
)

func TestEntriesAndIndexesWrapAround(t *testing.T) {
	for kernel, layout := range refillLayouts {
		t.Run(kernel, func(t *testing.T) {
			k := newFakePool(t, 8, 4, layout)
			// Start right before the indexes overflow 32 bits.
			q := &k.pool.memory.refillQueue
			q.tail = ^uint32(0) - 5
			atomic.StoreUint32(q.khead, q.tail)
			q.publish()
			for range 20 {
				b := k.completeN(3)
				release(t, b...)
				require.Equal(t, 3, k.pending())
				require.Equal(t, 3, k.takeEntries(8))
			}
			k.destroy()
		})
	}
}

func TestRefillQueueRefusesBadOffsets(t *testing.T) {
	region := make([]byte, 4096)
	for _, off := range []refillOffsets{{head: 4093}, {tail: 1 << 20}, {entries: 4000}, {entries: ^uint32(0)}} {
		_, err := newRefillQueue(region, off, 16)
		assert.Error(t, err, "%+v", off)
	}
	_, err := newRefillQueue(region, refillOffsets{tail: 4, entries: 64}, 12)
	assert.Error(t, err, "12 is no power of two")
}

// TestKernelSkipsBadRefillEntries puts invalid entries between valid ones. The kernel stops
// at an invalid entry without an error, and takes every valid one after more calls.
func TestKernelSkipsBadRefillEntries(t *testing.T) {
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
			buffers * 4096,         // after the area
			areaMask,               // far after the area
			^uint64(0),             // the largest offset
			(buffers - 1) * 4096,   // a buffer that the kernel already has
			got[0], got[0], got[0], // a buffer that was already returned
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
	// The kernel has all buffers again: it can fill this many at once, and no more.
	assert.Len(t, receive(buffers), buffers)
	_, err := sender.Write(make([]byte, 4096))
	require.NoError(t, err)
	assert.ErrorIs(t, reap(t, r, 1)[0].Errno(), syscall.ENOMEM)
}
