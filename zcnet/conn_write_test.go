//go:build linux && cgo

package zcnet

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

// What sends a connection's bytes, and what ends it.

// collect reads everything that comes to peer.
func collect(t *testing.T, peer io.Reader) <-chan []byte {
	got := make(chan []byte, 1)
	go func() {
		all, err := io.ReadAll(peer)
		assert.NoError(t, err)
		got <- all
	}()
	return got
}

func TestWriteBuffers(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		all := collect(t, peer)
		rng := rand.New(rand.NewSource(1))
		var v net.Buffers
		for i := range 3000 { // more than a system call takes
			n := rng.Intn(300)
			if i%7 == 0 {
				n = 0
			}
			v = append(v, zcrxtest.Pattern(int64(i), n))
		}
		v = append(v, zcrxtest.Pattern(2, 3<<20), nil)
		before := append(net.Buffers(nil), v...)
		want := bytes.Join(v, nil)
		n, err := c.WriteBuffers(v)
		require.NoError(t, err)
		assert.EqualValues(t, len(want), n)
		assert.Len(t, v, len(before))
		for i := range v {
			require.Len(t, v[i], len(before[i]), "the argument stays as it is")
		}
		for _, empty := range []net.Buffers{nil, {}, {nil, {}}} {
			n, err = c.WriteBuffers(empty)
			assert.NoError(t, err)
			assert.Zero(t, n)
		}
		require.NoError(t, c.CloseWrite())
		_, err = c.Write([]byte("behind the end"))
		assert.ErrorIs(t, err, syscall.EPIPE)
		require.True(t, bytes.Equal(want, <-all))
		require.NoError(t, c.Close())
		peer.Close()
	})
}

// TestWritersTakeTurns: the bytes of each call stay together.
func TestWritersTakeTurns(t *testing.T) {
	inEveryConnMode(t, Config{SendZeroCopyFrom: 50_000}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		all := collect(t, peer)
		var writers sync.WaitGroup
		const size = 100_000
		for i := range 5 {
			writers.Go(func() {
				for range 10 {
					n, err := c.WriteBuffers(net.Buffers{bytes.Repeat([]byte{byte(i)}, size/2), bytes.Repeat([]byte{byte(i)}, size/2)})
					assert.NoError(t, err)
					assert.EqualValues(t, size, n)
				}
			})
		}
		writers.Wait()
		require.NoError(t, c.Close())
		got := <-all
		require.Len(t, got, 5*10*size)
		for at := 0; at < len(got); at += size {
			require.Equal(t, size, bytes.Count(got[at:at+size], got[at:at+1]))
		}
		peer.Close()
	})
}

// TestBlockedWriter is ended by whatever ends it, and says how much it wrote.
func TestBlockedWriter(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		for name, test := range map[string]struct {
			end  func(peer *net.TCPConn, c *Conn) error
			want error
		}{
			"deadline":        {func(_ *net.TCPConn, c *Conn) error { return c.SetWriteDeadline(time.Now().Add(5 * time.Millisecond)) }, os.ErrDeadlineExceeded},
			"close":           {func(_ *net.TCPConn, c *Conn) error { return c.Close() }, net.ErrClosed},
			"close write":     {func(_ *net.TCPConn, c *Conn) error { return c.CloseWrite() }, syscall.EPIPE},
			"the peer resets": {func(peer *net.TCPConn, _ *Conn) error { return errors.Join(peer.SetLinger(0), peer.Close()) }, syscall.ECONNRESET},
			"the peer closes": {func(peer *net.TCPConn, _ *Conn) error { return peer.Close() }, syscall.ECONNRESET},
		} {
			peer, c := peerPair(t, e)
			type result struct {
				n   int
				err error
			}
			ended := make(chan result)
			p := make([]byte, 64<<20)
			go func() {
				n, err := c.Write(p)
				ended <- result{n, err}
			}()
			zcrxtest.Eventually(t, "it blocks", func() bool { return unsent(t, c) > 0 })
			require.NoError(t, test.end(peer, c), name)
			r := <-ended
			// The receive may have been told of the reset; the kernel tells it once.
			if !isReset(test.want) || !isReset(r.err) {
				assert.ErrorIs(t, r.err, test.want, name)
			}
			var told *net.OpError
			assert.ErrorAs(t, r.err, &told, name)
			assert.Positive(t, r.n, name)
			assert.Less(t, r.n, len(p), name)
			if name == "deadline" { // the connection lives on
				_, err := c.Write([]byte("x"))
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
				require.NoError(t, c.SetWriteDeadline(time.Time{}))
				all := collect(t, peer)
				_, err = c.Write(p[:1000])
				require.NoError(t, err)
				require.NoError(t, c.CloseWrite())
				assert.Len(t, <-all, r.n+1000)
			}
			_ = c.Close()
			peer.Close()
		}
	})
}

// unsent is the number of bytes in the socket's send queue that the peer has no room
// for.
func unsent(t *testing.T, c *Conn) (n int) {
	raw, err := c.SyscallConn()
	require.NoError(t, err)
	require.NoError(t, raw.Control(func(fd uintptr) {
		n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQNSD)
	}))
	require.NoError(t, err)
	return n
}

// failingReader returns zeros, and then its error.
type failingReader struct {
	left int
	err  error
}

func (r *failingReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, r.err
	}
	n := min(r.left, len(p), 10_000)
	clear(p[:n])
	r.left -= n
	return n, nil
}

func TestReadFrom(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		want := zcrxtest.Pattern(3, 1<<20)
		path := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(path, want, 0o600))
		for name, open := range map[string]func() io.Reader{
			"file": func() io.Reader {
				f, err := os.Open(path)
				require.NoError(t, err)
				return f
			},
			"reader":       func() io.Reader { return struct{ io.Reader }{bytes.NewReader(want)} },
			"data and EOF": func() io.Reader { return iotest.DataErrReader(bytes.NewReader(want)) },
			"small":        func() io.Reader { return iotest.HalfReader(bytes.NewReader(want)) },
			"Conn": func() io.Reader {
				from, other := connPair(t, e)
				go func() {
					_, err := other.Write(want)
					assert.NoError(t, err)
					assert.NoError(t, other.Close())
				}()
				return from
			},
		} {
			peer, c := peerPair(t, e)
			all := collect(t, peer)
			r := open()
			n, err := c.ReadFrom(r)
			require.NoError(t, err, name)
			assert.EqualValues(t, len(want), n, name)
			require.NoError(t, c.Close())
			assert.True(t, bytes.Equal(want, <-all), name)
			if closer, ok := r.(io.Closer); ok {
				closer.Close()
			}
			peer.Close()
		}

		peer, c := peerPair(t, e)
		all := collect(t, peer)
		failed := errors.New("the reader failed")
		n, err := c.ReadFrom(&failingReader{left: 100_000, err: failed})
		assert.ErrorIs(t, err, failed)
		assert.EqualValues(t, 100_000, n)
		// A reader that writes on its own gets its turn.
		_, err = c.ReadFrom(io.TeeReader(bytes.NewReader([]byte("abc")), c))
		require.NoError(t, err)
		require.NoError(t, c.Close())
		assert.Len(t, <-all, 100_006)
		_, err = c.ReadFrom(bytes.NewReader([]byte("abc")))
		assert.ErrorIs(t, err, net.ErrClosed)
		peer.Close()
	})
}

// TestWriteToAWriterThatFails leaves what was not taken in the connection.
func TestWriteToAWriterThatFails(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		want := zcrxtest.Pattern(4, 1<<20)
		client, server := connPair(t, e)
		go func() {
			_, err := client.Write(want)
			assert.NoError(t, err)
			assert.NoError(t, client.CloseWrite())
		}()
		var got bytes.Buffer
		failed := errors.New("the writer failed")
		n, err := server.WriteTo(writerFunc(func(p []byte) (int, error) {
			k := min(len(p), 100_001-got.Len())
			got.Write(p[:k])
			if got.Len() == 100_001 {
				return k, failed
			}
			return k, nil
		}))
		assert.ErrorIs(t, err, failed)
		assert.EqualValues(t, 100_001, n)

		// Connections that are closed, one of package net and one of the engine.
		peer, c := peerPair(t, e)
		require.NoError(t, c.Close())
		n, err = server.WriteTo(c)
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Zero(t, n)
		peer.Close()
		n, err = server.WriteTo(peer)
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.Zero(t, n)

		// And one that takes it.
		a, b := zcrxtest.TCPPair(t)
		all := collect(t, b)
		n, err = server.WriteTo(a)
		require.NoError(t, err)
		assert.EqualValues(t, len(want)-100_001, n)
		a.Close()
		assert.True(t, bytes.Equal(want, append(got.Bytes(), <-all...)))
		b.Close()
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
	})
}

// TestSocketOptions asks the kernel what they are.
func TestSocketOptions(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		defer client.Close()
		defer server.Close()
		for _, c := range []*Conn{client, server} {
			raw, err := c.SyscallConn()
			require.NoError(t, err)
			get := func(level, option int) (value int) {
				require.NoError(t, raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, option) }))
				require.NoError(t, err)
				return value
			}
			assert.Equal(t, 1, get(unix.IPPROTO_TCP, unix.TCP_NODELAY), "as package net has it")
			assert.Equal(t, 1, get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
			assert.Equal(t, 15, get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
			assert.Equal(t, 15, get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL))
			assert.Equal(t, 9, get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))

			require.NoError(t, c.SetNoDelay(false))
			assert.Equal(t, 0, get(unix.IPPROTO_TCP, unix.TCP_NODELAY))
			require.NoError(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: 1500 * time.Millisecond, Interval: 7 * time.Second, Count: 3}))
			assert.Equal(t, 2, get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE))
			assert.Equal(t, 7, get(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL))
			assert.Equal(t, 3, get(unix.IPPROTO_TCP, unix.TCP_KEEPCNT))
			require.NoError(t, c.SetKeepAliveConfig(net.KeepAliveConfig{Idle: -1, Interval: -1, Count: -1}))
			assert.Equal(t, 0, get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
			assert.Equal(t, 2, get(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), "it is left")
			require.NoError(t, c.SetKeepAlive(true))
			assert.Equal(t, 1, get(unix.SOL_SOCKET, unix.SO_KEEPALIVE))
			require.NoError(t, c.SetReadBuffer(10_000))
			assert.Equal(t, 20_000, get(unix.SOL_SOCKET, unix.SO_RCVBUF), "Linux doubles it")
			require.NoError(t, c.SetWriteBuffer(10_000))
			assert.Equal(t, 20_000, get(unix.SOL_SOCKET, unix.SO_SNDBUF))

			linger := func() (l *unix.Linger) {
				require.NoError(t, raw.Control(func(fd uintptr) { l, err = unix.GetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER) }))
				require.NoError(t, err)
				return l
			}
			require.NoError(t, c.SetLinger(3))
			assert.Equal(t, unix.Linger{Onoff: 1, Linger: 3}, *linger())
			require.NoError(t, c.SetLinger(-1))
			assert.Zero(t, linger().Onoff)
		}
		// A reset instead of an end.
		require.NoError(t, client.SetLinger(0))
		require.NoError(t, client.Close())
		_, err := server.Recv(t.Context())
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

func TestRawConn(t *testing.T) {
	inEveryConnMode(t, Config{}, func(t *testing.T, e *Engine) {
		client, server := connPair(t, e)
		raw, err := server.SyscallConn()
		require.NoError(t, err)
		assert.ErrorContains(t, raw.Read(func(uintptr) bool { return true }), "are taken with Read or Recv")
		require.NoError(t, raw.Write(func(uintptr) bool { return true }))
		assert.ErrorContains(t, raw.Write(func(uintptr) bool { return false }), "not ready")
		require.NoError(t, server.Close())
		assert.ErrorIs(t, raw.Control(func(uintptr) {}), net.ErrClosed)
		assert.ErrorIs(t, raw.Write(func(uintptr) bool { return true }), net.ErrClosed)
		require.NoError(t, client.Close())
	})
}
