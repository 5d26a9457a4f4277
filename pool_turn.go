package zcrx

import (
	"sync/atomic"

	"github.com/zcrx-go/zcrx/uring"
)

// source is a pool as its loop and its receivers see it. Every method runs on the loop's
// thread.
type source interface {
	turnSource
	// prepRecv prepares a receive of fd that takes at most so many bytes. It
	// returns the number of bytes after which the receive ends, 0 for no limit.
	prepRecv(s *uring.SQE, fd int, bytes uint64) (limit uint64)
	// supplied returns the current supply of buffers.
	supplied() supply
	// size returns the current number of buffers.
	size() int
	// window returns how many bytes the socket of a receiver may queue that may be
	// readAhead Buffers ahead of its consumer; 0 for no bound.
	window(readAhead int) int
	// take appends to dst the Buffers that a data completion fills, in the order of the
	// bytes. If it returns an error it has appended none.
	take(c *uring.CQE, dst []Buffer) ([]Buffer, error)
	// discard returns the buffer, if any, that a completion without data holds.
	discard(c *uring.CQE)
	// users returns the pool's receivers.
	users() *receiverList
	// accounts returns the pool's ledger.
	accounts() *ledger
}

func (p *Pool) discard(*uring.CQE) {} // only completions with data hold a buffer
func (p *Pool) supplied() supply {
	return supply{returns: p.seenReturns(), taken: atomic.LoadUint32(p.memory.refillQueue.khead)}
}
func (p *Pool) users() *receiverList { return &p.receivers }

func (p *Pool) failReceivers(err error)  { p.receivers.failAll(err) }
func (p *Pool) closeReceivers(fn func()) { p.receivers.close(fn) }
func (p *Pool) abandonReceivers()        { p.receivers.abandon() }
func (p *Pool) size() int                { return p.NumBuffers() }
func (p *Pool) accounts() *ledger        { return &p.ledger }

// window bounds what a socket queues, because in ZeroCopy mode that lies in the pool's
// buffers, also while its receiver is paused. The bound is as many buffers as the receiver
// may be ahead of its consumer, and at most a quarter of the pool. The kernel's own bound
// (net.ipv4.tcp_rmem) may be lower.
func (p *Pool) window(readAhead int) int {
	if p.mode != ZeroCopy {
		return 0 // what sockets queue lies in the kernel's memory
	}
	m := p.memory
	buffers := min(int64(readAhead), m.numBuffers.Load()/4)
	bytes := max(buffers*int64(m.bufferSize), minWindow)
	if bytes >= m.tcpWindow {
		return 0
	}
	return int(bytes)
}

// minWindow is the smallest receive window in bytes with which TCP works well.
const minWindow = 16 << 10

// maxReceive is the largest limit of one receive in bytes.
const maxReceive = 1 << 30

func (p *Pool) prepRecv(s *uring.SQE, fd int, bytes uint64) (limit uint64) {
	limit = min(bytes, maxReceive)
	s.PrepRecvZC(fd, uint32(p.id), uint32(limit))
	return limit
}

// detach ends this member's part of the pool. The kernel has no call to unregister a pool,
// and may still report events, which are ignored from now on.
func (p *Pool) detach(*zcrxRing) {
	if p.owner {
		p.loop.ops.mute(p.events)
	}
	p.memory.leave(p)
}

func (p *Pool) beforeTurn(l *Loop) {
	now := p.supplied()
	waiting := p.drain()
	p.growIfLow()
	if epoch := p.memory.exhaustions.Load(); epoch != p.exhaustionsSeen {
		p.exhaustionsSeen, p.nudgeOnSupply = epoch, true
	}
	p.moveUnread(l)
	p.resumePaused()
	p.warnOfCrowd()
	pending := p.memory.refillQueue.pending()
	needsBuffer := p.receivers.numWaiting() > 0 || p.nudgeOnSupply
	if pending > 0 && p.canFlush && (needsBuffer || waiting > 0 || (p.mode == DeviceLess && pending >= p.flushAt)) {
		l.requestFlush(p, newFlushRequest(p.id, p.memory.refillQueue.khead, p.memory.refillQueue.published()))
	}
	// Pending entries are flushed before the receives that are armed now run.
	grown, coming := p.grown.Swap(false), p.canFlush && pending > 0
	p.relieve(now, grown, coming, pending > 0)
	if supplied := grown || coming; (p.nudgeOnSupply && supplied) || p.nudgeNow {
		p.nudgeOnSupply, p.nudgeNow = p.nudgeOnSupply && !supplied, false
		p.receivers.nudge()
	}
	if !p.setStarving(p.nudgeOnSupply || p.receivers.numWaiting() > 0 || p.receivers.lacksRoom(), now.returns) {
		l.again = true
	}
}

// moveUnread has unread bytes moved to the heap if receivers are in need: see
// receiverList.relieve. Other members are asked to do the same.
func (p *Pool) moveUnread(l *Loop) {
	m := p.memory
	if len(p.receivers.all) == 0 || m.growable.Load() {
		return // there is nothing to move, or there are more buffers soon
	}
	s := m.strainOn(p, p.receivers.numWaiting() > 0 || p.nudgeOnSupply)
	s.othersWait = s.othersWait || p.nudgeOnSupply // perhaps all of them
	if p.receivers.relieve(l, &s) {
		m.askOthers(p)
	} else {
		m.calmed()
	}
}

// queueWasFull makes the next turn nudge the receives, one of which may be asleep: see
// sleepWatch.
func (p *Pool) queueWasFull() { p.nudgeNow = p.leavesAsleep }

// flushed is called with the result of a flush that beforeTurn asked for.
func (p *Pool) flushed(l *Loop, f *flushRequest) {
	calls, errno := flushResult(f)
	p.flushes.Add(uint64(calls))
	if err := flushError(p.id, errno); err != nil {
		p.flushErrors.Add(1)
		p.canFlush, p.flushErr = false, err
		p.memory.leaveFlushing(p)
		l.report("flush refill queue", err)
		return
	}
	// There is room now: offsets that still wait go in before the loop sleeps.
	if p.drain() > 0 {
		l.again = true
	}
}
