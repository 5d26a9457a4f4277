//go:build linux && cgo

package zcrx

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// until waits for room as long as ctx allows.
func until(ctx context.Context) func(room <-chan struct{}) error {
	return func(room <-chan struct{}) error {
		select {
		case <-room:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestSocketPool(t *testing.T) {
	p, err := NewSocketPool(PoolConfig{NumBuffers: 2, BufferSizeHint: 1 << 17, MaxLeases: 2})
	require.NoError(t, err)
	var a, b, c socketBuffer
	require.True(t, p.tryBorrow(&a))
	require.Len(t, a.mem, 1<<17)
	require.NoError(t, p.borrow(&b, until(t.Context())))
	require.False(t, p.tryBorrow(&c))

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	assert.ErrorIs(t, p.borrow(&c, until(ended)), context.Canceled)

	p.returnUnused(&a)
	p.returnUnused(&a) // no longer borrowed
	p.returnUnused(&c)
	require.Len(t, p.idle, 1)
	lease := p.leaseTo(&share{limit: 2}, &b, 3)
	assert.Equal(t, 1, p.Stats().Outstanding)
	assert.EqualValues(t, 3, p.Stats().Bytes)
	waits := make(chan error)
	require.True(t, p.tryBorrow(&a))
	go func() { waits <- p.borrow(&c, until(context.Background())) }()
	require.NoError(t, lease.Release())
	require.NoError(t, <-waits, "a released lease is lent again")
	assert.ErrorIs(t, lease.Release(), ErrReleased)
	assert.Empty(t, p.idle)
	p.returnUnused(&a)
	p.returnUnused(&c)
	assert.Len(t, p.idle, 2)
}

// TestSocketPoolWakesEveryWaiter has more goroutines wait than there are buffers, some of
// which stop waiting: none may miss a buffer.
func TestSocketPoolWakesEveryWaiter(t *testing.T) {
	p, err := NewSocketPool(PoolConfig{NumBuffers: 3, MaxLeases: 3})
	require.NoError(t, err)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			s := &share{limit: 3}
			for k := range 300 {
				ctx, cancel := context.Background(), func() {}
				if (i+k)%4 == 0 {
					ctx, cancel = context.WithTimeout(ctx, 10*time.Microsecond)
				}
				var b socketBuffer
				switch err := p.borrow(&b, until(ctx)); {
				case err != nil:
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				case k%2 == 0:
					p.returnUnused(&b)
				default:
					lease := p.leaseTo(s, &b, 1)
					runtime.Gosched()
					assert.NoError(t, lease.Release())
				}
				cancel()
			}
		})
	}
	all.Wait()
	assert.Len(t, p.idle, 3)
	assert.Zero(t, p.waiting)
	assert.Zero(t, p.Stats().Outstanding)
}
