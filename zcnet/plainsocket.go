package zcnet

import (
	"context"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/zcrx-go/zcrx"
)

// plainSocket is the socket of a connection in Socket mode. A SocketReceiver reads from it;
// package net writes to it and sets its options.
type plainSocket struct {
	*net.TCPConn
	receiver *zcrx.SocketReceiver
}

func (s *plainSocket) onLoop() bool { return false }

func (s *plainSocket) mode() zcrx.Mode { return zcrx.Socket }
func (s *plainSocket) maxLeases() int  { return s.receiver.Pool().MaxLeases() }

// recv does not need the deadline: setReadDeadline has set it on the receiver.
func (s *plainSocket) recv(ctx context.Context, dst []zcrx.Buffer, _ *deadline) (int, error) {
	return s.receiver.RecvBatch(ctx, dst)
}

func (s *plainSocket) setReadDeadline(t time.Time) error  { return s.receiver.SetReadDeadline(t) }
func (s *plainSocket) setWriteDeadline(t time.Time) error { return s.SetWriteDeadline(t) }

func (s *plainSocket) handle(first []zcrx.Buffer, fn func(buffers []zcrx.Buffer, err error)) error {
	s.receiver.Handle(first, fn)
	return nil
}

// send does not need the deadline: setWriteDeadline has set it on the socket.
func (s *plainSocket) send(v [][]byte, _ *deadline) (int, error) {
	buffers := append(net.Buffers(nil), v...) // a copy, because WriteTo changes the list
	n, err := buffers.WriteTo(s.TCPConn)
	return int(n), err
}

func (s *plainSocket) readFrom(r io.Reader) (n int64, handled bool, err error) {
	n, err = s.ReadFrom(r)
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

func (s *plainSocket) close() error { return s.receiver.Close() }
