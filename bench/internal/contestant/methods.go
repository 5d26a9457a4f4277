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
		{"read", "a goroutine for each connection, Read", serveRead},
		{"buffers", "a goroutine for each connection, Buffers", serveBuffers},
		{"handler", "a Handler on the loop", serveHandlers},
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
		list = append(list, &Contestant{Name: name, About: about, start: func(ctx context.Context, cfg Config) (Server, error) {
			s, err := startEngine(ctx, mode, cfg)
			if err != nil {
				return nil, err
			}
			m.serve(ctx, s.ln, s.traffic)
			return s, nil
		}})
	}
	return list
}

// engineServer is a server of this library.
type engineServer struct {
	*traffic
	*zcnet.Engine
	ln *zcnet.Listener
}

// poolMemory is how many bytes of buffers a pool has if the case says how large each is. It is
// also the library's default.
const poolMemory = 64 << 20

// startEngine makes an engine and a listener. The caller must serve the listener's connections.
func startEngine(ctx context.Context, mode zcrx.Mode, cfg Config) (*engineServer, error) {
	ecfg := zcnet.Config{Mode: mode, Interface: cfg.Interface, Queues: cfg.Queues, Loops: cfg.Threads}
	if size := cfg.Case.BufferSize; size > 0 {
		ecfg.Pool = zcrx.PoolConfig{BufferSizeHint: size, NumBuffers: poolMemory / size}
	}
	engine, err := zcnet.NewEngine(ctx, ecfg)
	if err != nil {
		return nil, err
	}
	ln, err := engine.Listen(ctx, "tcp", cfg.Address)
	if err != nil {
		_ = engine.Close() // the error above says more
		return nil, err
	}
	return &engineServer{traffic: newTraffic(cfg.Case), Engine: engine, ln: ln}, nil
}

func (s *engineServer) Address() string { return s.ln.Addr().String() }
func (s *engineServer) Mode() string    { return s.Engine.Mode().String() }

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

// buffers serves a connection with Buffers and Write, and closes it.
func (t *traffic) buffers(ctx context.Context, conn *zcnet.Conn) {
	defer conn.Close()
	for buf, err := range conn.Buffers(ctx) {
		if err != nil {
			return
		}
		p := buf.Bytes()
		t.read(p)
		if t.echo {
			_, err = conn.Write(p)
		}
		_ = buf.Release() // cannot fail: this is the only Release
		if err != nil {
			return
		}
	}
}
