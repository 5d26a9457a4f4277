package contestant

import (
	"context"
	"io"
	"net"

	"github.com/cloudwego/netpoll"
)

// netpollServer is a server of netpoll.
type netpollServer struct {
	*traffic
	loop    netpoll.EventLoop
	address string
}

func startNetpoll(_ context.Context, cfg Config) (Server, error) {
	if err := netpoll.Configure(netpoll.Config{PollerNum: cfg.Threads, BufferSize: cfg.Case.BufferSize, LoggerOutput: io.Discard}); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", cfg.Address)
	if err != nil {
		return nil, err
	}
	s := &netpollServer{traffic: newTraffic(cfg.Case), address: ln.Addr().String()}
	if s.loop, err = netpoll.NewEventLoop(s.request); err != nil {
		_ = ln.Close() // the error above says more
		return nil, err
	}
	go func() { _ = s.loop.Serve(ln) }() // a client that gets no connection reports it
	return s, nil
}

// request is the netpoll.OnRequest.
func (s *netpollServer) request(_ context.Context, conn netpoll.Connection) error {
	r, w := conn.Reader(), conn.Writer()
	p, err := r.Next(r.Len())
	if err != nil {
		return err
	}
	s.read(p)
	if s.echo {
		if _, err := w.WriteBinary(p); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return r.Release()
}

func (s *netpollServer) Address() string { return s.address }
func (*netpollServer) Mode() string      { return "" }
func (s *netpollServer) Close() error    { return s.loop.Shutdown(context.Background()) }
