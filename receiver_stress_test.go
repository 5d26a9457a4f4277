//go:build linux && cgo

package zcrx

import (
	"bytes"
	"context"
	"io"
	"math/rand"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestReceiverStress receives streams with random shares, batches, pauses, moves to another
// loop and, sometimes, a handler that takes over. Every stream arrives whole and in order,
// and no receive stays paused. It runs for 2s, or ZCRX_STRESS_TIME.
func TestReceiverStress(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		seed := time.Now().UnixNano()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewSource(seed))
		for end := time.Now().Add(zcrxtest.StressTime(t)); time.Now().Before(end) && !t.Failed(); {
			receiveAtRandom(t, mode, rand.New(rand.NewSource(rnd.Int63())))
		}
	})
}

// receiveAtRandom receives one stream.
func receiveAtRandom(t *testing.T, mode Mode, rnd *rand.Rand) {
	const size = 3 << 20
	cfg := PoolConfig{NumBuffers: 1 << (2 + rnd.Intn(7))}
	cfg.MaxLeases = 1 + rnd.Intn(cfg.NumBuffers)
	var pools [2]BufferPool
	for i := range pools {
		l, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		defer l.Close()
		pools[i] = openTestPool(t, l, mode, cfg)
	}
	peer, conn := tcpPair(t)
	r, err := NewReceiver(pools[0], conn)
	require.NoError(t, err)
	s := newStream(rnd.Int63())
	s.Send(t, peer, size)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	stop := make(chan struct{})
	var others sync.WaitGroup
	moves := rnd.Intn(2) == 0
	if moves {
		others.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Duration(i%7) * 300 * time.Microsecond):
				}
				if err := r.MoveTo(ctx, pools[i%2]); err != nil {
					return
				}
			}
		})
	}
	at := 0
	var held []Buffer
	most := rnd.Intn(max(1, cfg.MaxLeases))
	take := func(b Buffer) {
		assert.True(t, bytes.Equal(s.At(at, b.Len()), b.Bytes()), "at %d", at)
		at += b.Len()
		held = append(held, b)
		if len(held) > most {
			n := 1 + rnd.Intn(len(held))
			assert.NoError(t, ReleaseAll(held[:n]))
			held = append(held[:0], held[n:]...)
		}
	}
	handleAt := size + 1
	if rnd.Intn(2) == 0 {
		handleAt = rnd.Intn(size)
	}
	dst := make([]Buffer, 1+rnd.Intn(20))
	for err = nil; err == nil && at < handleAt; {
		var n int
		n, err = r.RecvBatch(ctx, dst)
		for _, b := range dst[:n] {
			take(b)
		}
		if rnd.Intn(8) == 0 {
			time.Sleep(time.Duration(rnd.Intn(300)) * time.Microsecond)
		}
	}
	if err == nil {
		done := make(chan error, 1)
		require.NoError(t, r.Handle(nil, func(buffers []Buffer, err error) {
			for _, b := range buffers {
				take(b)
			}
			if err != nil {
				done <- err
			}
		}))
		select {
		case err = <-done:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	assert.Equal(t, io.EOF, err, "%+v, most %d held, moves %v, handled at %d", cfg, most, moves, handleAt)
	assert.Equal(t, size, at)
	close(stop)
	others.Wait()
	assert.NoError(t, ReleaseAll(held))
	assert.NoError(t, r.Close())
	for _, p := range pools {
		st := p.Stats()
		assert.Zero(t, st.Outstanding)
		assert.Equal(t, st.Completions, st.Returned)
	}
}
