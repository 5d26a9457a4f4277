package zcrx

import (
	"fmt"
	"unsafe"

	"github.com/zcrx-go/zcrx/uring"
)

// progress says how far completions have used up the ring. It belongs to the loop's thread.
type progress struct {
	head   uint16 // the position of the buffer that the next bytes lie in
	used   uint64 // bytes used of that buffer
	leases int32  // leases made of these bytes
	// lost says that a completion did not fit, so that it is not known where the bytes of
	// later ones lie.
	lost bool
}

// The token of a buffer's last lease contains how many leases were made of the buffer, the
// tokens of the others contain 0. Each returned lease adds its number less one to owed. In
// whatever order leases are returned, the sum is 0 with the last of them and not before:
// see addOwed.

func leaseToken(id uint16, leases int32) uint64 { return uint64(leases)<<32 | uint64(id) }

func splitLeaseToken(token uint64) (id uint16, leases int32) {
	return uint16(token), int32(token >> 32)
}

// giveBack puts those buffers into the ring that the kernel has used up and whose leases
// are all returned. It wakes the loop only for buffers, because a lease alone lets no
// receive continue. Called with the ledger's lock held.
func (p *ProvidedPool) giveBack(run *lease, _ int, _ bool) (a alarm) {
	before := p.supplies
	for l := run; l != nil; l = l.next {
		if l.token >= outsidePool {
			continue
		}
		id, leases := splitLeaseToken(l.token)
		p.addOwed(id, leases-1)
	}
	if p.supplies > before {
		p.ring.publish()
		p.alertLocked(false, &a)
	}
	return a
}

// addOwed adds change to what a buffer owes, and puts the buffer into the ring if the sum
// is 0. A buffer in the ring owes 0; while the kernel still fills it, every returned lease
// adds -1. Called with the ledger's lock held.
func (p *ProvidedPool) addOwed(id uint16, change int32) {
	p.owed[id] += change
	if p.owed[id] == 0 {
		p.put(id)
		p.supplies++
	}
}

// put writes the buffer's entry into the ring. Called with the ledger's lock held, or
// before the pool is registered.
func (p *ProvidedPool) put(id uint16) {
	p.ring.put(id, sliceAddr(p.area.mem[uint64(id)*p.bufferSize:]), uint32(p.bufferSize))
}

func (p *ProvidedPool) take(c *uring.CQE, dst []Buffer) ([]Buffer, error) {
	if c.Flags&uring.CQEBuffer == 0 || c.Res <= 0 {
		return dst, fmt.Errorf("%w: %d bytes, flags %#x", errBadCompletion, c.Res, uint32(c.Flags))
	}
	if p.consumption.inOrder() {
		return p.takeInOrder(c, dst)
	}
	id, n := c.BufferID(), uint32(c.Res)
	data, err := p.locate(id, 0, uint64(n))
	if err != nil {
		return dst, err
	}
	return append(dst, p.lease(data, n, leaseToken(id, 1))), nil
}

// locate returns the address of n bytes of a buffer, used bytes behind its beginning. It
// checks the id itself, because an area of huge pages may hold more buffers than the pool
// has.
func (p *ProvidedPool) locate(id uint16, used, n uint64) (unsafe.Pointer, error) {
	if int(id) >= p.numBuffers {
		return nil, fmt.Errorf("%w: buffer %d of %d", errBadCompletion, id, p.numBuffers)
	}
	return p.area.locate(uint64(id)*p.bufferSize+used, n)
}

// takeInOrder cuts a completion's bytes into leases, one for each buffer that they lie in.
// After a completion that does not follow the one before, it returns an error for every
// further one.
func (p *ProvidedPool) takeInOrder(c *uring.CQE, dst []Buffer) ([]Buffer, error) {
	had := len(dst)
	at := p.progress
	err := p.follows(c)
	for left := uint64(c.Res); left > 0 && err == nil; {
		dst, left, err = p.takePart(c, dst, left)
		if left > 0 && !p.consumption.bundles && err == nil {
			err = errBadCompletion
		}
	}
	if err == nil {
		return dst, nil
	}
	p.lost = true
	_ = ReleaseAll(dst[had:]) // cannot fail: the leases are new
	return dst[:had], fmt.Errorf("%w: %d bytes from buffer %d on, flags %#x, do not follow byte %d of entry %d",
		err, c.Res, c.BufferID(), uint32(c.Flags), at.used, at.head)
}

// follows returns an error if a completion does not begin where the one before ended.
func (p *ProvidedPool) follows(c *uring.CQE) error {
	if p.lost || p.head == p.ring.published() || p.ring.id(p.head) != c.BufferID() {
		return errBadCompletion
	}
	return nil
}

// takePart leases those of a completion's left bytes that lie in the buffer at the head.
func (p *ProvidedPool) takePart(c *uring.CQE, dst []Buffer, left uint64) ([]Buffer, uint64, error) {
	if p.head == p.ring.published() {
		return dst, left, errBadCompletion
	}
	room := p.bufferSize - p.used
	if !p.consumption.incremental {
		// Some kernels shorten the last entry of a bundle before they know whether they
		// will fill it.
		room = uint64(p.ring.entry(p.head).length)
	}
	id, n := p.ring.id(p.head), min(left, room)
	data, err := p.locate(id, p.used, n)
	if err != nil {
		return dst, left, err
	}
	p.used += n
	p.leases++
	token := leaseToken(id, 0)
	if p.usedUp(c) {
		token = leaseToken(id, p.leases)
		p.advance()
	}
	return append(dst, p.lease(data, uint32(n), token)), left - n, nil
}

// usedUp reports whether the kernel has used up the buffer at the head: the buffer is full,
// or the kernel says so. In an incremental bundle only full buffers count, because before
// Linux 6.12.94, 6.18.36 and 7.0.13 the flag may be that of another buffer of the bundle
// (CVE-2026-53191; both cases seen on 6.16.12).
func (p *ProvidedPool) usedUp(c *uring.CQE) bool {
	if !p.consumption.incremental || p.used == p.bufferSize {
		return true
	}
	return !p.consumption.bundles && c.Flags&uring.CQEBufMore == 0
}

// advance moves to the next buffer.
func (p *ProvidedPool) advance() { p.progress = progress{head: p.head + 1, lost: p.lost} }

// discard puts the buffer of a completion without data back into the ring, unless leases of
// it are out.
func (p *ProvidedPool) discard(c *uring.CQE) {
	id := c.BufferID()
	if c.Flags&uring.CQEBuffer == 0 || int(id) >= p.numBuffers {
		return
	}
	leases := int32(0)
	if p.consumption.inOrder() {
		if c.Flags&uring.CQEBufMore != 0 {
			return
		}
		if p.follows(c) != nil {
			p.lost = true
			return
		}
		leases = p.leases
		p.advance()
	}
	p.mu.Lock()
	p.addOwed(id, leases)
	p.ring.publish()
	p.mu.Unlock()
}
