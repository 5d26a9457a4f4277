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

// Pattern returns n random bytes that depend on the seed only.
func Pattern(seed int64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.New(rand.NewSource(seed)).Read(b) // never fails
	return b
}

// Stream is an endless sequence of bytes with a period that is no multiple of a buffer
// size, so that a reader notices bytes that are lost, doubled or out of place.
type Stream []byte

const streamPeriod = 1<<20 + 7

// NewStream returns a Stream that depends on the seed only.
func NewStream(seed int64) Stream {
	p := Pattern(seed, streamPeriod)
	return append(p, p...)
}

// At returns n bytes, at most streamPeriod, from an offset on.
func (s Stream) At(offset, n int) []byte { return s[offset%streamPeriod:][:n] }

// Write writes the bytes from offset to end to w, and returns the offset that it reached.
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

// Send writes n bytes to c in the background, then closes its write side.
func (s Stream) Send(t testing.TB, c *net.TCPConn, n int) {
	go func() {
		_, err := s.Write(c, 0, n)
		assert.NoError(t, err)
		assert.NoError(t, c.CloseWrite())
	}()
}

// Flood writes to c in the background until the connection ends, and then closes ended.
// The test fails if it does not end within twice Patience.
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

// AssertRead asserts that r returns exactly total bytes of the stream and then io.EOF.
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

// Send writes b to c in the background, then closes its write side.
func Send(t testing.TB, c *net.TCPConn, b []byte) {
	go func() {
		_, err := c.Write(b)
		assert.NoError(t, err)
		assert.NoError(t, c.CloseWrite())
	}()
}
