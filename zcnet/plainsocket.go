package zcnet

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/internal/sys"
)

// plainSocket is the socket of a connection in Socket mode. A SocketReceiver reads from it;
// package net writes to it and sets its options.
type plainSocket struct {
	*net.TCPConn
	receiver *zcrx.SocketReceiver
	tally    *fiberTally
	broken   atomic.Pointer[error] // the connection's error, if a write met it: reads then see an end
}

func (s *plainSocket) mode() zcrx.Mode { return zcrx.Socket }

// recv does not need the deadline: setReadDeadline has set it on the receiver.
func (s *plainSocket) recv(ctx context.Context, dst []zcrx.Buffer, _ *deadline) (int, error) {
	if blocksLoop() {
		return 0, ErrWouldBlock
	}
	n, err := s.receiver.RecvBatch(ctx, dst)
	return n, s.endOfStream(err)
}

// readDirect reads into p: no buffer of the pool, and no copy from it, is necessary. It does
// nothing for a fiber, which may be ended, p with it, while a goroutine reads.
func (s *plainSocket) readDirect(p []byte) (n int, direct bool, err error) {
	switch {
	case currentFiber() != nil:
		return 0, false, nil
	case blocksLoop():
		return 0, true, ErrWouldBlock
	}
	n, err = s.receiver.Read(p)
	return n, true, s.endOfStream(err)
}

// endOfStream returns what err of a read means: the kernel reports the connection's error
// once, and if that was to a write, a read returns io.EOF.
func (s *plainSocket) endOfStream(err error) error {
	if broken := s.broken.Load(); broken != nil && errors.Is(err, io.EOF) {
		return *broken
	}
	return err
}

// noteError remembers that a write has met the connection's error.
func (s *plainSocket) noteError(err error) {
	for _, errno := range []syscall.Errno{syscall.ECONNRESET, syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ECONNABORTED} {
		if errors.Is(err, errno) {
			s.broken.Store(&err)
		}
	}
}

func (s *plainSocket) setReadDeadline(t time.Time) error  { return s.receiver.SetReadDeadline(t) }
func (s *plainSocket) setWriteDeadline(t time.Time) error { return s.SetWriteDeadline(t) }

func (s *plainSocket) handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error), _ uintptr) error {
	s.receiver.Handle(first, func(buffers []zcrx.Buffer, err error) { fn(buffers, s.endOfStream(err)) })
	return nil
}

// send does not need the deadline: setWriteDeadline has set it on the socket.
func (s *plainSocket) send(v [][]byte, limit *deadline) (int, error) {
	if f := currentFiber(); f != nil {
		return sendForFiber(f, s, v, nil, limit)
	}
	if blocksLoop() {
		return s.sendNow(v)
	}
	return s.sendHere(v, limit)
}

func (s *plainSocket) sendHere(v [][]byte, _ *deadline) (int, error) {
	var n int64
	var err error
	if len(v) == 1 {
		var k int
		k, err = s.Write(v[0])
		n = int64(k)
	} else {
		buffers := append(net.Buffers(nil), v...) // a copy, because WriteTo changes the list
		n, err = buffers.WriteTo(s.TCPConn)
	}
	if err != nil {
		s.noteError(err)
	}
	return int(n), err
}

// queueLeased: there is no queue.
func (s *plainSocket) queueLeased([]zcrx.Buffer, *deadline) (queued bool, err error) {
	return false, nil
}

// sendNow is send for a Handler of another engine, which runs on a loop: it returns
// ErrWouldBlock instead of waiting.
func (s *plainSocket) sendNow(v [][]byte) (int, error) {
	w := newWindow(v)
	for w.next() {
		var n int
		var err error
		cerr := s.control(func(fd uintptr) { n, err = sys.SendNow(int(fd), w.slices) })
		w.wrote(n)
		switch {
		case cerr != nil:
			return w.written, cerr
		case errors.Is(err, syscall.EAGAIN):
			return w.written, ErrWouldBlock
		case err != nil:
			s.noteError(err)
			return w.written, err
		}
	}
	return w.written, nil
}

// readFrom does nothing on a loop, which it would block.
func (s *plainSocket) readFrom(r io.Reader) (n int64, handled bool, err error) {
	if blocksLoop() {
		return 0, false, nil
	}
	n, err = s.ReadFrom(r) // an error may be r's, so it is not noted
	return n, true, err
}

func (s *plainSocket) shutdown(how int) error {
	if how == syscall.SHUT_RD {
		return s.CloseRead()
	}
	return s.CloseWrite()
}

func (s *plainSocket) control(fn func(fd uintptr)) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(fn)
}

func (s *plainSocket) close(closed func()) error {
	defer closed()
	return s.receiver.Close()
}
