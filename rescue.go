package zcrx

import (
	"errors"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// The pool of a hardware queue cannot always take what a socket holds. A packet lies in
// ordinary memory if the device did not split it, or if it came through another queue or
// from this machine. The kernel copies such a packet into a buffer of the area's free list.
// Some buffers never return to that list: those that are posted to the device, kept by its
// page pool, or queued in the socket behind that packet. So neither a return nor a flush
// need help (Linux 6.15 to 7.3, io_uring/zcrx.c, io_alloc_fallback_niov). The kernel never
// copies into a dma-buf. The receive ends with ENOMEM (EFAULT for a dma-buf before Linux
// 7.0), and would do so each time.
//
// What the kernel cannot copy, recv(2) can: it returns the bytes of readable packets and
// stops at packets that lie in the area, so the order of bytes is kept. These bytes are
// copied to the Go heap and leased from there.

const (
	// rescueAfter is how long a receiver waits for a buffer, if there is nothing to flush,
	// before its socket is read.
	rescueAfter = time.Millisecond

	// rescueChunk is how many bytes are read at a time.
	rescueChunk = 64 << 10

	// A packet that is readable only in part can neither be copied nor read. The receiver
	// is tried again after shortestStall, then after twice that and so on up to
	// longestStall.
	shortestStall = 10 * time.Millisecond
	longestStall  = time.Second
)

// errStalled is logged once for a pool; PoolStats.Stalls counts further cases.
var errStalled = errors.New("a packet can be neither copied by the kernel, which has no free buffer, nor read: " +
	"it is tried again; let the pool grow (PoolConfig.MaxBuffers) or give it more buffers than the device's ring posts")

// shortage is what a receiver remembers of receives that ended for want of a buffer. It
// belongs to the loop's thread.
type shortage struct {
	ends    int       // receives in a row that ended so
	since   time.Time // when the last of them ended
	refused bool      // it ended with EFAULT: if recv(2) fails with EFAULT too, the data cannot be received
	stalls  int       // retries in a row that were delayed
	noRoom  bool      // the last of them because rescueRoom was 0
	retry   time.Time // time of the next try
}

// rescueDue reports whether r, which waits for a buffer, should be rescued: its receive
// ended again after a flush or a return, no buffer is going to be returned (idle), or it
// has waited for rescueAfter.
func (p *Pool) rescueDue(r consumer, now time.Time, idle bool) bool {
	return p.rescues && (idle || r.need().ends > 1 || now.Sub(r.need().since) >= rescueAfter)
}

// rescue reads from r's socket, leases the bytes to r, and arms the receive again. It runs
// on the loop's thread while no receive of r is in flight.
func (p *Pool) rescue(r consumer) {
	room := p.rescueRoom(r.allowance())
	r.need().noRoom = room == 0
	if room == 0 {
		p.retryLater(r) // the next return continues with it
		return
	}
	if p.rescueMemory == nil {
		p.rescueMemory = make([]byte, rescueChunk)
	}
	n, errno := r.readNow(p.rescueMemory[:min(room*p.memory.bufferSize, rescueChunk)])
	switch {
	case n > 0:
		p.deliverRescued(r, p.rescueMemory[:n])
		// The next receive that finds no buffer is rescued at once, because waiting did not
		// help this time. Data that arrives through a receive resets this.
		*r.need() = shortage{ends: 1}
		r.arm()
	case errno == 0:
		r.end(r.endOfStream())
	case errno == syscall.EFAULT && r.need().refused:
		r.end(receiveError(errno))
	case errno == syscall.EFAULT || errno == syscall.EAGAIN || errno == syscall.ENOMEM || errno == syscall.ENOBUFS:
		p.stall(r)
	default:
		r.end(receiveError(errno)) // recv(2) has consumed the socket's error
	}
}

// rescueRoom returns how many leases may be made of rescued bytes: what is left of the
// share, at least 1, but no more than make the pool's rescued leases as many as its
// buffers. A receiver with no lease out may always have one; otherwise all receivers could
// wait for each other.
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

// deliverRescued leases a copy of b to r's consumer, in pieces of at most a buffer's size.
func (p *Pool) deliverRescued(r consumer, b []byte) {
	var buffers []Buffer
	for piece := range slices.Chunk(b, int(p.memory.bufferSize)) {
		buffers = append(buffers, p.leaseRescued(slices.Clone(piece)))
	}
	p.count()
	r.take(buffers)
}

// leaseRescued leases b, which lies outside the area. The Buffer keeps b alive.
func (p *Pool) leaseRescued(b []byte) Buffer {
	p.memory.mu.Lock()
	p.memory.rescuedOut++
	p.memory.mu.Unlock()
	p.rescued.Add(1)
	p.rescuedBytes.Add(uint64(len(b)))
	return p.lease(unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b)), rescuedToken)
}

// stall delays r, because neither the kernel nor recv(2) can take what its socket holds. It
// makes the pool grow, if it may, which ends the stall.
func (p *Pool) stall(r consumer) {
	if p.stalls.Add(1) == 1 {
		p.loop.report("receive", errStalled)
	}
	p.growth.allocFailed = true
	if !p.owner {
		p.memory.wantMore()
	}
	p.retryLater(r)
}

// retryLater tries r again after a time that doubles with each retry.
func (p *Pool) retryLater(r consumer) {
	s := r.need()
	s.retry = time.Now().Add(min(shortestStall<<min(s.stalls, 10), longestStall))
	s.stalls++
	p.receivers.addStalled(r)
}

// relieve arms or rescues the receivers that wait for a buffer where that can help, and
// sets a timer for the others. grown says that buffers were added, coming that the kernel
// is about to get some back, pending that the kernel has not taken all entries of the
// refill queue.
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
			rl.addWaiting(r)
		}
	}
	for _, r := range rl.takeStalled() {
		switch {
		case grown || !r.need().retry.After(moment):
			r.arm()
		case r.need().noRoom && p.rescueRoom(r.allowance()) > 0:
			p.rescue(r)
		default:
			rl.addStalled(r)
		}
	}
	p.lookAgain(moment)
}

// lookAgain makes the loop run a turn when the first of the waiting receivers is due.
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
