package zcrxtest

import (
	"bytes"
	"io"
	"math/rand"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Pattern makes n bytes that are the same for the same seed.
func Pattern(seed int64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.New(rand.NewSource(seed)).Read(b) // never fails
	return b
}

// Stream is an endless run of bytes whose period goes with no buffer size: bytes
// that are lost, doubled or out of place differ.
type Stream []byte

const streamPeriod = 1<<20 + 7

// NewStream makes a Stream that is the same for the same seed.
func NewStream(seed int64) Stream {
	p := Pattern(seed, streamPeriod)
	return append(p, p...)
}

// At is the n bytes, at most a period, at an offset.
func (s Stream) At(offset, n int) []byte { return s[offset%streamPeriod:][:n] }

// Write sends the bytes from offset on up to end, and returns how far it came.
func (s Stream) Write(w io.Writer, offset, end int) (int, error) {
	for offset < end {
		n, err := w.Write(s.At(offset, min(end-offset, 1<<18)))
		offset += n
		if err != nil {
			return offset, err
		}
	}
	return offset, nil
}

// Send writes n bytes in the background, then ends the stream.
func (s Stream) Send(t testing.TB, c *net.TCPConn, n int) {
	go func() {
		_, err := s.Write(c, 0, n)
		assert.NoError(t, err)
		assert.NoError(t, c.CloseWrite())
	}()
}

// Flood writes until the connection ends, which it must.
func (s Stream) Flood(t testing.TB, c *net.TCPConn) (ended chan struct{}) {
	ended = make(chan struct{})
	assert.NoError(t, c.SetWriteDeadline(time.Now().Add(2*Patience)))
	go func() {
		defer close(ended)
		_, err := s.Write(c, 0, 1<<62)
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}()
	return ended
}

// AssertRead reads exactly total bytes of the stream from r, and the end.
func (s Stream) AssertRead(t testing.TB, r io.Reader, total int) {
	t.Helper()
	got := 0
	p := make([]byte, 64<<10)
	for {
		n, err := r.Read(p)
		if !assert.True(t, bytes.Equal(s.At(got, n), p[:n]), "at %d", got) {
			return
		}
		got += n
		if err != nil {
			assert.Equal(t, io.EOF, err)
			assert.Equal(t, total, got)
			return
		}
	}
}

// Send writes b in the background, then ends the stream.
func Send(t testing.TB, c *net.TCPConn, b []byte) {
	go func() {
		_, err := c.Write(b)
		assert.NoError(t, err)
		assert.NoError(t, c.CloseWrite())
	}()
}
