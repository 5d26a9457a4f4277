package zcrx

import (
	"context"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"
)

// plainPool is the buffers of Socket mode: ordinary memory, read into by its
// connections' own goroutines.
type plainPool struct {
	ledger
	bufferSize int
	paused     atomic.Uint64 // times that a connection had its whole share out
	idle       chan uint32   // numbers of the buffers that nobody has

	// taking stands for the loop's thread, which the ledger knows as the only one
	// to lease. It guards memory too.
	taking sync.Mutex
	memory [][]byte // by number; made when first used
}

// plainBufferSize is the size of a buffer in Socket mode, if no other is asked for:
// each read fills one.
const plainBufferSize = 16 << 10

func newPlainPool(cfg PoolConfig) (*plainPool, error) {
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil {
		return nil, err
	}
	size := plainBufferSize
	if cfg.BufferSizeHint > 0 {
		size = bufferSizeFor(cfg.BufferSizeHint)
	}
	p := &plainPool{
		bufferSize: size,
		idle:       make(chan uint32, cfg.NumBuffers), memory: make([][]byte, cfg.NumBuffers),
	}
	p.ledger.init(new(sync.Mutex), p, p.resumeNow)
	p.maxLeases = uint64(cfg.MaxLeases)
	for i := range cfg.NumBuffers {
		p.idle <- uint32(i)
	}
	return p, nil
}

// Stats is a snapshot of the pool's counters. Every byte was copied by the kernel.
func (p *plainPool) Stats() PoolStats {
	s := p.ledger.stats()
	s.Paused = p.paused.Load()
	s.CopiedBytes = s.Bytes
	return s
}

// borrow waits for a buffer that nobody has.
func (p *plainPool) borrow(ctx context.Context, expired, closed <-chan struct{}) (id uint32, mem []byte, err error) {
	select {
	case id = <-p.idle:
	default:
		select {
		case id = <-p.idle:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-closed:
			return 0, nil, ErrClosed
		}
	}
	p.taking.Lock()
	defer p.taking.Unlock()
	if p.memory[id] == nil {
		p.memory[id] = make([]byte, p.bufferSize)
	}
	return id, p.memory[id], nil
}

// giveBack ends a borrowing that came to nothing.
func (p *plainPool) giveBack(id uint32) { p.idle <- id }

// leaseTo makes the first n bytes of a borrowed buffer a lease out of s.
func (p *plainPool) leaseTo(s *share, id uint32, n int) Buffer {
	p.taking.Lock()
	defer p.taking.Unlock()
	b := p.lease(unsafe.Pointer(unsafe.SliceData(p.memory[id])), uint32(n), uint64(id))
	s.charge(b)
	p.count()
	return b
}

// The refiller's part, called with the ledger's lock held.

func (p *plainPool) refill(run *lease, _ int) (ownerNeeded bool) {
	for l := run; l != nil; l = l.next {
		p.idle <- uint32(l.token) // there is room for all of them
	}
	return false
}

func (p *plainPool) publish()             {}
func (p *plainPool) alert(bool)           {}
func (p *plainPool) returnCount() uint64  { return p.returns }
func (p *plainPool) starvingChanged(bool) {}
func (p *plainPool) free()                {}

// resumeNow is the ledger's wake: whose pause has ended may go on at once.
func (p *plainPool) resumeNow() {
	p.woken = false
	for _, s := range p.resumable {
		if s.receiver != nil {
			s.receiver.resume()
		}
	}
	p.resumable = nil
}
