//go:build linux && cgo

package zcrx

import (
	"context"
	"fmt"
	"io"
	"math/rand"
	"net"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/cprep"
	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
)

// Tests of the copying pool on the running kernel, in each way in which that uses buffers
// up.

// everyConsumption returns the ways that this kernel does correctly, whole buffers first.
func everyConsumption() []consumption {
	if !bestConsumption().incremental {
		return []consumption{{}}
	}
	return []consumption{{}, {incremental: true}, {bundles: true}, {incremental: true, bundles: true}}
}

func TestBestConsumption(t *testing.T) {
	for release, want := range map[string]bool{
		"5.19.0": false, "6.1.0-50-cloud-amd64": false, "6.12.106": false, "6.12.107+deb13-cloud-amd64": true,
		"6.13.0": false, "6.15.11": false, "6.16.0": true, "6.18.15": true, "7.3.4": true,
	} {
		assert.Equal(t, want, completesInOrder(release), release)
	}
	best := consumption{}
	if completesInOrder(sys.KernelRelease()) {
		best = consumption{incremental: true, bundles: limitsBundles(sys.KernelRelease())}
	}
	assert.Equal(t, best, bestConsumption(), "each such kernel has both")
}

func inEveryConsumption(t *testing.T, test func(t *testing.T, how consumption)) {
	for _, how := range everyConsumption() {
		t.Run(how.String(), func(t *testing.T) { test(t, how) })
	}
}

func newTestProvidedPool(t testing.TB, l *Loop, how consumption, buffers int) *ProvidedPool {
	t.Helper()
	p, err := newProvidedPool(context.Background(), l, PoolConfig{NumBuffers: buffers, MaxLeases: MaxNumBuffers}, how)
	require.NoError(t, err)
	return p
}

// checkAllBack checks that every buffer is in the ring when no lease is out and no data
// comes.
func checkAllBack(t testing.TB, p *ProvidedPool) {
	t.Helper()
	require.NoError(t, p.loop.do(func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		assert.False(t, p.lost)
		if p.consumption.inOrder() {
			assert.Equal(t, p.numBuffers, int(p.ring.tail-p.head), "buffers in the ring, from %d to %d", p.head, p.ring.tail)
		}
		for id, owed := range p.owed {
			begun := int32(0)
			if p.consumption.incremental && int(p.ring.id(p.head)) == id {
				begun = -p.leases
			}
			assert.Equal(t, begun, owed, "buffer %d", id)
		}
		return nil
	}))
	assert.Zero(t, p.Stats().Outstanding)
	assert.Zero(t, p.Stats().DoubleReleases)
}

// parking keeps up to limit leases for a while, and releases them in random order.
type parking struct {
	t     testing.TB
	limit int
	mu    sync.Mutex
	rng   *rand.Rand
	held  []Buffer
}

func newParking(t testing.TB, limit int) *parking {
	return &parking{t: t, limit: limit, rng: rand.New(rand.NewSource(int64(limit)))}
}

func (p *parking) park(b Buffer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = append(p.held, b)
	for len(p.held) > p.limit || len(p.held) > 0 && p.rng.Intn(8) == 0 {
		i, last := p.rng.Intn(len(p.held)), len(p.held)-1
		assert.NoError(p.t, p.held[i].Release())
		p.held[i] = p.held[last]
		p.held = p.held[:last]
	}
}

func (p *parking) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	assert.NoError(p.t, ReleaseAll(p.held))
	p.held = nil
}

// chatter sends n bytes in pieces of all sizes, with and without pauses, then ends
// the stream.
func (s stream) chatter(t testing.TB, c *net.TCPConn, seed int64, n int) {
	rng := rand.New(rand.NewSource(seed))
	for offset := 0; offset < n; {
		size := 1 + rng.Intn([]int{1, 10, 100, 5000, 30000}[rng.Intn(5)])
		if rng.Intn(4) == 0 {
			size = 4096 * (1 + rng.Intn(4))
		}
		size = min(size, n-offset)
		_, err := c.Write(s.At(offset, size))
		if !assert.NoError(t, err) {
			return
		}
		offset += size
		if rng.Intn(50) == 0 {
			time.Sleep(time.Duration(rng.Intn(500)) * time.Microsecond) // bursts of all lengths
		}
	}
	assert.NoError(t, c.CloseWrite())
}

func TestConsumptionOfOneStream(t *testing.T) {
	inEveryConsumption(t, func(t *testing.T, how consumption) {
		for _, buffers := range []int{1, 2, 3, 8, 64, 1000} {
			t.Run(fmt.Sprintf("%d buffers", buffers), func(t *testing.T) {
				p := newTestProvidedPool(t, newTestLoop(t, LoopConfig{}), how, buffers)
				for _, limit := range []int{0, buffers / 2, buffers - 1} {
					size := zcrxtest.Volume(min(buffers*400_000, 3_000_000)) + 1
					sender, r := newTestReceiver(t, p)
					s, parked := newStream(int64(limit)), newParking(t, limit)
					s.Send(t, sender, size)
					got, err := s.receive(t, r, 0, parked.park)
					assert.ErrorIs(t, err, io.EOF)
					assert.Equal(t, size, got)
					parked.clear()
				}
				checkAllBack(t, p)
			})
		}
	})
}

// TestConsumptionOfManyStreams has connections take turns at the same buffers.
func TestConsumptionOfManyStreams(t *testing.T) {
	inEveryConsumption(t, func(t *testing.T, how consumption) {
		for _, buffers := range []int{1, 2, 8, 64} {
			for _, cq := range []int{4, 0} {
				t.Run(fmt.Sprintf("%d buffers, completion queue %d", buffers, cq), func(t *testing.T) {
					p := newTestProvidedPool(t, newTestLoop(t, LoopConfig{Entries: max(cq, 4), CQEntries: cq}), how, buffers)
					parked := newParking(t, buffers/2)
					s := newStream(21)
					var wg sync.WaitGroup
					for i := range 16 {
						sender, r := newTestReceiver(t, p)
						from, n := s.from(i), zcrxtest.Volume(100_000)+i
						wg.Go(func() { from.chatter(t, sender, int64(i), n) })
						wg.Go(func() {
							got, err := from.receive(t, r, 0, parked.park)
							assert.ErrorIs(t, err, io.EOF, "connection %d", i)
							assert.Equal(t, n, got, "connection %d", i)
						})
					}
					wg.Wait()
					parked.clear()
					checkAllBack(t, p)
				})
			}
		}
	})
}

// TestConsumptionAcrossEnds opens connections, ends them in every way, and resets some,
// while others continue.
func TestConsumptionAcrossEnds(t *testing.T) {
	inEveryConsumption(t, func(t *testing.T, how consumption) {
		for _, buffers := range []int{2, 32} {
			p := newTestProvidedPool(t, newTestLoop(t, LoopConfig{}), how, buffers)
			parked := newParking(t, buffers/2)
			s := newStream(22)
			var wg sync.WaitGroup
			n := zcrxtest.Volume(400_000)
			for i := range 4 {
				sender, r := newTestReceiver(t, p)
				wg.Go(func() { s.from(i).chatter(t, sender, int64(i), n) })
				wg.Go(func() {
					got, err := s.from(i).receive(t, r, 0, parked.park)
					assert.ErrorIs(t, err, io.EOF)
					assert.Equal(t, n, got)
				})
			}
			rng := rand.New(rand.NewSource(int64(buffers)))
			for round := range zcrxtest.Volume(60) {
				sender, conn := tcpPair(t)
				r, err := NewReceiver(p, conn)
				require.NoError(t, err)
				// Whole buffers, with the end right behind them, and others.
				n := 4096 * (1 + rng.Intn(40))
				if round%3 == 0 {
					n += rng.Intn(4096)
				}
				reset, closed := round%4 == 1, round%4 == 3
				wg.Go(func() {
					_, err := s.Write(sender, 0, n)
					if reset {
						_ = sender.SetLinger(0)
						_ = sender.Close()
						return
					}
					endErr := sender.CloseWrite()
					if !closed { // a close with data left resets the sender
						assert.NoError(t, err)
						assert.NoError(t, endErr)
					}
				})
				if closed {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rng.Intn(500))*time.Microsecond)
					if b, err := r.Recv(ctx); err == nil {
						parked.park(b)
					}
					cancel()
					require.NoError(t, r.Close()) // in the middle
					continue
				}
				got, err := s.receive(t, r, 0, parked.park)
				if !reset {
					assert.ErrorIs(t, err, io.EOF)
					assert.Equal(t, n, got)
				}
				require.NoError(t, r.Close())
			}
			wg.Wait()
			parked.clear()
			checkAllBack(t, p)
		}
	})
}

// TestCompletionOutOfOrderEndsReceivers checks that receivers end, rather than deliver
// bytes of unknown place.
func TestCompletionOutOfOrderEndsReceivers(t *testing.T) {
	for _, how := range everyConsumption() {
		if !how.inOrder() {
			continue
		}
		l := newTestLoop(t, LoopConfig{})
		p := newTestProvidedPool(t, l, how, 4)
		sender, r := newTestReceiver(t, p)
		_, err := sender.Write([]byte("good"))
		require.NoError(t, err)
		b, err := r.Recv(t.Context())
		require.NoError(t, err)
		require.NoError(t, l.do(func() error { p.head++; return nil }))
		_, err = sender.Write([]byte("of an unknown place"))
		require.NoError(t, err)
		_, err = r.Recv(t.Context())
		assert.ErrorIs(t, err, errBadCompletion)
		assert.Equal(t, "good", string(b.Bytes()))
		require.NoError(t, b.Release())
		assert.Zero(t, p.Stats().Outstanding)
	}
}

// TestRecvBundleMatchesLiburing compares the entry that a provided pool prepares with
// liburing's.
func TestRecvBundleMatchesLiburing(t *testing.T) {
	var s uring.SQE
	(&ProvidedPool{group: 9, consumption: consumption{bundles: true}}).prepRecv(&s, 7, 1)
	entry := cprep.Named("io_uring_prep_recv_multishot", 7, 0, 0, 0)
	want := *(*uring.SQE)(unsafe.Pointer(&entry))
	want.Flags |= uring.SQEBufferSelect
	want.Ioprio |= uring.RecvSendBundle
	want.BufferGroup = 9
	assert.Equal(t, want, s)
}
