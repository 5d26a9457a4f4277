package contestant

import (
	"context"
	"net"

	"github.com/zcrx-go/zcrx/bench/internal/cserver"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// cMemory is how many bytes of buffers each thread has. It is enough for the connections of the
// suite, and little, because the ring uses one buffer after the other: those that were used last
// are in the processor's caches.
const cMemory = 4 << 20

func startC(ringSends bool) func(context.Context, Config) (*Server, error) {
	return func(_ context.Context, cfg Config) (*Server, error) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(context.Background(), "tcp", cfg.Address)
		if err != nil {
			return nil, err
		}
		size := newTraffic(cfg.Case).readSize
		if cfg.Case.Workload != scenario.Bulk && cfg.Case.BufferSize == 0 {
			size = 4 << 10
		}
		tcp := ln.(*net.TCPListener) //nolint:errcheck // a listener of network tcp is one
		s, err := cserver.Start(tcp, cserver.Config{
			Threads: cfg.Threads, Buffers: max(16, cMemory/size), BufferSize: size,
			Echo: cfg.Case.Workload != scenario.Bulk, RingSends: ringSends,
		})
		if err != nil {
			_ = ln.Close() // the error above says more
			return nil, err
		}
		return &Server{Address: ln.Addr().String(), Received: s.Received, Close: s.Close}, nil
	}
}
