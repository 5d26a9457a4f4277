package contestant

import (
	"context"

	"github.com/zcrx-go/zcrx/zcnet"
)

func fiberMethods() []method {
	return []method{
		{"fiber", "a fiber for each connection, Read and Write", func(ctx context.Context, ln *zcnet.Listener, t *traffic) {
			serveFibers(ctx, ln, func(conn *zcnet.Conn) { t.readAndWrite(conn) })
		}},
		{"fiber-buffers", "a fiber for each connection, Buffers and Send", func(ctx context.Context, ln *zcnet.Listener, t *traffic) {
			serveFibers(ctx, ln, func(conn *zcnet.Conn) { t.buffers(ctx, conn) })
		}},
	}
}

func serveFibers(ctx context.Context, ln *zcnet.Listener, fn func(*zcnet.Conn)) {
	go func() { _ = ln.Serve(ctx, fn) }() // closed; a client that gets no connection reports it
}

// fastHTTPFibers returns fasthttp on a fiber for each connection.
func fastHTTPFibers() []*Contestant {
	var list []*Contestant
	for _, mode := range modes {
		name, about := withMode("fasthttp-fiber", "fasthttp's ServeConn on a fiber for each connection", mode)
		list = append(list, &Contestant{Name: name, Baseline: fastHTTPNetName, About: about, start: func(ctx context.Context, cfg Config) (*Server, error) {
			ln, err := listen(ctx, mode, cfg)
			if err != nil {
				return nil, err
			}
			server := fastHTTPServer(cfg)
			serveFibers(ctx, ln, func(conn *zcnet.Conn) { _ = server.ServeConn(conn) }) // the client reports the end of the connection
			return serverOf(ln, &traffic{}), nil
		}})
	}
	return list
}
