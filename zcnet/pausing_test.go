//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// TestReadAheadStress checks that every connection that is paused is resumed. Several
// connections at a time have consumers that are quick, slow or stop for a while, read with
// every method, move to other loops and close. Every byte is checked.
func TestReadAheadStress(t *testing.T) {
	for _, pool := range []zcrx.PoolConfig{
		{NumBuffers: 512}, {NumBuffers: 256, MaxLeases: 3}, {NumBuffers: 16, MaxLeases: 1}, {NumBuffers: 8}, {NumBuffers: 1},
	} {
		// A Peek that waits holds leases. All of them together must not hold the whole pool.
		peeks := pool.NumBuffers >= 256 || pool.MaxLeases == 1
		t.Run(fmt.Sprintf("%d buffers, %d leases", pool.NumBuffers, pool.MaxLeases), func(t *testing.T) {
			withEngine(t, Config{Loops: 2, Pool: pool}, func(t *testing.T, e *Engine) {
				seed, s := uint64(time.Now().UnixNano()), zcrxtest.NewStream(15)
				until := time.Now().Add(stressTime)
				var running sync.WaitGroup
				for worker := range stressConns {
					running.Go(func() {
						rnd := rand.New(rand.NewPCG(seed, uint64(worker)))
						for n := 0; time.Now().Before(until) && !t.Failed(); n++ {
							stressOne(t, e, s, peeks, rnd)
						}
					})
				}
				running.Wait()
				t.Logf("seed %d, paused %d times", seed, e.Stats().Group.Total.Paused)
			})
		})
	}
}

const (
	stressTime  = 200 * time.Millisecond
	stressConns = 8 // connections at a time
)

// stressOne sends a stream through a connection of its own.
func stressOne(t *testing.T, e *Engine, s zcrxtest.Stream, peeks bool, rnd *rand.Rand) {
	peer, c := connPair(t, e)
	defer peer.Close()
	size := rnd.IntN(zcrxtest.Volume(1 << 20))
	slow := rnd.IntN(4) == 0
	pieces := rand.New(rand.NewPCG(rnd.Uint64(), 0))
	moves := rand.New(rand.NewPCG(rnd.Uint64(), 0))

	var others sync.WaitGroup
	over := make(chan struct{})
	others.Go(func() {
		for at := 0; at < size; {
			next := min(size, at+1+pieces.IntN(1<<pieces.IntN(18)))
			if _, err := peer.Write(s.At(at, next-at)); err != nil {
				return // the consumer closed the connection
			}
			at = next
			if slow && pieces.IntN(4) == 0 {
				time.Sleep(time.Duration(pieces.IntN(1000)) * time.Microsecond)
			}
		}
		_ = peer.CloseWrite()
	})
	if e.Mode() != zcrx.Socket && rnd.IntN(2) == 0 {
		loops := e.Group().Loops()
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				case <-time.After(time.Duration(moves.IntN(3000)) * time.Microsecond):
				}
				_ = c.Migrate(context.Background(), loops[moves.IntN(len(loops))]) // the stream may have ended
			}
		})
	}
	u := &stressConsumer{t: t, c: c, rnd: rnd, stream: s, size: size, peeks: peeks}
	late := time.AfterFunc(zcrxtest.Patience, func() {
		assert.Fail(t, "the stream stands still", "at %d of %d: %s", u.at, size, u.doing)
		_ = c.Close()
		_ = peer.Close()
	})
	u.run()
	late.Stop()
	close(over)
	assert.NoError(t, c.Close())
	others.Wait()
}

type stressConsumer struct {
	t        *testing.T
	c        *Conn
	rnd      *rand.Rand
	stream   zcrxtest.Stream
	size, at int
	peeks    bool
	doing    string
}

// run reads to the end of the stream, or stops somewhere before.
func (u *stressConsumer) run() {
	stopAt, handleAt := u.size+1, u.size+1
	switch u.rnd.IntN(4) {
	case 0:
		stopAt = u.rnd.IntN(u.size + 1)
	case 1:
		handleAt = u.rnd.IntN(u.size + 1)
	}
	ways := []func() error{u.recv, u.recvBatch, u.read, u.chunks, u.writeTo}
	if u.peeks {
		ways = append(ways, u.peek)
	}
	for u.at < stopAt && !u.t.Failed() {
		if u.at >= handleAt {
			u.handle()
			return
		}
		if u.rnd.IntN(16) == 0 {
			time.Sleep(time.Duration(u.rnd.IntN(2000)) * time.Microsecond)
		}
		err := ways[u.rnd.IntN(len(ways))]()
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			continue
		}
		if errors.Is(err, io.EOF) {
			assert.Equal(u.t, u.size, u.at)
			return
		}
		if !assert.NoError(u.t, err) {
			return
		}
	}
}

// check compares b with the next bytes of the stream, and advances.
func (u *stressConsumer) check(b []byte) {
	if u.at+len(b) > u.size || !bytes.Equal(b, u.stream.At(u.at, len(b))) {
		assert.Fail(u.t, "wrong bytes", "%d at %d of %d", len(b), u.at, u.size)
	}
	u.at += len(b)
}

func (u *stressConsumer) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Duration(u.rnd.IntN(500))*time.Microsecond)
}

func (u *stressConsumer) recv() error {
	u.doing = "Recv"
	b, err := u.c.Recv(context.Background())
	if err == nil {
		u.check(b.Bytes())
		assert.NoError(u.t, b.Release())
	}
	return err
}

func (u *stressConsumer) recvBatch() error {
	u.doing = "RecvBatch"
	ctx, cancel := u.soon()
	defer cancel()
	batch := make([]zcrx.Buffer, 1+u.rnd.IntN(40))
	n, err := u.c.RecvBatch(ctx, batch)
	for _, b := range batch[:n] {
		u.check(b.Bytes())
	}
	if u.rnd.IntN(8) == 0 {
		time.Sleep(200 * time.Microsecond)
	}
	assert.NoError(u.t, zcrx.ReleaseAll(batch[:n]))
	return err
}

func (u *stressConsumer) read() error {
	u.doing = "Read"
	_ = u.c.SetReadDeadline(time.Now().Add(time.Duration(u.rnd.IntN(500)) * time.Microsecond))
	defer func() { _ = u.c.SetReadDeadline(time.Time{}) }()
	p := make([]byte, 1+u.rnd.IntN(1<<16))
	n, err := u.c.Read(p)
	u.check(p[:n])
	return err
}

func (u *stressConsumer) peek() error {
	u.doing = "Peek"
	n := u.rnd.IntN(1 << u.rnd.IntN(18))
	b, err := u.c.Peek(context.Background(), n)
	at := u.at
	u.check(b)
	u.at = at
	if errors.Is(err, io.EOF) {
		assert.Equal(u.t, u.size, at+len(b))
		return nil // Peek did not consume the bytes before it
	}
	return err
}

func (u *stressConsumer) chunks() error {
	u.doing = "Chunks"
	for chunk, err := range u.c.Chunks(context.Background(), u.rnd.IntN(1<<16)) {
		if err != nil {
			return err
		}
		u.check(chunk)
	}
	return nil
}

var errEnough = errors.New("enough")

func (u *stressConsumer) writeTo() error {
	u.doing = "WriteTo"
	left := u.rnd.IntN(1 << 18)
	_, err := u.c.WriteTo(writerFunc(func(p []byte) (int, error) {
		n := min(left, len(p))
		left -= n
		u.check(p[:n])
		if left == 0 {
			return n, errEnough
		}
		return n, nil
	}))
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// handle reads the rest with a Handler.
func (u *stressConsumer) handle() {
	u.doing = "Handle"
	ended := make(chan error, 1)
	require.NoError(u.t, u.c.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
		for _, b := range buffers {
			u.check(b.Bytes())
		}
		_ = zcrx.ReleaseAll(buffers)
		if err != nil {
			ended <- err
		}
	}))
	assert.ErrorIs(u.t, <-ended, io.EOF)
	assert.Equal(u.t, u.size, u.at)
}
