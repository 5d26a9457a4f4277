package zcrx

import (
	"slices"
	"sync/atomic"
	"syscall"
	"time"
)

// consumer is a Receiver as the pool sees it. Every method runs on the loop's thread.
type consumer interface {
	resumer
	// arm starts a receive. nudge cancels the receive in flight so that it is armed again.
	arm()
	nudge()
	// end ends the receiver with err after its last buffer. finish releases the pool.
	end(err error)
	finish()
	// place is the receiver's index in receiverList.all.
	place() *int
	// sawSupply returns the pool's supply when the receive was armed.
	sawSupply() supply
	// allowance returns the receiver's share of the pool, need its lack of buffers, slumber
	// the state that sleepWatch keeps of it.
	allowance() *share
	need() *shortage
	slumber() *slumber
	// oversleeps reports whether bytes wait in the socket although a receive is in flight.
	oversleeps() bool
	// endOfStream is what follows the last byte.
	endOfStream() error
	// readNow reads from the socket without waiting.
	readNow(b []byte) (int, syscall.Errno)
	// unreadLeases returns how many leases of the pool wait to be read, and whether nothing was
	// read for so long that they may be moved. moveUnread moves their bytes out of the pool,
	// and returns how many leases that were.
	unreadLeases(now time.Time) (leases int, idle bool)
	moveUnread() (freed int)
	// take hands over buffers that did not come with a completion.
	take(buffers []Buffer)
}

// receiverList is the receivers of a pool. All but the counters belong to the loop's
// thread.
type receiverList struct {
	all     []consumer
	waiting []consumer // those that wait for a free buffer
	stalled []consumer // those that are tried again later: see Pool.retryLater
	sleeps  sleepWatch
	unread  unreadWatch
	closing bool // no further receiver is accepted
	onEmpty func()

	spareBatches [][]Buffer // see keepBatch
	spareRoom    int        // of all of them together, in Buffers

	rearmedNoBuffer, rearmedQueueFull, rearmedOther, paused, unreadBytes atomic.Uint64
}

const (
	// keptBuffers is the room of the largest batch that a receiver keeps for itself, in
	// Buffers: peers could make each have room for its whole share.
	keptBuffers = 64
	// mostSpareRoom is the room of the batches that the receivers of a pool keep together.
	mostSpareRoom = 1 << 14
)

// keepBatch keeps an empty batch for the next receiver that needs a large one.
func (rl *receiverList) keepBatch(batch []Buffer) {
	if rl.spareRoom+cap(batch) <= mostSpareRoom {
		rl.spareRoom += cap(batch)
		rl.spareBatches = append(rl.spareBatches, batch)
	}
}

// batchWithRoom returns a receiver's batch with room for n more Buffers, unless that is so
// small that append may make it.
func (rl *receiverList) batchWithRoom(batch []Buffer, n int) []Buffer {
	last := len(rl.spareBatches) - 1
	if last < 0 || cap(batch)-len(batch) >= n || cap(batch) > 0 && len(batch)+n <= keptBuffers {
		return batch
	}
	larger := rl.spareBatches[last]
	rl.spareRoom -= cap(larger)
	rl.spareBatches[last] = nil
	rl.spareBatches = rl.spareBatches[:last]
	return append(larger, batch...)
}

func (rl *receiverList) add(r consumer) {
	*r.place() = len(rl.all)
	rl.all = append(rl.all, r)
}

func (rl *receiverList) addWaiting(r consumer) { rl.waiting = append(rl.waiting, r) }
func (rl *receiverList) numWaiting() int       { return len(rl.waiting) }

// lacksRoom reports whether a stalled receiver can continue as soon as a lease is returned.
func (rl *receiverList) lacksRoom() bool {
	return slices.ContainsFunc(rl.stalled, func(r consumer) bool { return r.need().noRoom })
}

func (rl *receiverList) addStalled(r consumer) { rl.stalled = append(rl.stalled, r) }

func (rl *receiverList) forget(r consumer) {
	rl.waiting = without(rl.waiting, r)
	rl.stalled = without(rl.stalled, r)
}

// takeWaiting empties the list and returns it. A receiver that is armed and finds no buffer
// again adds itself.
func (rl *receiverList) takeWaiting() []consumer {
	taken := rl.waiting
	rl.waiting = nil
	return taken
}

func (rl *receiverList) takeStalled() []consumer {
	taken := rl.stalled
	rl.stalled = nil
	return taken
}

func (rl *receiverList) remove(r consumer) {
	at, last := *r.place(), rl.all[len(rl.all)-1]
	rl.all[at], *last.place() = last, at
	rl.all[len(rl.all)-1] = nil
	rl.all = rl.all[:len(rl.all)-1]
	rl.sleeps.forget(r)
	if len(rl.all) == 0 && rl.onEmpty != nil {
		rl.onEmpty()
		rl.onEmpty = nil
	}
}

// close ends every receiver, accepts no further one, and calls fn once the last has
// finished.
func (rl *receiverList) close(fn func()) {
	if rl.closing {
		return
	}
	rl.closing = true
	rl.failAll(ErrClosed)
	if len(rl.all) == 0 {
		fn()
		return
	}
	rl.onEmpty = fn
}

// failAll ends every receiver with err.
func (rl *receiverList) failAll(err error) {
	for i := len(rl.all) - 1; i >= 0; i-- { // end may remove the last one
		rl.all[i].end(err)
	}
}

// abandon finishes receivers whose requests could not be ended, because the ring is being
// closed.
func (rl *receiverList) abandon() {
	for _, r := range slices.Clone(rl.all) { // finish removes it
		r.finish()
	}
}

// supply is a point in a pool's supply of buffers: the leases returned so far, and the
// refill entries that the kernel took so far. The kernel takes entries when any member
// flushes, so the second can change without the first.
type supply struct {
	returns uint64
	taken   uint32
}

// feed arms the receivers that wait for a buffer if there can be one, because the supply
// has changed since their receive was armed. The others continue to wait.
func (rl *receiverList) feed(now supply) {
	for _, r := range rl.takeWaiting() {
		if r.sawSupply() != now {
			r.arm()
		} else {
			rl.addWaiting(r)
		}
	}
}

// nudge cancels and arms again every receive in flight, because the kernel may have left
// one asleep although data is there.
func (rl *receiverList) nudge() {
	for _, r := range rl.all {
		r.nudge()
	}
}

func (rl *receiverList) addTo(s *PoolStats) {
	s.RearmedNoBuffer = rl.rearmedNoBuffer.Load()
	s.RearmedQueueFull = rl.rearmedQueueFull.Load()
	s.RearmedOther = rl.rearmedOther.Load()
	s.Paused = rl.paused.Load()
	s.UnreadBytes = rl.unreadBytes.Load()
}

// without returns list without r, which is in the list at most once.
func without(list []consumer, r consumer) []consumer {
	for i, other := range list {
		if other == r {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
