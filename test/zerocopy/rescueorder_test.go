//go:build nic

package zerocopy

import (
	"errors"
	"io"
	"math/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// TestRescueOrder has connections rescued while they move between two loops, are paused, have
// ended their own stream, and while their consumers hold leases. Every byte must arrive once,
// and in order.
func TestRescueOrder(t *testing.T) {
	const size, conns = 2 << 20, 6
	w := newWire(t, "ring=256", "queues=4")
	e, err := zcnet.NewEngine(t.Context(), zcnet.Config{
		Mode: zcrx.ZeroCopy, Interface: device, Queues: []int{1}, Loops: 2,
		Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 8},
	})
	require.NoError(t, err)
	defer func() { assert.NoError(t, e.Close()) }()
	setOption(t, "unsplit_nth", 3)
	loops := e.Group().Loops()
	var all errgroup.Group
	for i := range conns {
		c := w.connect(1)
		in, err := e.NewConn(c.in)
		require.NoError(t, err)
		rnd := rand.New(rand.NewSource(int64(i)))
		if i%2 == 0 { // then both directions have ended at the end of the stream
			require.NoError(t, in.CloseWrite())
		}
		all.Go(func() error { return send(c.out, size) })
		done := make(chan struct{})
		if i%3 != 2 {
			all.Go(func() error {
				for n := i; ; n++ {
					select {
					case <-done:
						return nil
					case <-time.After(3 * time.Millisecond):
						_ = in.Migrate(t.Context(), loops[n%2]) // fails at the end
					}
				}
			})
		}
		all.Go(func() error {
			defer close(done)
			var s stream
			var held []zcrx.Buffer
			for {
				b, err := in.Recv(t.Context())
				if errors.Is(err, io.EOF) {
					return errors.Join(s.end(size), zcrx.ReleaseAll(held), in.Close())
				}
				if err != nil {
					return err
				}
				if err := s.check(b.Bytes()); err != nil {
					return err
				}
				held = append(held, b)
				if rnd.Intn(5) == 0 || len(held) > 6 {
					if err := zcrx.ReleaseAll(held); err != nil {
						return err
					}
					held = held[:0]
				}
			}
		})
	}
	assert.NoError(t, all.Wait())
	s := e.Stats().Group.Total
	t.Logf("%+v", s)
	assert.Zero(t, s.Outstanding)
	assert.Positive(t, s.RescuedBytes)
}
