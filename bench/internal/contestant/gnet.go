package contestant

import (
	"context"
	"fmt"
	"net"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"
	"golang.org/x/sys/unix"
)

// gnetServer is a server of gnet. It is the gnet.EventHandler.
type gnetServer struct {
	gnet.BuiltinEventEngine
	*traffic
	engine gnet.Engine
	booted chan struct{}
	ended  chan error
}

func startGnet(_ context.Context, cfg Config) (*Server, error) {
	s := &gnetServer{traffic: newTraffic(cfg.Case), booted: make(chan struct{}), ended: make(chan error, 1)}
	options := []gnet.Option{gnet.WithNumEventLoop(cfg.Threads), gnet.WithLogLevel(logging.FatalLevel)}
	if cfg.Case.BufferSize > 0 {
		options = append(options, gnet.WithReadBufferCap(cfg.Case.BufferSize))
	}
	go func() { s.ended <- gnet.Run(s, "tcp://"+cfg.Address, options...) }()
	select {
	case <-s.booted:
	case err := <-s.ended:
		return nil, err
	}
	address, err := s.listening()
	if err != nil {
		_ = s.stop() // the error above says more
		return nil, err
	}
	return &Server{Address: address, Received: s.received.Load, Close: s.stop}, nil
}

// listening returns the address of the listening socket, whose port the kernel chose.
func (s *gnetServer) listening() (string, error) {
	fd, err := s.engine.Dup()
	if err != nil {
		return "", err
	}
	name, err := unix.Getsockname(fd)
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err != nil {
		return "", err
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return (&net.TCPAddr{IP: name.Addr[:], Port: name.Port}).String(), nil
	case *unix.SockaddrInet6:
		return (&net.TCPAddr{IP: name.Addr[:], Port: name.Port}).String(), nil
	}
	return "", fmt.Errorf("gnet listens on an address of type %T", name)
}

// OnBoot implements gnet.EventHandler.
func (s *gnetServer) OnBoot(engine gnet.Engine) gnet.Action {
	s.engine = engine
	close(s.booted)
	return gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (s *gnetServer) OnTraffic(conn gnet.Conn) gnet.Action {
	p, err := conn.Next(-1)
	if err != nil {
		return gnet.Close
	}
	s.read(p)
	if s.echo {
		if _, err := conn.Write(p); err != nil {
			return gnet.Close
		}
	}
	return gnet.None
}

func (s *gnetServer) stop() error {
	if err := s.engine.Stop(context.Background()); err != nil {
		return err
	}
	return <-s.ended
}
