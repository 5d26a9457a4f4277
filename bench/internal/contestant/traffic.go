package contestant

import (
	"sync/atomic"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// traffic is what a server of bytes does with them, and counts.
type traffic struct {
	echo     bool
	readSize int // of the slices that bytes are read into
	received atomic.Int64
}

func newTraffic(c scenario.Case) *traffic {
	t := &traffic{echo: c.Workload != scenario.Bulk, readSize: c.BufferSize}
	if t.readSize == 0 {
		t.readSize = 64 << 10
		if t.echo {
			t.readSize = max(4<<10, c.Size)
		}
	}
	return t
}

// read counts received bytes and, if they are not sent back, reads them.
func (t *traffic) read(p []byte) {
	t.received.Add(int64(len(p)))
	if !t.echo {
		touch(p)
	}
}

// touch reads a byte of each cache line. It is not inlined so that the loop is not left out.
//
//go:noinline
func touch(p []byte) (sum uint64) {
	for i := 0; i < len(p); i += 64 {
		sum += uint64(p[i])
	}
	return sum
}
