//go:build nic

package zerocopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

const (
	// patternSize is the period of the streams. It is a prime, so that two pieces of a
	// stream that have changed places differ.
	patternSize = 1<<20 - 3
	chunkSize   = 256 << 10
)

// pattern returns the bytes that every stream repeats, and the first chunk again, so that a
// chunk from any position is contiguous.
var pattern = sync.OnceValue(func() []byte {
	b := make([]byte, patternSize+chunkSize)
	_, _ = rand.New(rand.NewSource(1)).Read(b[:patternSize]) // never fails
	copy(b[patternSize:], b)
	return b
})

// send sends the first size bytes of the pattern's stream and then ends it.
func send(conn *net.TCPConn, size int64) error { return sendFrom(conn, 0, size) }

// sendFrom does what send does, from byte number at on.
func sendFrom(conn *net.TCPConn, at, size int64) error {
	for at < size {
		n := min(size-at, chunkSize)
		if _, err := conn.Write(pattern()[at%patternSize:][:n]); err != nil {
			return err
		}
		at += n
	}
	return conn.CloseWrite()
}

// stream checks the bytes of a stream as they arrive.
type stream struct{ at int64 }

func (s *stream) check(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), chunkSize)
		if !bytes.Equal(b[:n], pattern()[s.at%patternSize:][:n]) {
			return fmt.Errorf("wrong bytes among the %d from %d on", n, s.at)
		}
		s.at += int64(n)
		b = b[n:]
	}
	return nil
}

// end checks that the stream was size bytes long.
func (s *stream) end(size int64) error {
	if s.at != size {
		return fmt.Errorf("%d of %d bytes arrived", s.at, size)
	}
	return nil
}

// receive receives a stream of size bytes to its end and releases every buffer.
func receive(ctx context.Context, r *zcrx.Receiver, size int64) error {
	var s stream
	buffers := make([]zcrx.Buffer, 256)
	for {
		n, err := r.RecvBatch(ctx, buffers)
		if errors.Is(err, io.EOF) {
			return s.end(size)
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", s.at, err)
		}
		for _, b := range buffers[:n] {
			if err := s.check(b.Bytes()); err != nil {
				return errors.Join(err, zcrx.ReleaseAll(buffers[:n]))
			}
		}
		if err := zcrx.ReleaseAll(buffers[:n]); err != nil {
			return err
		}
	}
}

// transfer sends size bytes over a connection and receives them into a pool.
func transfer(t *testing.T, c connection, pool zcrx.BufferPool, size int64) error {
	t.Helper()
	r, err := zcrx.NewReceiver(pool, c.in)
	require.NoError(t, err)
	sent := make(chan error, 1)
	go func() { sent <- send(c.out, size) }()
	err = receive(t.Context(), r, size)
	if err != nil {
		_ = c.out.Close() // the sender may be waiting for the receiver
	}
	return errors.Join(err, <-sent, r.Close())
}

func newLoop(t *testing.T) *zcrx.Loop {
	t.Helper()
	loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, loop.Close()) })
	return loop
}

// newPool makes a pool on the device. At the end of the test all its leases must be released.
func newPool(t *testing.T, loop *zcrx.Loop, queue int, cfg zcrx.PoolConfig) *zcrx.Pool {
	t.Helper()
	pool, err := zcrx.NewPool(t.Context(), loop, zcrx.Queue{Interface: device, Number: queue}, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { closePool(t, pool) })
	return pool
}

func closePool(t *testing.T, pool *zcrx.Pool) {
	t.Helper()
	assert.NoError(t, pool.Close())
	s := pool.Stats()
	assert.Zero(t, s.Outstanding)
	assert.Equal(t, s.Completions, s.Returned)
	assert.Zero(t, s.DoubleReleases+s.UsesAfterRelease+s.FlushErrors)
}
