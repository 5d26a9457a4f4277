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
	room       chan struct{} // holds one wake-up: for one of those that wait

	// Guarded by ledger.mu:
	idle    []uint32 // numbers of the buffers that nobody has; the last was used last
	waiting int      // connections that wait for one

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
		room:       make(chan struct{}, 1),
		idle:       make([]uint32, cfg.NumBuffers), memory: make([][]byte, cfg.NumBuffers),
	}
	p.ledger.init(new(sync.Mutex), p, p.resumeNow)
	p.maxLeases = uint64(cfg.MaxLeases)
	for i := range p.idle {
		p.idle[i] = uint32(len(p.idle) - 1 - i)
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
	p.addWaiting(1)
	defer p.addWaiting(-1)
	for !p.tryBorrow(b) {
		select {
		case <-p.room:
		case <-ctx.Done():
			return ctx.Err()
		case <-expired:
			return os.ErrDeadlineExceeded
		case <-closed:
			return ErrClosed
		}
	}
	return nil
}

// addWaiting has whoever stops waiting pass on the wake-up that he may have taken.
func (p *plainPool) addWaiting(n int) {
	p.mu.Lock()
	p.waiting += n
	p.tellWaiting()
	p.mu.Unlock()
}

// tellWaiting is called with mu held.
func (p *plainPool) tellWaiting() {
	if p.waiting == 0 || len(p.idle) == 0 {
		return
	}
	select {
	case p.room <- struct{}{}:
	default: // one wake-up is there already
	}
}

// tryBorrow answers false if somebody has every buffer. It takes the one that was used
// last: its memory is warm, and as few as possible are ever made.
func (p *plainPool) tryBorrow(b *plainBuffer) bool {
	p.mu.Lock()
	last := len(p.idle) - 1
	if last < 0 {
		p.mu.Unlock()
		return false
	}
	id := p.idle[last]
	p.idle = p.idle[:last]
	p.tellWaiting()
	p.mu.Unlock()
	p.lend(b, id)
	return true
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
	if b.mem == nil {
		return
	}
	p.mu.Lock()
	p.idle = append(p.idle, b.id)
	p.tellWaiting()
	p.mu.Unlock()
	b.mem = nil
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
		p.idle = append(p.idle, uint32(l.token))
	}
	p.tellWaiting()
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
