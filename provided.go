package zcrx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// ProvidedPool is the copying counterpart of a Pool: buffers in a
// provided-buffer ring (Linux 5.19), into which the kernel copies received data.
// It needs no privilege and no particular interface.
//
// All methods are safe from any goroutine.
type ProvidedPool struct {
	ledger
	loop  *Loop
	group uint16
	area  area // unmapped with the last lease

	numBuffers int
	bufferSize uint64
	// reason is why Auto took no better mode; set before anybody else has the
	// pool.
	reason error

	// ring is the memory shared with the kernel: entries that we write and the
	// tail, laid over the first entry. Guarded by ledger.mu.
	ring    []byte
	entries uint32 // a power of two
	tail    uint16
	firstID uint16 // the id in entry 0, which shares a word with the tail

	receivers receiverList
}

var _ BufferPool = (*ProvidedPool)(nil)

// MaxProvidedBuffers is the largest number of buffers of a ProvidedPool.
const MaxProvidedBuffers = 32768

// providedEntry mirrors struct io_uring_buf. Its last two bytes are the ring's
// tail in entry 0, else reserved.
type providedEntry struct {
	addr   uint64
	length uint32
	id     uint16
	_      uint16
}

const providedEntrySize = unsafe.Sizeof(providedEntry{})

// NewProvidedPool makes a pool of cfg.NumBuffers (1 to 32768, by default 16384)
// buffers of cfg.BufferSizeHint bytes (a power of two of at least a page, else a
// page) on the loop's ring. The other fields of cfg do not matter. The caller
// must Close it; closing the loop closes it too. Errors match ErrNotSupported
// where the kernel or the process cannot do it.
func NewProvidedPool(loop *Loop, cfg PoolConfig) (*ProvidedPool, error) {
	return newProvidedPool(context.Background(), loop, cfg)
}

func newProvidedPool(ctx context.Context, loop *Loop, cfg PoolConfig) (*ProvidedPool, error) {
	cfg, err := cfg.withDefaults(MaxProvidedBuffers)
	if err != nil {
		return nil, err
	}
	p := &ProvidedPool{loop: loop, entries: roundUpPow2(uint32(cfg.NumBuffers))}
	p.ledger.init(new(sync.Mutex), p, loop.wake)
	if cfg.Memory == MemoryDMABuf {
		return nil, errors.New("zcrx: a provided pool cannot lie in a dma-buf: the kernel copies into user memory")
	}
	if p.area, err = newArea(cfg.Memory, cfg.NumBuffers, uintptr(bufferSizeFor(cfg.BufferSizeHint)), -1); err != nil {
		return nil, err
	}
	p.numBuffers, p.bufferSize = cfg.NumBuffers, p.area.bufferSize
	page := pageSize()
	size := (uintptr(p.entries)*providedEntrySize + page - 1) &^ (page - 1)
	if p.ring, err = mapAnonymous(size, page); err != nil {
		p.free()
		return nil, fmt.Errorf("zcrx: map provided-buffer ring of %d entries: %w", p.entries, err)
	}
	adviseReceive(p.ring)
	for id := range cfg.NumBuffers {
		p.put(uint64(id))
	}
	p.publish()
	if err := loop.Do(ctx, p.registerOn); err != nil {
		p.free()
		return nil, err
	}
	return p, nil
}

func (p *ProvidedPool) registerOn(r *Ring) error {
	group, err := p.loop.newBufferGroup()
	if err != nil {
		return err
	}
	if err := r.registerBufRing(sliceAddr(p.ring), p.entries, group, 0); err != nil {
		p.loop.freeBufferGroup(group)
		return err
	}
	p.group = group
	p.loop.addSource(p)
	return nil
}

// Mode is Provided.
func (p *ProvidedPool) Mode() Mode { return Provided }

// Reason says why Auto took no better mode; nil if Provided was asked for.
func (p *ProvidedPool) Reason() error { return p.reason }

// Loop is the loop that owns the pool.
func (p *ProvidedPool) Loop() *Loop { return p.loop }

// NumBuffers is the number of buffers.
func (p *ProvidedPool) NumBuffers() int { return p.numBuffers }

// BufferSize is the size of a buffer in bytes.
func (p *ProvidedPool) BufferSize() int { return int(p.bufferSize) }

// Close ends the pool: receivers that use it end with ErrClosed, and no buffer
// is leased any more. Leases that are out stay valid until they are released.
// Close is idempotent.
func (p *ProvidedPool) Close() error { return p.loop.closeSource(p) }

// Stats is a snapshot of the pool's counters. Every byte was copied by the
// kernel.
func (p *ProvidedPool) Stats() PoolStats {
	s := p.ledger.stats()
	p.receivers.addTo(&s)
	s.CopiedBytes = s.Bytes
	return s
}

func (p *ProvidedPool) refill(run *lease, _ int) (ownerNeeded bool) {
	for l := run; l != nil; l = l.next {
		p.put(l.token)
	}
	return false
}

// put puts the buffer with that id into the ring. It never runs out of room: there
// are at least as many entries as buffers.
func (p *ProvidedPool) put(id uint64) {
	i := uint32(p.tail) & (p.entries - 1)
	e := (*providedEntry)(unsafe.Pointer(&p.ring[uintptr(i)*providedEntrySize]))
	e.addr = uint64(uintptr(unsafe.Pointer(&p.area.mem[id*p.bufferSize])))
	e.length = uint32(p.bufferSize)
	if i == 0 {
		p.firstID = uint16(id) // publish writes it, along with the tail
	} else {
		e.id = uint16(id)
	}
	p.tail++
}

// publish shows the kernel the new tail. Go has no atomic store of 16 bits, so
// the aligned word of entry 0's id and the tail is stored as a whole; both are
// ours to write.
func (p *ProvidedPool) publish() {
	var word [4]byte
	binary.NativeEndian.PutUint16(word[0:], p.firstID)
	binary.NativeEndian.PutUint16(word[2:], p.tail)
	at := (*uint32)(unsafe.Pointer(&p.ring[unsafe.Offsetof(providedEntry{}.id)]))
	atomic.StoreUint32(at, binary.NativeEndian.Uint32(word[:]))
}

func (p *ProvidedPool) alert(ownerNeeded bool) { p.alertLocked(ownerNeeded) }
func (p *ProvidedPool) returnCount() uint64    { return p.returns }
func (p *ProvidedPool) starvingChanged(bool)   {}

func (p *ProvidedPool) free() {
	p.area.unmap()
	if p.ring != nil {
		_ = unmap(p.ring)
		p.ring = nil
	}
}

func (p *ProvidedPool) queueWasFull()           {}
func (p *ProvidedPool) prepRecv(s *SQE, fd int) { s.PrepRecvMultishot(fd, p.group, 0) }
func (p *ProvidedPool) supplied() supply        { return supply{returns: p.seenReturns()} }
func (p *ProvidedPool) users() *receiverList    { return &p.receivers }
func (p *ProvidedPool) accounts() *ledger       { return &p.ledger }

func (p *ProvidedPool) beforeTurn(l *Loop) {
	p.mu.Lock()
	p.woken = false
	now := supply{returns: p.returns}
	p.mu.Unlock()
	p.receivers.feed(now, false, nil)
	if !p.setStarving(p.receivers.hungry() > 0, now.returns) {
		l.again = true
	}
}

func (p *ProvidedPool) take(c *CQE) (Buffer, error) {
	if c.Flags&CQEBuffer == 0 {
		return Buffer{}, fmt.Errorf("%w: %d bytes without a buffer", errBadCompletion, c.Res)
	}
	id := uint64(c.BufferID())
	data, err := p.area.locate(id*p.bufferSize, uint64(c.Res))
	if err != nil {
		return Buffer{}, err
	}
	return p.lease(data, uint32(c.Res), id), nil
}

// discard puts a buffer that was taken for no data back.
func (p *ProvidedPool) discard(c *CQE) {
	if c.Flags&CQEBuffer == 0 || int(c.BufferID()) >= p.NumBuffers() {
		return
	}
	p.mu.Lock()
	p.put(uint64(c.BufferID()))
	p.publish()
	p.mu.Unlock()
}

func (p *ProvidedPool) detach(r *Ring) {
	if err := r.unregisterBufRing(p.group); err == nil {
		p.loop.freeBufferGroup(p.group)
	}
}
