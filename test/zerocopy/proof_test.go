//go:build nic

package zerocopy

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// proof checks that the device put the bytes received on some queues into the pools' buffers.
// The kernel's copy statistics are not enough: they leave out bytes that it copies from
// beside a packet's headers.
type proof struct {
	t      *testing.T
	queues []int
	before counters
}

// beginProof reads the counters. It must be called before the first byte of payload is sent.
func beginProof(t *testing.T, queues ...int) proof {
	t.Helper()
	return proof{t: t, queues: queues, before: readCounters(t)}
}

// check returns an error if not all of the received bytes, which came over conns, were placed
// into buffers. Bytes that the senders retransmitted may have been placed twice: TCP does so
// after packets are dropped, and on a slow machine also without need. The pools must be open.
func (p proof) check(received int64, conns ...connection) error {
	p.t.Helper()
	placed, err := p.checkPlaces()
	resent := int64(0)
	for _, c := range conns { // read after the placed bytes, so that it includes all that these do
		resent += c.resent(p.t)
	}
	if placed < received || placed > received+resent {
		err = errors.Join(err, fmt.Errorf("the device placed %d bytes, received were %d, sent again %d", placed, received, resent))
	}
	return err
}

// checkPlaces returns how many bytes the device has placed into buffers. It returns an error
// if bytes went to another place, or if a queue is not used by io_uring.
func (p proof) checkPlaces() (placed int64, err error) {
	p.t.Helper()
	grown := readCounters(p.t).since(p.before)
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := grown.sum("linear_bytes"); n != 0 {
		fault("%d bytes came beside their headers", n)
	}
	if n := grown.sum("page_bytes"); n != 0 {
		fault("%d bytes came in ordinary pages", n)
	}
	for _, q := range p.queues {
		queue, err := readQueue(q)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		if !queue.ioUring {
			fault("queue %d is not io_uring's", q)
		}
		if pools, err := poolsOfIOUring(queue.napi); err != nil || pools != 1 {
			fault("queue %d has %d page pools of io_uring (%v)", q, pools, err)
		}
	}
	return int64(grown.sum("placed_bytes", p.queues...)), errors.Join(faults...)
}

// TestProofCanFail checks that proof returns errors for transfers that are not zero copy.
func TestProofCanFail(t *testing.T) {
	const size = 1 << 20
	t.Run("header split off", func(t *testing.T) {
		w := newWire(t)
		setSplit(t, splitOff, 0)
		loop := newLoop(t)
		pool, err := zcrx.NewProvidedPool(loop, zcrx.PoolConfig{NumBuffers: 256})
		require.NoError(t, err)
		p := beginProof(t, 1)
		require.NoError(t, transfer(t, w.connect(1), pool, size))
		err = p.check(size)
		assert.ErrorContains(t, err, "the device placed 0 bytes, received were 1048576")
		assert.ErrorContains(t, err, "bytes came beside their headers")
		assert.ErrorContains(t, err, "queue 1 is not io_uring's")
		assert.ErrorContains(t, err, "queue 1 has 0 page pools of io_uring")
	})
	t.Run("packets arrive unsplit", func(t *testing.T) {
		w := newWire(t)
		setOption(t, "unsplit_nth", 1)
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
		p := beginProof(t, 1)
		require.NoError(t, transfer(t, w.connect(1), pool, size))
		err := p.check(size)
		assert.ErrorContains(t, err, "the device placed 0 bytes, received were 1048576")
		assert.NotContains(t, err.Error(), "queue 1")
	})
	t.Run("another queue", func(t *testing.T) {
		w := newWire(t)
		pool := newPool(t, newLoop(t), 1, zcrx.PoolConfig{NumBuffers: 256})
		p := beginProof(t, 2)
		c := w.connect(1)
		require.NoError(t, transfer(t, c, pool, size))
		assert.ErrorContains(t, p.check(size), "the device placed 0 bytes, received were 1048576")
		assert.NoError(t, proof{t, []int{1}, p.before}.check(size, c))
	})
}
