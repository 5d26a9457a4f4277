package zcnet

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurnstile(t *testing.T) {
	ctx := t.Context()
	turn := &turnstile{}
	require.NoError(t, turn.enter(ctx, &noLimit, nil, nil))
	assert.False(t, turn.tryEnter())

	ended, cancel := context.WithCancel(ctx)
	cancel()
	assert.ErrorIs(t, turn.enter(ended, &noLimit, nil, nil), context.Canceled)
	var limit deadline
	limit.set(time.Unix(1, 0))
	assert.ErrorIs(t, turn.enter(ctx, &limit, nil, nil), os.ErrDeadlineExceeded)
	assert.ErrorIs(t, turn.enter(ctx, &noLimit, limit.done(), nil), net.ErrClosed)

	entered := make(chan error)
	go func() { entered <- turn.enter(ctx, &noLimit, nil, nil) }()
	turn.leave()
	require.NoError(t, <-entered)
	turn.leave()
	assert.True(t, turn.tryEnter())
}

// Who came first gets the lock first.
func TestTurnstileKeepsOrder(t *testing.T) {
	turn := &turnstile{}
	require.True(t, turn.tryEnter())
	const n = 10
	var order []int // guarded by turn
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			assert.NoError(t, turn.enter(t.Context(), &noLimit, nil, nil))
			order = append(order, i)
			turn.leave()
		})
		require.Eventually(t, func() bool {
			turn.mu.Lock()
			defer turn.mu.Unlock()
			return len(turn.waiting) == i+1
		}, time.Minute, time.Millisecond)
	}
	turn.leave()
	all.Wait()
	assert.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, order)
	assert.False(t, turn.held())
}

// Goroutines take the lock, wait for it and give up at random: one has it at a time, and in the
// end it is free.
func TestTurnstileStress(t *testing.T) {
	turn := &turnstile{}
	inside, entered := 0, 0 // guarded by turn
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				ctx, cancel := context.WithCancel(t.Context())
				var ends *time.Timer
				if rand.IntN(2) == 0 {
					ends = time.AfterFunc(time.Duration(rand.IntN(50))*time.Microsecond, cancel)
				}
				if turn.enter(ctx, &noLimit, nil, nil) == nil {
					inside++
					assert.Equal(t, 1, inside)
					entered++
					inside--
					turn.leave()
				}
				if ends != nil {
					ends.Stop()
				}
				cancel()
			}
		})
	}
	all.Wait()
	assert.False(t, turn.held())
	assert.Empty(t, turn.waiting)
	assert.Positive(t, entered)
}
