package contestant

import (
	"context"
	"math/bits"
	"net"

	"github.com/zcrx-go/zcrx/bench/internal/cserver"
	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// cMemory is how many bytes of buffers each thread has, if that is two for each connection. It is
// little, because the ring uses one buffer after the other: those that were used last are in the
// processor's caches.
const cMemory = 4 << 20

// cBuffers returns the size of the buffers, of which one holds a message of up to 64 KiB, and
// their number. Both are powers of two.
func cBuffers(c scenario.Case) (size, n int) {
	size = c.BufferSize
	if size == 0 {
		size = 64 << 10
		if c.Workload != scenario.Bulk {
			size = min(size, max(4<<10, powerOfTwo(c.Size)))
		}
	}
	return size, min(32768, max(16, powerOfTwo(2*c.Connections), cMemory/size))
}

// powerOfTwo returns the least power of two that is not less than n, which is 1 or more.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(n-1)) }

func startC(ringSends bool) func(context.Context, Config) (*Server, error) {
	return func(_ context.Context, cfg Config) (*Server, error) {
		var lc net.ListenConfig
		lc.SetMultipathTCP(false)
		ln, err := lc.Listen(context.Background(), "tcp", cfg.Address)
		if err != nil {
			return nil, err
		}
		size, n := cBuffers(cfg.Case)
		tcp := ln.(*net.TCPListener) //nolint:errcheck // a listener of network tcp is one
		s, err := cserver.Start(tcp, cserver.Config{
			Threads: cfg.Threads, Buffers: n, BufferSize: size,
			Echo: cfg.Case.Workload != scenario.Bulk, RingSends: ringSends,
		})
		if err != nil {
			_ = ln.Close() // the error above says more
			return nil, err
		}
		return &Server{Address: ln.Addr().String(), Received: s.Received, Close: s.Close}, nil
	}
}
