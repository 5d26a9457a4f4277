package contestant

import (
	"context"
	"fmt"

	"github.com/zcrx-go/zcrx"
	"github.com/zcrx-go/zcrx/zcnet"
)

// A method is a way to use this library. serve serves the listener's connections, in
// goroutines of its own.
type method struct {
	name, about string
	serve       func(ctx context.Context, ln *zcnet.Listener, t *traffic)
}

func methods() []method {
	return append([]method{
		{"read", "a goroutine for each connection, Read and Write", serveRead},
		{"buffers", "a goroutine for each connection, Buffers and Send", serveBuffers},
		{"handler", "a Handler on the loop, Send", serveHandlers},
	}, fiberMethods()...)
}

// modes are those that a contestant can be asked for by a suffix of its name; Auto has none.
var modes = []zcrx.Mode{zcrx.Auto, zcrx.Socket, zcrx.Provided, zcrx.DeviceLess, zcrx.ZeroCopy}

// withMode returns a contestant's name and description in a mode.
func withMode(name, about string, mode zcrx.Mode) (string, string) {
	about = "this library: " + about
	if mode == zcrx.Auto {
		return name, about
	}
	return fmt.Sprintf("%s-%v", name, mode), fmt.Sprintf("%s, mode %v", about, mode)
}

func (m method) contestants() []*Contestant {
	var list []*Contestant
	for _, mode := range modes {
		name, about := withMode(m.name, m.about, mode)
		list = append(list, &Contestant{Name: name, About: about, start: func(ctx context.Context, cfg Config) (*Server, error) {
			ln, err := listen(ctx, mode, cfg)
			if err != nil {
				return nil, err
			}
			t := newTraffic(cfg.Case)
			m.serve(ctx, ln, t)
			return serverOf(ln, t), nil
		}})
	}
	return list
}

// poolMemory is how many bytes of buffers a pool has if the case says how large each is. It is
// also the library's default.
const poolMemory = 64 << 20

// listen returns a listener, whose engine is closed with it and its connections. The caller must
// serve the connections.
func listen(ctx context.Context, mode zcrx.Mode, cfg Config) (*zcnet.Listener, error) {
	ecfg := zcnet.Config{Mode: mode, Interface: cfg.Interface, Queues: cfg.Queues, Loops: cfg.Threads}
	if size := cfg.Case.BufferSize; size > 0 {
		ecfg.Pool = zcrx.PoolConfig{BufferSizeHint: size, NumBuffers: poolMemory / size}
	}
	return zcnet.Listen(ctx, "tcp", cfg.Address, ecfg)
}

// serverOf returns the Server of a listener whose connections are served.
func serverOf(ln *zcnet.Listener, t *traffic) *Server {
	return &Server{
		Address: ln.Addr().String(), Mode: ln.Engine().Mode().String(),
		Received: t.received.Load, Close: ln.Engine().Close,
	}
}

// serveEach accepts connections until the listener is closed.
func serveEach(ctx context.Context, ln *zcnet.Listener, serve func(*zcnet.Conn)) {
	for {
		conn, err := ln.AcceptConn(ctx)
		if err != nil {
			return // closed; a client that gets no connection reports it
		}
		serve(conn)
	}
}

func serveRead(ctx context.Context, ln *zcnet.Listener, t *traffic) {
	go serveEach(ctx, ln, func(conn *zcnet.Conn) { go t.readAndWrite(conn) })
}

func serveBuffers(ctx context.Context, ln *zcnet.Listener, t *traffic) {
	go serveEach(ctx, ln, func(conn *zcnet.Conn) { go t.buffers(ctx, conn) })
}

// buffers serves a connection with Buffers and Send, and closes it.
func (t *traffic) buffers(ctx context.Context, conn *zcnet.Conn) {
	defer conn.Close()
	for buf, err := range conn.Buffers(ctx) {
		if err != nil {
			return
		}
		t.read(buf.Bytes())
		if t.done(conn, buf) != nil {
			return
		}
	}
}
