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

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/zcrxtest"
)

func TestWriteBuffers(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		all := collect(t, peer)
		rng := rand.New(rand.NewSource(1))
		var v net.Buffers
		for i := range 3000 { // more than one system call takes
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
			require.Len(t, v[i], len(before[i]), "WriteBuffers does not change its argument")
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

// TestWritersTakeTurns checks that the bytes of each call stay together.
func TestWritersTakeTurns(t *testing.T) {
	withEngine(t, Config{SendZeroCopyFrom: 50_000}, func(t *testing.T, e *Engine) {
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

// TestBlockedWriter checks what ends a Write that waits for room, and that it returns how
// much it wrote.
func TestBlockedWriter(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
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
			// The kernel reports a reset once, and may have reported it to the receive.
			if !isReset(test.want) || !isReset(r.err) {
				assert.ErrorIs(t, r.err, test.want, name)
			}
			var told *net.OpError
			assert.ErrorAs(t, r.err, &told, name)
			assert.Positive(t, r.n, name)
			assert.Less(t, r.n, len(p), name)
			if name == "deadline" { // the connection can still be used
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

// failingReader returns left zeros, then its error.
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
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
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
		// A reader that itself writes to the connection.
		_, err = c.ReadFrom(io.TeeReader(bytes.NewReader([]byte("abc")), c))
		require.NoError(t, err)
		require.NoError(t, c.Close())
		assert.Len(t, <-all, 100_006)
		_, err = c.ReadFrom(bytes.NewReader([]byte("abc")))
		assert.ErrorIs(t, err, net.ErrClosed)
		peer.Close()
	})
}

// TestResetThatAWriteMetIsNoEnd shows that reading returns ECONNRESET also if a Write got
// that error before, which the kernel reports once.
func TestResetThatAWriteMetIsNoEnd(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer c.Close()
		flooded := zcrxtest.NewStream(3).Flood(t, peer)
		if e.Mode() != zcrx.Socket { // there nothing receives that is not asked to
			zcrxtest.Eventually(t, "it is paused", func() bool { return e.Stats().Group.Total.Paused > 0 })
		}
		require.NoError(t, peer.SetLinger(0))
		require.NoError(t, peer.Close())
		<-flooded
		var err error
		zcrxtest.Eventually(t, "a Write meets the reset", func() bool {
			_, err = c.Write([]byte{1})
			return err != nil
		})
		assert.True(t, isReset(err), "%v", err)
		_, err = io.Copy(io.Discard, c)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
}

// resetInSend is a socket that is closed and reset while a write is under way.
type resetInSend struct {
	socket
	c *Conn
}

func (s *resetInSend) send([][]byte, *deadline) (int, error) {
	_ = s.c.Close()
	return 0, os.NewSyscallError("sendmsg", syscall.ECONNRESET)
}

// TestWriteSaysThatTheConnIsClosed has Close and the peer's reset come during a write.
func TestWriteSaysThatTheConnIsClosed(t *testing.T) {
	withEngine(t, Config{}, func(t *testing.T, e *Engine) {
		peer, c := peerPair(t, e)
		defer peer.Close()
		c.setSocket(&resetInSend{c.socket(), c})
		_, err := c.Write([]byte("x"))
		assert.ErrorIs(t, err, net.ErrClosed)
		assert.NotErrorIs(t, err, syscall.ECONNRESET)
	})
}
