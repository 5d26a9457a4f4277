//go:build linux && cgo

package zcnet

import (
	"context"
	"errors"
	"io"
	"math/rand"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"

	"github.com/zcrx-go/zcrx"
)

// Peers that behave badly, all at once, against one server that echoes.

// echo serves until the listener ends.
func echo(t *testing.T, ln *Listener) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var all sync.WaitGroup
		for {
			c, err := ln.AcceptConn(context.Background())
			if err != nil {
				assert.ErrorIs(t, err, net.ErrClosed)
				break
			}
			all.Go(func() {
				_, err := io.Copy(c, c)
				if err != nil {
					assert.True(t, isReset(err) || errors.Is(err, syscall.ENOTCONN), "%v", err)
				}
				_ = c.CloseWrite() // fails after a reset
				assert.NoError(t, c.Close())
			})
		}
		all.Wait()
	}()
	return done
}

func TestBadPeers(t *testing.T) {
	inEveryConnMode(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 16}, SendZeroCopyFrom: 64 << 10}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := echo(t, ln)
		s := zcrxtest.NewStream(80)
		dial := func() *net.TCPConn {
			d, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			return d.(*net.TCPConn)
		}
		// exchange sends total bytes by write, and wants them back.
		exchange := func(total int, write func(d *net.TCPConn) error) {
			d := dial()
			defer d.Close()
			var both sync.WaitGroup
			both.Go(func() { s.AssertRead(t, d, total) })
			both.Go(func() {
				assert.NoError(t, write(d))
				assert.NoError(t, d.CloseWrite()) // what comes back comes after it
			})
			both.Wait()
		}
		big := zcrxtest.Amount(t, writeBytes, 16<<20)
		var all sync.WaitGroup
		all.Go(func() {
			exchange(big, func(d *net.TCPConn) error { // one write
				p := make([]byte, 0, big)
				for len(p) < big {
					p = append(p, s.At(len(p), min(1<<20, big-len(p)))...)
				}
				_, err := d.Write(p)
				return err
			})
		})
		for range 3 {
			all.Go(func() {
				exchange(2000, func(d *net.TCPConn) error { // byte by byte
					for i := range 2000 {
						if _, err := d.Write(s.At(i, 1)); err != nil {
							return err
						}
					}
					return nil
				})
			})
			all.Go(func() {
				exchange(30, func(d *net.TCPConn) error { // a slow loris
					for i := range 30 {
						time.Sleep(10 * time.Millisecond)
						if _, err := d.Write(s.At(i, 1)); err != nil {
							return err
						}
					}
					return nil
				})
			})
			all.Go(func() {
				for range 10 {
					exchange(0, func(*net.TCPConn) error { return nil }) // ends at once
				}
			})
		}
		for seed := range int64(4) {
			all.Go(func() {
				rng := rand.New(rand.NewSource(seed))
				for range 15 { // a reset in the middle of whatever it is
					d := dial()
					total := rng.Intn(1 << 20)
					read := rng.Intn(1 + total)
					go func() { _, _ = io.CopyN(io.Discard, d, int64(read)) }()
					_ = d.SetWriteDeadline(time.Now().Add(time.Duration(rng.Intn(20)) * time.Millisecond))
					_, _ = s.Write(d, 0, total)
					assert.NoError(t, d.SetLinger(0))
					assert.NoError(t, d.Close())
				}
			})
		}
		all.Wait()
		require.NoError(t, ln.Shutdown(t.Context()))
		<-served
	})
}
