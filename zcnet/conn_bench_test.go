//go:build linux && cgo

package zcnet

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// Connections compared with those of package net over loopback. Both sides take turns
// within one run.

// benchmarkConns runs a benchmark in every mode that works here. open prepares the side of
// the engine, openNet that of package net.
func benchmarkConns(b *testing.B, n int, open func(b *testing.B, e *Engine) zcrxtest.Measurement, openNet func(b *testing.B) zcrxtest.Measurement) {
	for _, mode := range []zcrx.Mode{zcrx.Socket, zcrx.Provided, zcrx.DeviceLess} {
		if mode == zcrx.DeviceLess && zcrx.Have(zcrx.FeatureDeviceLess) != nil {
			continue
		}
		b.Run(mode.String(), func(b *testing.B) {
			e, err := NewEngine(b.Context(), Config{Mode: mode, Pool: zcrx.PoolConfig{NumBuffers: 1024, BufferSizeHint: benchBufferSize(mode)}})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			zcrxtest.BenchmarkInTurns(b, n, "zcrx", open(b, e), "net", openNet(b))
		})
	}
}

// benchBufferSize returns a BufferSizeHint. The buffers of a device-less pool are pages.
func benchBufferSize(mode zcrx.Mode) int {
	if mode == zcrx.DeviceLess {
		return 0
	}
	return 64 << 10
}

const benchTransfer = 1 << 20 // bytes in an operation

// BenchmarkConnRead measures receiving 1 MiB with Read into 64 KiB.
func BenchmarkConnRead(b *testing.B) {
	benchmarkConns(b, 16, func(b *testing.B, e *Engine) zcrxtest.Measurement {
		peer, c := peerPair(b, e)
		return transferred(b, peer, c, readsOf(c))
	}, func(b *testing.B) zcrxtest.Measurement {
		peer, c := zcrxtest.TCPPair(b)
		return transferred(b, peer, c, readsOf(c))
	})
}

// BenchmarkConnRecv measures receiving 1 MiB with RecvBatch, against Read of package net.
func BenchmarkConnRecv(b *testing.B) {
	benchmarkConns(b, 16, func(b *testing.B, e *Engine) zcrxtest.Measurement {
		peer, c := peerPair(b, e)
		batch := make([]zcrx.Buffer, mostBatch)
		return transferred(b, peer, c, func() (total int, err error) {
			n, err := c.RecvBatch(context.Background(), batch)
			for _, buffer := range batch[:n] {
				total += len(buffer.Bytes())
			}
			_ = zcrx.ReleaseAll(batch[:n])
			return total, err
		})
	}, func(b *testing.B) zcrxtest.Measurement {
		peer, c := zcrxtest.TCPPair(b)
		return transferred(b, peer, c, readsOf(c))
	})
}

func readsOf(c io.Reader) func() (int, error) {
	p := make([]byte, 64<<10)
	return func() (int, error) { return c.Read(p) }
}

// transferred measures how long next takes to receive what peer sends.
func transferred(b *testing.B, peer *net.TCPConn, c net.Conn, next func() (int, error)) zcrxtest.Measurement {
	var sending sync.WaitGroup
	more := make(chan struct{}, 1)
	sending.Go(func() {
		p := make([]byte, benchTransfer)
		for range more {
			if _, err := peer.Write(p); err != nil {
				return
			}
		}
	})
	b.Cleanup(func() {
		close(more)
		c.Close()
		peer.Close()
		sending.Wait()
	})
	return func(n int) (time.Duration, error) {
		start := time.Now()
		asked := 0
		for left := n * benchTransfer; left > 0; {
			for asked < n && len(more) == 0 {
				more <- struct{}{}
				asked++
			}
			k, err := next()
			if err != nil {
				return 0, err
			}
			left -= k
		}
		return time.Since(start), nil
	}
}

// BenchmarkConnEcho measures the round trip of 100 bytes. Both ends are of the same kind.
func BenchmarkConnEcho(b *testing.B) {
	benchmarkConns(b, 200, func(b *testing.B, e *Engine) zcrxtest.Measurement {
		client, server := connPair(b, e)
		return echoed(b, client, server)
	}, func(b *testing.B) zcrxtest.Measurement {
		client, server := zcrxtest.TCPPair(b)
		return echoed(b, client, server)
	})
}

func echoed(b *testing.B, client, server net.Conn) zcrxtest.Measurement {
	var serving sync.WaitGroup
	serving.Go(func() {
		_, _ = io.CopyBuffer(struct{ io.Writer }{server}, struct{ io.Reader }{server}, make([]byte, 4096))
	})
	b.Cleanup(func() {
		client.Close()
		server.Close()
		serving.Wait()
	})
	return func(n int) (time.Duration, error) {
		p := make([]byte, 100)
		start := time.Now()
		for range n {
			if _, err := client.Write(p); err != nil {
				return 0, err
			}
			if _, err := io.ReadFull(client, p); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
}

// BenchmarkConnAccept measures accepting a connection that the peer resets, and closing
// it. The peer is a connection of package net.
func BenchmarkConnAccept(b *testing.B) {
	benchmarkConns(b, 100, func(b *testing.B, e *Engine) zcrxtest.Measurement {
		ln, err := e.Listen(b.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ln.Close() })
		return accepted(ln)
	}, func(b *testing.B) zcrxtest.Measurement {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { ln.Close() })
		return accepted(ln)
	})
}

func accepted(ln net.Listener) zcrxtest.Measurement {
	return func(n int) (time.Duration, error) {
		start := time.Now()
		for range n {
			peer, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				return 0, err
			}
			c, err := ln.Accept()
			if err != nil {
				return 0, err
			}
			_ = peer.(*net.TCPConn).SetLinger(0) // resets it, so that its port is free at once
			_ = peer.Close()
			_, _ = c.Read(make([]byte, 1)) // the reset
			if err := c.Close(); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
}

// TestConnAllocations shows that receiving and sending allocate nothing.
func TestConnAllocations(t *testing.T) {
	withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 1024}}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		defer peer.Close()
		p, one := make([]byte, 100), []byte{1}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		runs := zcrxtest.Volume(2000)
		read := testing.AllocsPerRun(runs, func() {
			_, _ = peer.Write(one)
			_, _ = c.Read(p)
		})
		recv := testing.AllocsPerRun(runs, func() {
			_, _ = peer.Write(one)
			b, _ := c.Recv(ctx)
			_ = b.Release()
		})
		write := testing.AllocsPerRun(runs, func() {
			_, _ = c.Write(one)
			_, _ = peer.Read(p)
		})
		send := testing.AllocsPerRun(runs, func() {
			_, _ = peer.Write(one)
			b, _ := c.Recv(ctx)
			_ = c.Send(b)
			_, _ = peer.Read(p)
		})
		assert.Equal(t, []float64{0, 0, 0, 0}, []float64{read, recv, write, send},
			"of Read, Recv with a context, Write, Recv and Send")
	})
}
