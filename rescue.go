package zcrx

import (
	"errors"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// A hardware queue's pool cannot always take what a socket holds. A packet that the
// device did not split, that came through another queue or from this machine lies in
// ordinary memory, and the kernel copies it into a buffer of the area's free list.
// Buffers that are posted to the device, that its page pool keeps, or that lie behind
// that very packet in the socket do not come back to that list, so neither a return nor
// a flush has to help (Linux 6.15 to 7.3, io_uring/zcrx.c, io_alloc_fallback_niov); a
// dma-buf is never copied into. The receive ends with ENOMEM, or EFAULT for a dma-buf
// before Linux 7.0, and would end so for ever.
//
// What the kernel cannot copy, recv(2) can: TCP hands out readable packets and stops at
// those that lie in the area, so the order of bytes holds. Such bytes become leases in
// memory of their own.

const (
	// rescueAfter is how long a receive waits for a buffer to come back, if there is
	// nothing to flush, before its socket is read.
	rescueAfter = time.Millisecond

	// rescueChunk is how many bytes are read at a time.
	rescueChunk = 64 << 10

	// A packet that is readable in part is beyond both ways. It is tried again after
	// the shortest of these times, then twice that and so on up to the longest.
	shortestStall = 10 * time.Millisecond
	longestStall  = time.Second
)

// rescuedToken stands in a lease whose bytes lie outside the area: there is nothing to
// refill. No offset has all bits set: there are at most 1024 areas.
const rescuedToken = ^uint64(0)

// errStalled is reported once for a pool; PoolStats.Stalls counts on.
var errStalled = errors.New("a packet can be neither copied by the kernel, which has no free buffer, nor read: " +
	"it is tried again; let the pool grow (PoolConfig.MaxBuffers) or give it more buffers than the device's ring posts")

// shortage is what a receiver remembers of receives that ended for want of a buffer. It
// belongs to the loop's thread.
type shortage struct {
	ends    int       // receives that ended so, in a row
	since   time.Time // the last of them ended
	refused bool      // it ended with EFAULT: either way is shut if recv(2) says so too
	stalls  int       // times that it was put off, in a row
	noRoom  bool      // the last of them for want of room: see rescueRoom
	retry   time.Time // not before that
}

// rescueDue tells whether r, which waits for a buffer, waits in vain: the receive ended
// once more after a flush or a return, nothing is on its way back, or it took too long.
func (p *Pool) rescueDue(r consumer, now time.Time, idle bool) bool {
	return p.rescues && (idle || r.need().ends > 1 || now.Sub(r.need().since) >= rescueAfter)
}

// rescue reads the head of r's socket into memory of its own, and arms the receive
// again. It is for the loop's thread; no receive of r is in flight.
func (p *Pool) rescue(r consumer) {
	room := p.rescueRoom(r.allowance())
	r.need().noRoom = room == 0
	if room == 0 {
		p.putOff(r) // a return is on its way, and goes on with it
		return
	}
	if p.rescueMemory == nil {
		p.rescueMemory = make([]byte, rescueChunk)
	}
	n, errno := r.readNow(p.rescueMemory[:min(room*p.memory.bufferSize, rescueChunk)])
	switch {
	case n > 0:
		p.deliverRescued(r, p.rescueMemory[:n])
		// The next receive that finds no buffer is rescued at once: this one showed that
		// waiting is in vain. Data that comes otherwise starts anew.
		*r.need() = shortage{ends: 1}
		r.arm()
	case errno == 0:
		r.end(r.endOfStream())
	case errno == syscall.EFAULT && r.need().refused:
		r.end(receiveError(errno))
	case errno == syscall.EFAULT || errno == syscall.EAGAIN || errno == syscall.ENOMEM || errno == syscall.ENOBUFS:
		p.stall(r)
	default:
		r.end(receiveError(errno)) // recv(2) has taken the socket's error
	}
}

// rescueRoom is how many leases may be made of rescued bytes: what is left of the share,
// and of as much memory again as the pool has. A receiver that has none out may always
// have one, else all could wait for each other.
func (p *Pool) rescueRoom(s *share) uint64 {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	s.seen = s.returned
	left := uint64(max(0, m.numBuffers.Load()-int64(m.rescuedOut)))
	if left == 0 && s.taken == s.seen {
		left = 1
	}
	return min(left, max(1, s.room()))
}

// deliverRescued leases a copy of b to r's consumer, in pieces of at most a buffer.
func (p *Pool) deliverRescued(r consumer, b []byte) {
	var buffers []Buffer
	for piece := range slices.Chunk(b, int(p.memory.bufferSize)) {
		buffers = append(buffers, p.leaseRescued(slices.Clone(piece)))
	}
	p.count()
	r.take(buffers)
}

// leaseRescued leases bytes that lie in memory of their own, which the Buffer holds.
func (p *Pool) leaseRescued(b []byte) Buffer {
	p.memory.mu.Lock()
	p.memory.rescuedOut++
	p.memory.mu.Unlock()
	p.rescued.Add(1)
	p.rescuedBytes.Add(uint64(len(b)))
	return p.lease(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)), rescuedToken)
}

// stall puts r off: neither the kernel nor recv(2) can take what its socket holds.
// Growing the pool, if it may, ends that.
func (p *Pool) stall(r consumer) {
	if p.stalls.Add(1) == 1 {
		p.loop.report("receive", errStalled)
	}
	p.growth.allocFailed = true
	if !p.owner {
		p.memory.wantMore()
	}
	p.putOff(r)
}

// putOff has r tried again later, and later each time.
func (p *Pool) putOff(r consumer) {
	s := r.need()
	s.retry = time.Now().Add(min(shortestStall<<min(s.stalls, 10), longestStall))
	s.stalls++
	p.receivers.stall(r)
}

// relieve arms or rescues the receivers that wait for a buffer, as far as that is of
// use, and sees to it that the others are looked at in time. grown says that there are
// new buffers, coming that the kernel is about to get some back, pending that it has not
// taken all.
func (p *Pool) relieve(now supply, grown, coming, pending bool) {
	rl := &p.receivers
	if len(rl.waiting) == 0 && len(rl.stalled) == 0 {
		return
	}
	moment := time.Now()
	idle := !pending && !p.hasLeases()
	for _, r := range rl.takeWaiting() {
		switch {
		case p.flushErr != nil:
			r.end(p.flushErr)
		case grown:
			r.arm()
		case p.rescueDue(r, moment, idle):
			p.rescue(r)
		case coming || r.sawSupply() != now:
			r.arm()
		default:
			rl.await(r)
		}
	}
	for _, r := range rl.takeStalled() {
		switch {
		case grown || !r.need().retry.After(moment):
			r.arm()
		case r.need().noRoom && p.rescueRoom(r.allowance()) > 0:
			p.rescue(r)
		default:
			rl.stall(r)
		}
	}
	p.lookAgain(moment)
}

// lookAgain gives the loop a turn when the first of the receivers that wait is due.
func (p *Pool) lookAgain(now time.Time) {
	var first time.Time
	due := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if p.rescues {
		for _, r := range p.receivers.waiting {
			due(r.need().since.Add(rescueAfter))
		}
	}
	for _, r := range p.receivers.stalled {
		due(r.need().retry)
	}
	if first.IsZero() || p.nextLook.After(now) && !first.Before(p.nextLook) {
		return
	}
	p.nextLook = first
	time.AfterFunc(first.Sub(now), p.loop.wake)
}
