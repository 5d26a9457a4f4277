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

// plainBuffer is a buffer that is borrowed to be read into. It is none while mem is
// nil.
type plainBuffer struct {
	id  uint32
	mem []byte
}

// borrow waits for a buffer that nobody has.
func (p *plainPool) borrow(ctx context.Context, b *plainBuffer, expired, closed <-chan struct{}) error {
	select {
	case id := <-p.idle:
		p.lend(b, id)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-closed:
		return ErrClosed
	}
}

// tryBorrow answers false if somebody has every buffer.
func (p *plainPool) tryBorrow(b *plainBuffer) bool {
	select {
	case id := <-p.idle:
		p.lend(b, id)
		return true
	default:
		return false
	}
}

func (p *plainPool) lend(b *plainBuffer, id uint32) {
	p.taking.Lock()
	defer p.taking.Unlock()
	if p.memory[id] == nil {
		p.memory[id] = make([]byte, p.bufferSize)
	}
	b.id, b.mem = id, p.memory[id]
}

// giveBack ends a borrowing that came to nothing.
func (p *plainPool) giveBack(b *plainBuffer) {
	if b.mem != nil {
		p.idle <- b.id
		b.mem = nil
	}
}

// leaseTo makes the first n bytes of a borrowed buffer a lease out of s.
func (p *plainPool) leaseTo(s *share, b plainBuffer, n int) Buffer {
	p.taking.Lock()
	defer p.taking.Unlock()
	buffer := p.lease(unsafe.Pointer(unsafe.SliceData(b.mem)), uint32(n), uint64(b.id))
	s.charge(buffer)
	p.count()
	return buffer
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
