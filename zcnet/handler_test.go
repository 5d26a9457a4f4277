//go:build linux && cgo

package zcnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func TestHandler(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		want := zcrxtest.Pattern(42, 1<<20)
		_, err := client.Write(want[:10])
		require.NoError(t, err)
		head, err := server.Peek(t.Context(), 5)
		require.NoError(t, err)
		require.Equal(t, want[:5], head)
		var got []byte
		ended := make(chan error)
		require.NoError(t, server.Handle(func(c *Conn, buffers []zcrx.Buffer, err error) {
			if err != nil {
				_ = c.Close()
				ended <- err
				return
			}
			for _, b := range buffers {
				got = append(got, b.Bytes()...)
			}
			assert.NoError(t, zcrx.ReleaseAll(buffers))
		}))
		_, err = server.Recv(context.Background())
		assert.ErrorContains(t, err, "a Handler takes the connection's bytes")
		_, err = client.Write(want[10:])
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		require.Equal(t, io.EOF, <-ended)
		require.True(t, bytes.Equal(want, got))
	})
}

func TestNilHandler(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		assert.ErrorContains(t, server.Handle(nil), "the Handler is nil")
		h, _ := toChannel()
		require.NoError(t, server.Handle(h))
		assert.ErrorIs(t, server.Handle(h), errHandled)
		require.NoError(t, client.Close())
		assert.ErrorIs(t, client.Handle(h), net.ErrClosed)
	})
}

// TestHandlerIsToldTheEnd checks that a Handler gets the error that ends the stream, also if
// it starts after the end.
func TestHandlerIsToldTheEnd(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		require.NoError(t, client.Close())
		_, err := server.Recv(t.Context())
		require.ErrorIs(t, err, io.EOF)
		h, ended := toChannel()
		require.NoError(t, server.Handle(h))
		assert.Equal(t, io.EOF, <-ended)
		require.NoError(t, server.Close())

		client, server = connPair(t, e)
		h, ended = toChannel()
		require.NoError(t, server.Handle(h))
		require.NoError(t, server.Close())
		err = <-ended
		assert.ErrorIs(t, err, net.ErrClosed)
		var told *net.OpError
		assert.ErrorAs(t, err, &told)
		require.NoError(t, client.Close())
	})
}

// TestHandlerHasNoDeadline checks that a read deadline, set before or after Handle, has no
// effect on a Handler.
func TestHandlerHasNoDeadline(t *testing.T) {
	withConnPair(t, Config{}, func(t *testing.T, e *Engine, client, server *Conn) {
		require.NoError(t, server.SetReadDeadline(time.Now().Add(-time.Second)))
		h, ended := toChannel()
		require.NoError(t, server.Handle(h))
		require.NoError(t, server.SetReadDeadline(time.Now().Add(-time.Second)))
		require.NoError(t, client.CloseWrite())
		assert.Equal(t, io.EOF, <-ended)
	})
}

// TestHandlerClosesAnother has connections on two loops whose Handlers close each other's
// connections while a goroutine closes one too.
func TestHandlerClosesAnother(t *testing.T) {
	withEngine(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		for range 10 {
			var ends []<-chan error
			var peers, conns []*Conn
			for range 4 { // two on each loop
				peer, c := connPair(t, e)
				peers, conns = append(peers, peer), append(conns, c)
			}
			for i, c := range conns {
				h, ended := toChannel()
				ends = append(ends, ended)
				require.NoError(t, c.Handle(func(c *Conn, buffers []zcrx.Buffer, err error) {
					for k := range conns {
						_ = conns[(i+k+1)%len(conns)].Close()
					}
					h(c, buffers, err)
				}))
			}
			var wg sync.WaitGroup
			for _, p := range peers {
				wg.Go(func() { assert.NoError(t, p.CloseWrite()) })
			}
			wg.Go(func() { _ = conns[0].Close() })
			wg.Wait()
			for _, ended := range ends {
				<-ended // each Handler got its error
			}
			for i := range conns {
				_ = conns[i].Close()
				require.NoError(t, peers[i].Close())
			}
		}
		zcrxtest.Eventually(t, "all leases are back", func() bool { return e.Stats().Group.Total.Outstanding == 0 })
	})
}

// TestHandlerWritesWhileOthersDo checks that on a loop no method waits, neither for room in
// the socket nor for a turn.
func TestHandlerWritesWhileOthersDo(t *testing.T) {
	withEngine(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		if e.Mode() == zcrx.Socket {
			return // it has no loops
		}
		peer, full := connPair(t, e)
		defer peer.Close()
		blocked := make(chan error)
		go func() {
			_, err := full.Write(make([]byte, 64<<20)) // the peer does not read
			blocked <- err
		}()
		zcrxtest.Eventually(t, "the writer waits", func() bool { return unsent(t, full) > 0 })
		for range 4 { // from both loops
			other, c := connPair(t, e)
			answers := make(chan error, 10)
			require.NoError(t, c.Handle(func(c *Conn, buffers []zcrx.Buffer, err error) {
				_ = zcrx.ReleaseAll(buffers)
				_, werr := full.Write([]byte("x"))
				answers <- werr
				answers <- full.Handle(func(_ *Conn, buffers []zcrx.Buffer, _ error) { _ = zcrx.ReleaseAll(buffers) })
				_ = c.Close()
			}))
			_, err := other.Write([]byte("x"))
			require.NoError(t, err)
			assert.ErrorIs(t, <-answers, ErrWouldBlock)
			if err := <-answers; err != nil && !errors.Is(err, errHandled) {
				assert.ErrorIs(t, err, ErrWouldBlock)
			}
			require.NoError(t, other.Close())
		}
		require.NoError(t, full.Close())
		assert.ErrorIs(t, <-blocked, net.ErrClosed)
	})
}

// TestHandlerClosesItsListener closes a listener on a loop while it accepts connections.
func TestHandlerClosesItsListener(t *testing.T) {
	withEngine(t, Config{Loops: 2}, func(t *testing.T, e *Engine) {
		for range 10 {
			ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
			require.NoError(t, err)
			peer, err := e.Dial(t.Context(), "tcp", ln.Addr().String())
			require.NoError(t, err)
			c, err := ln.AcceptConn(t.Context())
			require.NoError(t, err)
			var pushing sync.WaitGroup
			for range 3 {
				pushing.Go(func() {
					for {
						d, err := net.Dial("tcp", ln.Addr().String())
						if err != nil {
							return
						}
						d.Close()
					}
				})
			}
			closed := make(chan error)
			require.NoError(t, c.Handle(func(c *Conn, _ []zcrx.Buffer, _ error) {
				err := ln.Close()
				_ = c.Close()
				closed <- err
			}))
			require.NoError(t, peer.Close())
			require.NoError(t, <-closed)
			_, err = ln.AcceptConn(t.Context())
			assert.ErrorIs(t, err, net.ErrClosed)
			pushing.Wait()
		}
		zcrxtest.Eventually(t, "all are closed", func() bool { return e.Stats().Connections == 0 })
	})
}

// TestHandlerThatReleasesLater checks that a Handler whose buffers are released later, by
// other goroutines, gets every byte.
func TestHandlerThatReleasesLater(t *testing.T) {
	for _, most := range []int{1, 2, 7} {
		withEngine(t, Config{Pool: zcrx.PoolConfig{NumBuffers: 64, MaxLeases: most}}, func(t *testing.T, e *Engine) {
			client, server := connPair(t, e)
			defer client.Close()
			s := zcrxtest.NewStream(int64(most))
			const total = 1 << 20
			go func() {
				_, err := s.Write(client, 0, total)
				assert.NoError(t, err)
				assert.NoError(t, client.CloseWrite())
			}()
			_, err := server.Peek(t.Context(), 10) // some bytes are there, perhaps the whole share
			require.NoError(t, err)
			later := make(chan zcrx.Buffer, 1024)
			var releasing sync.WaitGroup
			for range 3 {
				releasing.Go(func() {
					for b := range later {
						assert.NoError(t, b.Release())
					}
				})
			}
			got := 0
			ended := make(chan error)
			require.NoError(t, server.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
				for _, b := range buffers {
					assert.Equal(t, s.At(got, b.Len()), b.Bytes())
					got += b.Len()
					later <- b
				}
				if err != nil {
					close(later)
					ended <- err
				}
			}))
			assert.Equal(t, io.EOF, <-ended)
			assert.Equal(t, total, got)
			releasing.Wait()
			require.NoError(t, server.Close())
		})
	}
}

// TestHandlerClosesConnectionAcceptedMeanwhile has a Handler close a connection that was
// accepted while the Handler ran. The engine can be closed after that.
func TestHandlerClosesConnectionAcceptedMeanwhile(t *testing.T) {
	inEveryMode(t, func(t *testing.T, mode zcrx.Mode) {
		e, err := NewEngine(t.Context(), Config{Mode: mode, Loops: 1, Pool: zcrx.PoolConfig{NumBuffers: 64}})
		require.NoError(t, err)
		ln, err := e.Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		first, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer first.Close()
		c, err := ln.AcceptConn(t.Context())
		require.NoError(t, err)
		running, fresh, closed := make(chan struct{}), make(chan *Conn), make(chan error, 1)
		require.NoError(t, c.Handle(func(_ *Conn, buffers []zcrx.Buffer, err error) {
			_ = zcrx.ReleaseAll(buffers)
			if err == nil {
				close(running)
				closed <- (<-fresh).Close()
			}
		}))
		_, err = first.Write([]byte("x"))
		require.NoError(t, err)
		<-running
		second, err := net.Dial("tcp", ln.Addr().String())
		require.NoError(t, err)
		defer second.Close()
		accepted, err := ln.AcceptConn(t.Context())
		require.NoError(t, err)
		fresh <- accepted
		require.NoError(t, <-closed)
		zcrxtest.Within(t, "Engine.Close", func() { assert.NoError(t, e.Close()) })
	})
}
