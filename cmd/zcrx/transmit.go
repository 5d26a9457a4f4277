package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"time"
)

// tally is what went over a connection.
type tally struct {
	bytes   int64
	sum     hash.Hash
	started time.Time
	took    time.Duration
}

func newTally() *tally { return &tally{sum: sha256.New(), started: time.Now()} }

func (t *tally) add(b []byte) {
	t.sum.Write(b) // never fails
	t.bytes += int64(len(b))
}

func (t *tally) stop()            { t.took = time.Since(t.started) }
func (t *tally) sha256() string   { return hex.EncodeToString(t.sum.Sum(nil)) }
func (t *tally) seconds() float64 { return t.took.Seconds() }
func (t *tally) perSecond() float64 {
	if t.took <= 0 {
		return 0
	}
	return float64(t.bytes) / t.took.Seconds()
}

const sendBufferSize = 256 << 10

// transmit sends everything from src, ends the stream, and waits until the peer
// has closed its side: a peer does that when it has read everything, while bytes
// that it left unread make its system reset the connection. What the peer sends
// is thrown away. A reset ends transmit also while src waits.
//
// If anything fails the connection is reset, so that the peer cannot take what
// it got for everything. conn is closed in any case.
func transmit(ctx context.Context, conn *net.TCPConn, src *source, progress func(n int)) (*tally, error) {
	t := newTally()
	// An end of ctx ends every wait on the connection.
	release := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer release()
	reading, stopReading := context.WithCancelCause(ctx)
	defer stopReading(nil)
	peerClosed := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, struct{ io.Reader }{conn}) // its WriteTo would wrap errors twice
		if err != nil {
			stopReading(err)
		}
		peerClosed <- err
	}()

	err := t.copy(conn, src.until(reading), progress)
	if broken := context.Cause(reading); err != nil && broken != nil {
		err = broken
	}
	if err == nil {
		err = conn.CloseWrite()
	}
	if err != nil {
		_ = conn.SetLinger(0) // Close resets; without effect on a connection that is gone
	} else if err = <-peerClosed; err != nil {
		_ = conn.SetLinger(0)
	}
	t.stop()
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	if err != nil && ctx.Err() != nil {
		err = errInterrupted
	}
	return t, err
}

var errInterrupted = errors.New("interrupted")

// copy sends src and counts what the system took.
func (t *tally) copy(conn net.Conn, src io.Reader, progress func(n int)) error {
	buf := make([]byte, sendBufferSize)
	for {
		n, readErr := src.Read(buf)
		sent, err := conn.Write(buf[:n])
		t.add(buf[:sent])
		progress(sent)
		switch {
		case err != nil:
			return err
		case errors.Is(readErr, io.EOF):
			return nil
		case readErr != nil:
			return fmt.Errorf("read what to send: %w", readErr)
		}
	}
}

// dial connects to a TCP address.
func dial(ctx context.Context, address string) (*net.TCPConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() != nil {
			err = errInterrupted
		}
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("connection to %s is a %T, not TCP", address, conn), conn.Close())
	}
	return tcp, nil
}
