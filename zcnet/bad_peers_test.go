//go:build linux && cgo

package zcnet

import (
	"io"
	"math/rand"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

const writeBytes = "ZCRX_CONN_WRITE" // bytes of one write; run by hand with 67108864

// TestBadPeers has slow, hasty and resetting peers exchange bytes with one echo server, all
// at the same time.
func TestBadPeers(t *testing.T) {
	withEngine(t, Config{Loops: 2, Pool: zcrx.PoolConfig{NumBuffers: 256, MaxLeases: 16}, SendZeroCopyFrom: 64 << 10}, func(t *testing.T, e *Engine) {
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		served := echo(t, ln)
		s := zcrxtest.NewStream(80)
		dial := func() *net.TCPConn {
			d, err := net.Dial("tcp", ln.Addr().String())
			require.NoError(t, err)
			return d.(*net.TCPConn)
		}
		// exchange sends total bytes with write, and checks that they come back.
		exchange := func(total int, write func(d *net.TCPConn) error) {
			d := dial()
			defer d.Close()
			var both sync.WaitGroup
			both.Go(func() { s.AssertRead(t, d, total) })
			both.Go(func() {
				assert.NoError(t, write(d))
				assert.NoError(t, d.CloseWrite()) // what comes back may come later
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
				exchange(30, func(d *net.TCPConn) error { // slowly
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
					exchange(0, func(*net.TCPConn) error { return nil }) // close at once
				}
			})
		}
		for seed := range int64(4) {
			all.Go(func() {
				rng := rand.New(rand.NewSource(seed))
				for range 15 { // reset in the middle
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
