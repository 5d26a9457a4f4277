package contestant

import (
	"context"
	"io"
	"net"

	"github.com/cloudwego/netpoll"
)

func startNetpoll(_ context.Context, cfg Config) (*Server, error) {
	if err := netpoll.Configure(netpoll.Config{PollerNum: cfg.Threads, BufferSize: cfg.Case.BufferSize, LoggerOutput: io.Discard}); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	t := newTraffic(cfg.Case)
	request := t.netpollDrop
	if t.echo {
		request = t.netpollEcho
	}
	loop, err := netpoll.NewEventLoop(request)
	if err != nil {
		_ = ln.Close() // the error above says more
		return nil, err
	}
	go func() { _ = loop.Serve(ln) }() // a client that gets no connection reports it
	return &Server{
		Address: ln.Addr().String(), Received: t.received.Load,
		Close: func() error { return loop.Shutdown(context.Background()) },
	}, nil
}

// netpollDrop is the netpoll.OnRequest of Bulk. It reads the blocks where they are, because Next would
// copy them into one.
func (t *traffic) netpollDrop(_ context.Context, conn netpoll.Connection) error {
	r := conn.Reader()
	part, err := r.Slice(r.Len())
	if err != nil {
		return err
	}
	for _, p := range part.(*netpoll.LinkBuffer).GetBytes(nil) { //nolint:errcheck // Slice returns one
		t.read(p)
	}
	return part.Release()
}

// netpollEcho is the netpoll.OnRequest of the other workloads.
func (t *traffic) netpollEcho(_ context.Context, conn netpoll.Connection) error {
	r, w := conn.Reader(), conn.Writer()
	p, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	t.read(p)
	if _, err := w.WriteBinary(p); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return r.Release()
}
