package zcrx

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// SocketPool is the buffers of Socket mode: ordinary memory that SocketReceivers read into,
// on the goroutines of their consumers. It belongs to no loop, and needs neither Linux nor
// cgo. It need not be closed: the garbage collector frees it.
//
// All methods are safe from any goroutine.
type SocketPool struct {
	ledger
	bufferSize int
	paused     atomic.Uint64 // times that a connection's share was used up
	room       chan struct{} // holds one wake-up, for one connection that waits

	passedBy atomic.Uint64 // bytes that were read without a buffer of the pool

	// Guarded by ledger.mu:
	idle    []uint32 // numbers of the free buffers; the last one was used most recently
	waiting int      // connections that wait for a buffer

	// leaseMu serialises calls of ledger.lease, which for other pools come from the loop's
	// thread only. It also guards memory.
	leaseMu sync.Mutex
	memory  [][]byte // by number; each is allocated when first used
}

// Defaults of Socket mode, whose reads fill one buffer each. The size is in bytes.
const (
	socketBufferSize = 64 << 10
	socketNumBuffers = 4096
)

// NewSocketPool makes a pool. It uses cfg.NumBuffers (by default 4096), cfg.BufferSizeHint
// (by default 64 KiB) and cfg.MaxLeases. Memory is allocated as buffers are first used.
func NewSocketPool(cfg PoolConfig) (*SocketPool, error) {
	if cfg.BufferSizeHint == 0 {
		cfg.BufferSizeHint = socketBufferSize
	}
	if cfg.NumBuffers == 0 {
		cfg.NumBuffers = socketNumBuffers
	}
	cfg, err := cfg.withDefaults(MaxNumBuffers)
	if err != nil {
		return nil, err
	}
	size := bufferSizeFor(cfg.BufferSizeHint)
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

// Stats returns a snapshot of the pool's counters. CopiedBytes is Bytes, because the kernel
// copies every byte.
func (p *SocketPool) Stats() PoolStats {
	s := p.ledger.stats()
	s.Paused = p.paused.Load()
	s.Bytes += p.passedBy.Load()
	s.CopiedBytes = s.Bytes
	return s
}

// socketBuffer is a buffer that is borrowed to be read into. While mem is nil it is none.
type socketBuffer struct {
	pool *SocketPool
	id   uint32
	mem  []byte
}

// Get borrows a buffer, unless b already is one. It returns nil if none is free.
func (b *socketBuffer) Get() []byte {
	if b.mem == nil {
		b.pool.tryBorrow(b)
	}
	return b.mem
}

// Put returns the borrowed buffer, unused.
func (b *socketBuffer) Put() { b.pool.returnUnused(b) }

// borrow waits for a free buffer. await must return nil when it receives a value from room,
// or an error that ends the wait.
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

// addWaiting changes the number of waiting connections. It also wakes one of them if a
// buffer is free, because a connection that stops waiting may have taken the wake-up of
// another.
func (p *SocketPool) addWaiting(n int) {
	p.mu.Lock()
	p.waiting += n
	p.tellWaiting()
	p.mu.Unlock()
}

// tellWaiting wakes a waiting connection if a buffer is free. Called with mu held.
func (p *SocketPool) tellWaiting() {
	if p.waiting == 0 || len(p.idle) == 0 {
		return
	}
	wakeUp(p.room)
}

// tryBorrow returns false if no buffer is free. It takes the buffer that was used most
// recently: its memory is in the cache, and few buffers are ever allocated.
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

// lend makes b the buffer with that number.
func (p *SocketPool) lend(b *socketBuffer, id uint32) {
	p.leaseMu.Lock()
	defer p.leaseMu.Unlock()
	if p.memory[id] == nil {
		p.memory[id] = make([]byte, p.bufferSize)
	}
	b.id, b.mem = id, p.memory[id]
}

// returnUnused returns a borrowed buffer that was not filled.
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

// leaseTo makes the first n bytes of a borrowed buffer a lease that counts for s. b is none
// after that.
func (p *SocketPool) leaseTo(s *share, b *socketBuffer, n int) Buffer {
	p.leaseMu.Lock()
	defer p.leaseMu.Unlock()
	buffer := p.lease(unsafe.Pointer(unsafe.SliceData(b.mem)), uint32(n), uint64(b.id))
	buffer.lease.share = s
	s.taken++
	p.count()
	b.mem = nil
	return buffer
}

// The methods of refiller. Called with the ledger's lock held.

func (p *SocketPool) giveBack(run *lease, _ int, _ bool) alarm {
	for l := run; l != nil; l = l.next {
		p.idle = append(p.idle, uint32(l.token))
	}
	p.tellWaiting()
	return alarm{}
}

func (p *SocketPool) returnCount() uint64  { return p.returns }
func (p *SocketPool) starvingChanged(bool) {}
func (p *SocketPool) free()                {}

// resumeNow is the ledger's wake. It resumes receivers at once, because there is no loop to
// do it.
func (p *SocketPool) resumeNow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.woken = false
	for _, s := range p.resumable {
		if s.receiver != nil {
			s.receiver.resume()
		}
	}
	p.resumable = nil
}
