//go:build linux && cgo

package zcrx

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// soakBytes is how much TestSoak receives: 16 MiB, or ZCRX_SOAK_BYTES.
func soakBytes(t *testing.T) int64 {
	t.Helper()
	s := os.Getenv("ZCRX_SOAK_BYTES")
	if s == "" {
		return int64(zcrxtest.Volume(16 << 20))
	}
	n, err := strconv.ParseInt(s, 10, 64)
	require.NoError(t, err)
	require.Positive(t, n)
	return n
}

// TestSoak receives through a pool of 64 buffers; four goroutines hold each lease for a
// random time before they give it back, so that the pool often has no free buffer. The
// receiving goroutine hashes before it passes a lease on.
func TestSoak(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode Mode) {
		const buffers, holders = 64, 4
		l := newTestLoop(t, LoopConfig{})
		p := openTestPool(t, l, mode, PoolConfig{NumBuffers: buffers, RefillEntries: 16, MaxLeases: MaxNumBuffers})
		sender, r := newTestReceiver(t, p)
		size := soakBytes(t)
		sentSum := make(chan string, 1)
		go func() {
			sent := sha256.New()
			chunk := make([]byte, 256<<10)
			rng := rand.New(rand.NewSource(size))
			for left := size; left > 0; {
				n := min(left, int64(len(chunk)))
				_, _ = rng.Read(chunk[:n]) // never fails
				_, _ = sent.Write(chunk[:n])
				if _, err := sender.Write(chunk[:n]); !assert.NoError(t, err) {
					return
				}
				left -= n
			}
			assert.NoError(t, sender.CloseWrite())
			sentSum <- fmt.Sprintf("%x", sent.Sum(nil))
		}()
		// The channel holds fewer leases than there are buffers.
		passed := make(chan Buffer, buffers/2)
		var wg sync.WaitGroup
		for i := range holders {
			wg.Go(func() {
				rng := rand.New(rand.NewSource(int64(i)))
				var held []Buffer
				for b := range passed {
					held = append(held, b)
					if len(held) < 1+rng.Intn(buffers/2/holders) {
						continue
					}
					if rng.Intn(64) == 0 {
						time.Sleep(time.Duration(rng.Intn(500)) * time.Microsecond)
					}
					rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
					assert.NoError(t, ReleaseAll(held))
					held = held[:0]
				}
				assert.NoError(t, ReleaseAll(held))
			})
		}
		received, got := sha256.New(), int64(0)
		for {
			b, err := r.Recv(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			_, _ = received.Write(b.Bytes())
			got += int64(b.Len())
			passed <- b
		}
		close(passed)
		wg.Wait()
		require.Equal(t, size, got)
		require.Equal(t, <-sentSum, fmt.Sprintf("%x", received.Sum(nil)))
		s := p.Stats()
		assert.Zero(t, s.Outstanding)
		assert.Equal(t, s.Completions, s.Returned)
		assert.Equal(t, uint64(size), s.Bytes)
		assert.Zero(t, s.DoubleReleases+s.UsesAfterRelease+s.FlushErrors)
		t.Logf("%+v", s)
	})
}
