package zcrx

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// SocketPool is the buffers of Socket mode: ordinary memory, read into by
// SocketReceivers on their consumers' goroutines. It is on no loop, and needs neither
// Linux nor cgo. There is nothing to close: it goes when nobody uses it any more.
//
// All methods are safe from any goroutine.
type SocketPool struct {
	ledger
	bufferSize int
	paused     atomic.Uint64 // times that a connection had its whole share out
	room       chan struct{} // holds one wake-up: for one of those that wait

	// Guarded by ledger.mu:
	idle    []uint32 // numbers of the buffers that nobody has; the last was used last
	waiting int      // connections that wait for one

	// leaseMu: ledger.lease expects one caller at a time, which for other pools is the
	// loop's thread. It guards memory too.
	leaseMu sync.Mutex
	memory  [][]byte // by number; made when first used
}

// socketBufferSize is the size of a buffer in Socket mode, if no other is asked for:
// each read fills one.
const socketBufferSize = 16 << 10

// NewSocketPool makes a pool. Of cfg it looks at NumBuffers, at BufferSizeHint, which
// is 16 KiB by default, and at MaxLeases.
func NewSocketPool(cfg PoolConfig) (*SocketPool, error) {
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil {
		return nil, err
	}
	size := socketBufferSize
	if cfg.BufferSizeHint > 0 {
		size = bufferSizeFor(cfg.BufferSizeHint)
	}
	p := &SocketPool{
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

// NumBuffers returns the number of buffers.
func (p *SocketPool) NumBuffers() int { return len(p.memory) }

// BufferSize returns the size of a buffer in bytes.
func (p *SocketPool) BufferSize() int { return p.bufferSize }

// Stats is a snapshot of the pool's counters. Every byte was copied by the kernel.
func (p *SocketPool) Stats() PoolStats {
	s := p.ledger.stats()
	s.Paused = p.paused.Load()
	s.CopiedBytes = s.Bytes
	return s
}

// socketBuffer is a buffer that is borrowed to be read into. It is none while mem is
// nil.
type socketBuffer struct {
	pool *SocketPool
	id   uint32
	mem  []byte
}

// Get borrows the buffer, unless that was done before.
func (b *socketBuffer) Get() []byte {
	if b.mem == nil {
		b.pool.tryBorrow(b)
	}
	return b.mem
}

// Put ends the borrowing.
func (b *socketBuffer) Put() { b.pool.returnUnused(b) }

// borrow waits for a buffer that nobody has: await returns when room has a value, or
// an error if it is not to be waited for any longer.
func (p *SocketPool) borrow(b *socketBuffer, await func(room <-chan struct{}) error) error {
	p.addWaiting(1)
	defer p.addWaiting(-1)
	for !p.tryBorrow(b) {
		if err := await(p.room); err != nil {
			return err
		}
	}
	return nil
}

// addWaiting has whoever stops waiting pass on the wake-up that he may have taken.
func (p *SocketPool) addWaiting(n int) {
	p.mu.Lock()
	p.waiting += n
	p.tellWaiting()
	p.mu.Unlock()
}

// tellWaiting is called with mu held.
func (p *SocketPool) tellWaiting() {
	if p.waiting == 0 || len(p.idle) == 0 {
		return
	}
	wakeUp(p.room)
}

// tryBorrow returns false if somebody has every buffer. It takes the one that was used
// last: its memory is warm, and as few as possible are ever made.
func (p *SocketPool) tryBorrow(b *socketBuffer) bool {
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

func (p *SocketPool) lend(b *socketBuffer, id uint32) {
	p.leaseMu.Lock()
	defer p.leaseMu.Unlock()
	if p.memory[id] == nil {
		p.memory[id] = make([]byte, p.bufferSize)
	}
	b.id, b.mem = id, p.memory[id]
}

// returnUnused ends a borrowing that came to nothing.
func (p *SocketPool) returnUnused(b *socketBuffer) {
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
func (p *SocketPool) leaseTo(s *share, b socketBuffer, n int) Buffer {
	p.leaseMu.Lock()
	defer p.leaseMu.Unlock()
	buffer := p.lease(unsafe.Pointer(unsafe.SliceData(b.mem)), uint32(n), uint64(b.id))
	buffer.lease.share = s
	s.taken++
	p.count()
	return buffer
}

// The refiller's part, called with the ledger's lock held.

func (p *SocketPool) giveBack(run *lease, _ int) {
	for l := run; l != nil; l = l.next {
		p.idle = append(p.idle, uint32(l.token))
	}
	p.tellWaiting()
}

func (p *SocketPool) returnCount() uint64  { return p.returns }
func (p *SocketPool) starvingChanged(bool) {}
func (p *SocketPool) free()                {}

// resumeNow is the ledger's wake: whose pause has ended may go on at once.
func (p *SocketPool) resumeNow() {
	p.woken = false
	for _, s := range p.resumable {
		if s.receiver != nil {
			s.receiver.resume()
		}
	}
	p.resumable = nil
}
