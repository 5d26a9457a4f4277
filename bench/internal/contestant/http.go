package contestant

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/valyala/fasthttp"

	"github.com/zcrx-go/zcrx"
)

// httpContestants returns net/http and fasthttp, each on a listener of package net and on one
// of this library.
func httpContestants() []*Contestant {
	list := []*Contestant{
		{Name: fastHTTPNetName, Baseline: fastHTTPNetName, About: "fasthttp on package net", start: startHTTPNet(serveFastHTTP)},
		{Name: netHTTPNetName, Baseline: netHTTPNetName, About: "net/http on package net", start: startHTTPNet(serveNetHTTP)},
	}
	for _, s := range []struct {
		name, about, baseline string
		serve                 func(Config, net.Listener)
	}{
		{"fasthttp-listener", "fasthttp on its listener", fastHTTPNetName, serveFastHTTP},
		{"nethttp-listener", "net/http on its listener", netHTTPNetName, serveNetHTTP},
	} {
		for _, mode := range modes {
			name, about := withMode(s.name, s.about, mode)
			list = append(list, &Contestant{Name: name, Baseline: s.baseline, About: about, start: startHTTPEngine(mode, s.serve)})
		}
	}
	list = append(list, fastHTTPFibers()...)
	for _, c := range list {
		c.Workloads = httpWorkloads
	}
	return list
}

func startHTTPNet(serve func(Config, net.Listener)) func(context.Context, Config) (*Server, error) {
	return func(_ context.Context, cfg Config) (*Server, error) {
		ln, err := net.Listen("tcp", cfg.Address)
		if err != nil {
			return nil, err
		}
		go serve(cfg, ln)
		return &Server{Address: ln.Addr().String(), Received: new(traffic).received.Load, Close: ln.Close}, nil
	}
}

func startHTTPEngine(mode zcrx.Mode, serve func(Config, net.Listener)) func(context.Context, Config) (*Server, error) {
	return func(ctx context.Context, cfg Config) (*Server, error) {
		ln, err := listen(ctx, mode, cfg)
		if err != nil {
			return nil, err
		}
		go serve(cfg, ln)
		return serverOf(ln, &traffic{}), nil
	}
}

const contentType = "application/octet-stream"

func body(cfg Config) []byte { return bytes.Repeat([]byte{'x'}, cfg.Case.Size) }

func fastHTTPServer(cfg Config) *fasthttp.Server {
	reply := body(cfg)
	return &fasthttp.Server{
		Logger: log.New(io.Discard, "", 0),
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.SetContentType(contentType)
			ctx.SetBody(reply)
		},
	}
}

func serveFastHTTP(cfg Config, ln net.Listener) {
	_ = fastHTTPServer(cfg).Serve(ln) // closed; a client that gets no connection reports it
}

func serveNetHTTP(cfg Config, ln net.Listener) {
	reply := body(cfg)
	server := &http.Server{
		ErrorLog: log.New(io.Discard, "", 0),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = w.Write(reply) // the client reports the end of the connection
		}),
	}
	_ = server.Serve(ln) // closed; a client that gets no connection reports it
}
