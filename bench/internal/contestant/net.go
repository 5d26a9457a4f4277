package contestant

import (
	"context"
	"io"
	"net"
)

func startNet(_ context.Context, cfg Config) (*Server, error) {
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	t := newTraffic(cfg.Case)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed; a client that gets no connection reports it
			}
			go t.readAndWrite(conn)
		}
	}()
	return &Server{Address: ln.Addr().String(), Received: t.received.Load, Close: ln.Close}, nil
}

// readAndWrite serves a connection with Read and Write, and closes it.
func (t *traffic) readAndWrite(conn io.ReadWriteCloser) {
	defer conn.Close()
	p := make([]byte, t.readSize)
	for {
		n, err := conn.Read(p)
		t.read(p[:n])
		if t.echo && n > 0 {
			if _, err := conn.Write(p[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
