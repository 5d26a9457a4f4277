//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
	"github.com/zcrx-go/zcrx/uring"
)

// TestMigrate moves both ends of a connection around the loops while bytes go both ways.
func TestMigrate(t *testing.T) {
	withConnPair(t, Config{Loops: 3}, func(t *testing.T, e *Engine, client, server *Conn) {
		if e.Mode() == zcrx.Socket {
			assert.ErrorContains(t, client.Migrate(t.Context(), nil), "a connection in mode socket has no loop")
			assert.Nil(t, client.Loop())
			return
		}
		stranger, err := zcrx.NewLoop(zcrx.LoopConfig{})
		require.NoError(t, err)
		assert.ErrorContains(t, client.Migrate(t.Context(), stranger), "the loop is not one of the engine's 3 loops")
		require.NoError(t, stranger.Close())

		for _, l := range e.Group().Loops() {
			require.NoError(t, client.Migrate(t.Context(), l))
			require.Same(t, l, client.Loop())
		}

		want := zcrxtest.Pattern(50, 4<<20)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := io.Copy(server, server)
			assert.NoError(t, err)
			assert.NoError(t, server.CloseWrite())
		})
		wg.Go(func() {
			for at := 0; at < len(want); {
				n, err := client.Write(want[at:min(len(want), at+30_000)])
				if !assert.NoError(t, err) {
					return
				}
				at += n
			}
			assert.NoError(t, client.CloseWrite())
		})
		for i, c := range []*Conn{client, server} {
			wg.Go(func() {
				loops := e.Group().Loops()
				for n := i; ; n++ {
					if err := c.Migrate(context.Background(), loops[n%3]); err != nil {
						assert.ErrorIs(t, err, io.EOF)
						assert.Greater(t, n, 2)
						return
					}
				}
			})
		}
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.True(t, bytes.Equal(want, got), "%d of %d bytes", len(got), len(want))
		wg.Wait()
	})
}

func TestMigrateEnds(t *testing.T) {
	withEngine(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return
		}
		client, server := connPair(t, e)
		loops := e.Group().Loops()
		require.NoError(t, loops[0].Do(t.Context(), func(*uring.Ring) error {
			assert.ErrorIs(t, server.Migrate(t.Context(), loops[1]), ErrWouldBlock)
			return nil
		}))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		require.True(t, server.writing.tryEnter()) // like a Write that waits
		assert.ErrorIs(t, server.Migrate(ended, loops[0]), context.Canceled)
		server.writing.leave()
		require.NoError(t, client.Migrate(t.Context(), loops[1]))
		peer, stays := peerPair(t, e)
		require.NoError(t, stays.Migrate(t.Context(), loops[0]))
		require.NoError(t, loops[1].Close())
		_, err := client.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed, "it is on the closed loop")
		for range 3 { // a connection that cannot move there stays, and goes on
			assert.ErrorIs(t, stays.Migrate(t.Context(), loops[1]), net.ErrClosed)
			assert.Same(t, loops[0], stays.Loop())
			_, err = peer.Write([]byte("here"))
			require.NoError(t, err)
			p := make([]byte, 4)
			_, err = io.ReadFull(stays, p)
			require.NoError(t, err)
			assert.Equal(t, "here", string(p))
		}
		require.NoError(t, stays.Close())
		require.NoError(t, peer.Close())
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		assert.ErrorIs(t, server.Migrate(t.Context(), loops[0]), net.ErrClosed)
	})
}

// TestMoveUnderTraffic moves a connection around the loops while it sends and receives.
// Its writer waits for room most of the time.
func TestMoveUnderTraffic(t *testing.T) {
	withEngine(t, Config{Loops: 3, Pool: zcrx.PoolConfig{NumBuffers: 64}, SendZeroCopyFrom: 1 << 16}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		if e.Mode() == zcrx.Socket {
			assert.ErrorContains(t, server.socket().moveTo(t.Context(), nil), "has no loop")
			require.NoError(t, client.Close())
			require.NoError(t, server.Close())
			return
		}
		server.socket().(*ringSocket).evenIfCopied = true
		const total = 8 << 20
		s := zcrxtest.NewStream(50)
		var all sync.WaitGroup
		for _, ends := range [][2]*Conn{{client, server}, {server, client}} {
			all.Go(func() {
				_, err := s.Write(ends[0], 0, total)
				assert.NoError(t, err)
				assert.NoError(t, ends[0].CloseWrite())
			})
			all.Go(func() { s.AssertRead(t, ends[1], total) })
		}
		moves := 0
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			loops := e.Group().Loops()
			for ; ; moves++ {
				if server.socket().moveTo(context.Background(), loops[moves%len(loops)]) != nil {
					return // the stream has ended
				}
			}
		}()
		all.Wait()
		<-moved
		assert.Greater(t, moves, 3)
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	})
}

// TestMoveToALoopThatGoes closes the loop that a connection moves to before, during or after
// the move. The connection ends if it has arrived, and stays where it was if not.
func TestMoveToALoopThatGoes(t *testing.T) {
	withEngine(t, Config{Loops: 1}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // it has no loops
		}
		for i := range 12 {
			l, err := zcrx.NewLoop(zcrx.LoopConfig{})
			require.NoError(t, err)
			p, err := zcrx.OpenPool(t.Context(), l, e.Mode(), zcrx.Queue{}, zcrx.PoolConfig{NumBuffers: 16})
			require.NoError(t, err)
			client, server := connPair(t, e)
			written := fillUp(server)
			h, ended := toChannel()
			if i%2 == 0 {
				require.NoError(t, server.Handle(h))
			}
			move := make(chan error)
			go func() { move <- server.socket().(*ringSocket).MoveTo(context.Background(), p) }()
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * 20 * time.Microsecond)
			}
			require.NoError(t, l.Close())
			if err := <-move; err != nil { // the loop was closed before the connection arrived
				assert.ErrorIs(t, err, zcrx.ErrClosed)
				assert.Same(t, e.Group().Loops()[0], server.Loop())
				if i%2 != 0 {
					_, err = client.Write([]byte("on"))
					require.NoError(t, err)
					b, err := server.Recv(t.Context())
					require.NoError(t, err, "the connection goes on where it was")
					require.NoError(t, b.Release())
				}
				require.NoError(t, server.Close())
			}
			if i%2 == 0 {
				assert.ErrorIs(t, <-ended, net.ErrClosed)
			} else {
				_, err := server.Recv(t.Context())
				assert.ErrorIs(t, err, net.ErrClosed)
			}
			assert.ErrorIs(t, <-written, net.ErrClosed)
			require.NoError(t, client.Close())
			_ = server.Close()
		}
	})
}

// TestWritesWaitForAMigrateThatGoesOn: a Migrate whose context ends goes on; writes wait for it.
func TestWritesWaitForAMigrateThatGoesOn(t *testing.T) {
	e := ringEngine(t, Config{Loops: 2})
	loops := e.Group().Loops()
	const chunk = 1000
	writes := zcrxtest.Volume(400)
	address, stop := serve(t, e, func(c *Conn) {
		data := pattern(1, chunk)
		for i := range writes {
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(time.Duration(i%40)*5*time.Microsecond, cancel)
			_ = c.Migrate(ctx, loops[i%2])
			if _, err := c.Write(data); !assert.NoError(t, err, "write %d", i) {
				return
			}
			cancel()
		}
	})
	for range 4 {
		peer := dialNet(t, address)
		got, err := io.ReadAll(peer)
		peer.Close()
		require.NoError(t, err)
		assert.True(t, bytes.Equal(bytes.Repeat(pattern(1, chunk), writes), got), "%d bytes", len(got))
	}
	stop()
}

func TestWritesWhileOthersMigrate(t *testing.T) {
	e := ringEngine(t, Config{Loops: 2})
	loops := e.Group().Loops()
	const chunk = 1000
	writes := zcrxtest.Volume(2000)
	address, stop := serve(t, e, func(c *Conn) {
		data := pattern(1, chunk)
		end := make(chan struct{})
		var moving sync.WaitGroup
		moving.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-end:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%40)*5*time.Microsecond)
				_ = c.Migrate(ctx, loops[i%2])
				cancel()
			}
		})
		for i := range writes {
			if _, err := c.Write(data); !assert.NoError(t, err, "write %d", i) {
				break
			}
			if i%16 == 0 {
				Await(func() {})
			}
		}
		close(end)
		Await(moving.Wait)
	})
	for range 4 {
		peer := dialNet(t, address)
		got, err := io.ReadAll(peer)
		peer.Close()
		require.NoError(t, err)
		assert.True(t, bytes.Equal(bytes.Repeat(pattern(1, chunk), writes), got), "%d bytes", len(got))
	}
	stop()
}
