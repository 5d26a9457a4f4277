package contestant

import (
	"context"
	"io"
	"net"
)

// acceptor is a server that runs a goroutine for each connection of a net.Listener.
type acceptor struct {
	*traffic
	net.Listener
}

// startAcceptor serves the connections of ln until it is closed.
func startAcceptor(ln net.Listener, t *traffic, serve func(net.Conn)) acceptor {
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed; a client that gets no connection reports it
			}
			go serve(conn)
		}
	}()
	return acceptor{traffic: t, Listener: ln}
}

func (a acceptor) Address() string { return a.Addr().String() }
func (acceptor) Mode() string      { return "" }

func startNet(_ context.Context, cfg Config) (Server, error) {
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	t := newTraffic(cfg.Case)
	return startAcceptor(ln, t, func(conn net.Conn) { t.readAndWrite(conn) }), nil
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
