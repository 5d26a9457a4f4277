//go:build linux && cgo

package zcrx

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// groupSoak is one round of TestGroupSoak: connections through the loops of a group, which
// are closed and replaced one after the other.
type groupSoak struct {
	t       *testing.T
	group   *Group
	source  []byte // what connections send, repeatedly
	passed  chan passedLease
	size    int64        // of a connection's data
	resumed atomic.Int64 // connections that continued over another one

	arrived   atomic.Int64
	milestone int64         // bytes from one milestone to the next
	reached   chan struct{} // receives a value for each milestone
}

// passedLease is a lease with the place of its bytes in the connection's data.
type passedLease struct {
	buffer Buffer
	offset int64
}

// matches compares b with the data at the offset.
func (s *groupSoak) matches(b []byte, offset int64) bool {
	for len(b) > 0 {
		part := s.source[offset%int64(len(s.source)):]
		n := min(len(part), len(b))
		if !bytes.Equal(part[:n], b[:n]) {
			return false
		}
		b, offset = b[n:], offset+int64(n)
	}
	return true
}

// transfer receives all of a connection's data. If the member that receives is closed, it
// continues where it was over another connection.
func (s *groupSoak) transfer() error {
	for got := int64(0); ; s.resumed.Add(1) {
		n, err := s.attempt(got)
		got += n
		switch {
		case err == nil && got == s.size:
			return nil
		case err == nil:
			return fmt.Errorf("ended after %d of %d bytes", got, s.size)
		case !errors.Is(err, ErrClosed):
			return err
		}
	}
}

// attempt receives from the offset on over one connection.
func (s *groupSoak) attempt(offset int64) (got int64, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	sender, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return 0, err
	}
	defer sender.Close()
	conn, err := ln.Accept()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	pool, err := s.group.Pick(conn.(*net.TCPConn))
	if err != nil {
		return 0, err
	}
	r, err := NewReceiver(pool, conn.(*net.TCPConn))
	if err != nil {
		return 0, err // ErrClosed if the member was closed just now
	}
	defer r.Close()
	go s.send(sender.(*net.TCPConn), offset)
	for {
		b, err := r.Recv(s.t.Context())
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		if !s.matches(b.Bytes(), offset+got) {
			return got, fmt.Errorf("wrong bytes among %d at %d", b.Len(), offset+got)
		}
		n := int64(b.Len())
		s.passed <- passedLease{b, offset + got}
		got += n
		if now := s.arrived.Add(n); now/s.milestone != (now-n)/s.milestone {
			s.reached <- struct{}{}
		}
	}
}

// send writes the data from the offset on, until it is sent or the connection ends.
func (s *groupSoak) send(conn *net.TCPConn, offset int64) {
	for offset < s.size {
		part := s.source[offset%int64(len(s.source)):]
		part = part[:min(int64(len(part)), s.size-offset)]
		n, err := conn.Write(part)
		if err != nil {
			return // the member was closed
		}
		offset += int64(n)
	}
	_ = conn.CloseWrite() // an error is seen at the other end
}

// hold keeps leases for a while, and releases them in another order. It checks that their
// bytes have not changed.
func (s *groupSoak) hold(seed int64, most int) {
	rng := rand.New(rand.NewSource(seed))
	var held []passedLease
	release := func() {
		rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
		for _, l := range held {
			assert.True(s.t, s.matches(l.buffer.Bytes(), l.offset), "the bytes of a lease changed")
			assert.NoError(s.t, l.buffer.Release())
		}
		held = held[:0]
	}
	for l := range s.passed {
		held = append(held, l)
		if len(held) < 1+rng.Intn(most) {
			continue
		}
		if rng.Intn(64) == 0 {
			time.Sleep(time.Duration(rng.Intn(500)) * time.Microsecond)
		}
		release()
	}
	release()
}

// TestGroupSoak receives 64 connections over four loops that share one pool, and over four
// that share two. The leases are released on other goroutines. In each round every loop is
// closed and replaced while data comes in; in half of the rounds the owners go first. It
// receives 16 MiB, or ZCRX_SOAK_BYTES, for each number of pools.
func TestGroupSoak(t *testing.T) {
	for _, owners := range []int{1, 2} {
		t.Run(fmt.Sprintf("pools=%d", owners), func(t *testing.T) {
			needDeviceLess(t)
			const connections, rounds = 64, 4
			perConnection := soakBytes(t)/(connections*rounds) + 1 // no multiple of anything
			var total PoolStats
			for round := range rounds {
				s := soakRound(t, owners, connections, perConnection, round)
				total.add(&s.Total)
			}
			// What came for a receiver that was being closed came again for the next.
			assert.GreaterOrEqual(t, total.Bytes, uint64(perConnection*connections*rounds))
			t.Logf("%+v", total)
		})
	}
}

func soakRound(t *testing.T, owners, connections int, perConnection int64, round int) GroupStats {
	t.Helper()
	const buffers, holders, most = 256, 4, 16
	ctx := t.Context()
	g, loops := newTestGroup(t, DeviceLess, 4, owners, PoolConfig{NumBuffers: buffers, RefillEntries: 64})
	all := perConnection * int64(connections)
	s := &groupSoak{
		t: t, group: g, size: perConnection,
		milestone: all / int64(len(loops)+1), reached: make(chan struct{}, len(loops)+1),
		source: pattern(int64(round), 1<<20+4099),
		passed: make(chan passedLease, buffers/4),
	}
	var receiving, holding sync.WaitGroup
	for i := range holders {
		holding.Go(func() { s.hold(int64(i), most) })
	}
	for i := range connections {
		receiving.Go(func() { assert.NoError(t, s.transfer(), "connection %d", i) })
	}
	done := make(chan struct{})
	go func() { receiving.Wait(); close(done) }()

	order := rand.New(rand.NewSource(int64(round))).Perm(len(loops))
	if round%2 == 0 {
		order = []int{0, 1, 2, 3} // owners are the group's first
	}
	for _, at := range order {
		select {
		case <-s.reached:
		case <-done: // transfers failed
		}
		next, err := NewLoop(LoopConfig{})
		require.NoError(t, err)
		require.NoError(t, loops[at].Close())
		require.NoError(t, g.Replace(ctx, loops[at], next))
		loops[at] = next
	}
	<-done
	close(s.passed)
	holding.Wait()
	for _, l := range loops {
		assert.NoError(t, l.Close())
	}
	stats := g.Stats()
	assert.Equal(t, all, s.arrived.Load())
	assert.Zero(t, stats.Total.Outstanding)
	assert.Equal(t, stats.Total.Completions, stats.Total.Returned)
	assert.Zero(t, stats.Total.DoubleReleases+stats.Total.UsesAfterRelease+stats.Total.FlushErrors)
	for _, m := range stats.Members {
		assert.Positive(t, m.Pool.Bytes)
		assert.Positive(t, m.PicksByTurn)
	}
	queues := g.queues
	require.NoError(t, g.Close())
	for _, q := range queues {
		assert.False(t, q.handle.memory.inUse(), "pool %d", q.number)
		assert.Nil(t, q.handle.memory.region)
	}
	t.Logf("round %d: %d connections resumed", round, s.resumed.Load())
	return stats
}
