package zcrx

import (
	"sync/atomic"

	"github.com/zcrx-go/zcrx/uring"
)

// source is a pool as its loop and its receivers see it. Every method runs on
// the loop's thread.
type source interface {
	turnSource
	// prepRecv prepares a receive of fd that takes this pool's buffers: about
	// room of them. It returns the number of bytes that end the receive, 0 if
	// nothing does.
	prepRecv(s *uring.SQE, fd int, room uint64) (limit uint64)
	// supplied is the supply of buffers by now.
	supplied() supply
	// size is the number of buffers by now.
	size() int
	// window bounds what the socket of a receiver may queue that may be so many Buffers
	// ahead of its consumer: in bytes, 0 if there is no need to.
	window(readAhead int) int
	// take appends to dst the Buffers that a data completion fills, in the order of
	// the bytes. With an error it appends none.
	take(c *uring.CQE, dst []Buffer) ([]Buffer, error)
	// discard gives back what a completion without data holds.
	discard(c *uring.CQE)
	// users lists the receivers, and accounts for their use.
	users() *receiverList
	// accounts is the pool's ledger.
	accounts() *ledger
}

func (p *Pool) discard(*uring.CQE) {} // only data completions hold a buffer
func (p *Pool) supplied() supply {
	return supply{returns: p.seenReturns(), taken: atomic.LoadUint32(p.memory.refillQueue.khead)}
}
func (p *Pool) users() *receiverList { return &p.receivers }

func (p *Pool) failReceivers(err error)  { p.receivers.failAll(err) }
func (p *Pool) closeReceivers(fn func()) { p.receivers.close(fn) }
func (p *Pool) abandonReceivers()        { p.receivers.abandon() }
func (p *Pool) size() int                { return p.NumBuffers() }
func (p *Pool) accounts() *ledger        { return &p.ledger }

// window: what a socket queues lies in the pool's buffers, also while its receiver is
// paused. It may be as many as the receiver has ahead of its consumer, and a quarter of
// all. The kernel's own bound (net.ipv4.tcp_rmem) may be lower.
func (p *Pool) window(readAhead int) int {
	if p.mode != ZeroCopy {
		return 0 // it lies in the kernel's memory
	}
	m := p.memory
	buffers := min(int64(readAhead), m.numBuffers.Load()/4)
	bytes := max(buffers*int64(m.bufferSize), minWindow)
	if bytes >= m.tcpWindow {
		return 0
	}
	return int(bytes)
}

// minWindow is the least that TCP works well with.
const minWindow = 16 << 10

// maxReceive is the largest limit of a receive in bytes.
const maxReceive = 1 << 30

func (p *Pool) prepRecv(s *uring.SQE, fd int, room uint64) (limit uint64) {
	limit = min(room*p.memory.bufferSize, maxReceive)
	s.PrepRecvZC(fd, uint32(p.id), uint32(limit))
	return limit
}

// detach: the kernel has no call to unregister, and may still tell of events.
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
	p.resumePaused()
	p.warnOfCrowd()
	pending := p.memory.refillQueue.pending()
	if epoch := p.memory.dryEpoch.Load(); epoch != p.dryEpoch {
		p.dryEpoch, p.dry = epoch, true
	}
	hungry := p.receivers.hungry() > 0 || p.dry
	if pending > 0 && p.canFlush && (hungry || waiting > 0 || (p.mode == DeviceLess && pending >= p.flushAt)) {
		l.requestFlush(p, newFlushRequest(p.id, p.memory.refillQueue.khead, p.memory.refillQueue.published()))
	}
	// What is pending is flushed before receives that are armed now run.
	grown, coming := p.grown.Swap(false), p.canFlush && pending > 0
	p.relieve(now, grown, coming, pending > 0)
	if supplied := grown || coming; (p.dry && supplied) || p.stuck {
		p.dry, p.stuck = p.dry && !supplied, false
		p.receivers.nudge()
	}
	if !p.setStarving(p.dry || p.receivers.hungry() > 0 || p.receivers.lacksRoom(), now.returns) {
		l.again = true
	}
}

// queueWasFull: a receive may have fallen asleep, see sleepWatch.
func (p *Pool) queueWasFull() { p.stuck = p.stopsAsleep }

// flushed takes the result of a flush that beforeTurn asked for.
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
	// Room was made: what still waits goes in before the loop sleeps.
	if p.drain() > 0 {
		l.again = true
	}
}
