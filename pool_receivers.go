package zcrx

import (
	"slices"
	"sync/atomic"
	"syscall"
)

// consumer takes a pool's buffers: a Receiver, as the pool sees it. Every method runs on
// the loop's thread.
type consumer interface {
	resumer
	// arm puts a receive into the kernel, nudge ends the one in flight and arms another.
	arm()
	nudge()
	// end decides what follows the last buffer; finish gives the pool up.
	end(err error)
	finish()
	// sawSupply is the pool's supply when the receive was armed.
	sawSupply() supply
	// allowance is what it may hold of the pool, need what it lacks, slumber whether
	// its receive is looked at.
	allowance() *share
	need() *shortage
	slumber() *slumber
	// oversleeps tells whether a receive is in flight although bytes wait.
	oversleeps() bool
	// endOfStream is what follows the last byte.
	endOfStream() error
	// readNow reads what the socket holds, without waiting.
	readNow(b []byte) (int, syscall.Errno)
	// take hands over buffers that did not come with a completion.
	take(buffers []Buffer)
}

// receiverList is the receivers of a pool. All but the counters belongs to the
// loop's thread.
type receiverList struct {
	all     []consumer
	waiting []consumer // for a free buffer
	stalled []consumer // for the time when they are tried again: see Pool.stall
	sleeps  sleepWatch
	closing bool // no further receiver may come
	onEmpty func()

	rearmedNoBuffer, rearmedQueueFull, rearmedOther, paused atomic.Uint64
}

func (rl *receiverList) add(r consumer)   { rl.all = append(rl.all, r) }
func (rl *receiverList) await(r consumer) { rl.waiting = append(rl.waiting, r) }
func (rl *receiverList) hungry() int      { return len(rl.waiting) }

// lacksRoom tells whether one of those that were put off goes on with a return.
func (rl *receiverList) lacksRoom() bool {
	return slices.ContainsFunc(rl.stalled, func(r consumer) bool { return r.need().noRoom })
}

func (rl *receiverList) stall(r consumer) { rl.stalled = append(rl.stalled, r) }

func (rl *receiverList) forget(r consumer) {
	rl.waiting = without(rl.waiting, r)
	rl.stalled = without(rl.stalled, r)
}

// takeWaiting empties the list: who is armed and finds no buffer again comes back.
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
	rl.all = without(rl.all, r)
	rl.sleeps.forget(r)
	if len(rl.all) == 0 && rl.onEmpty != nil {
		rl.onEmpty()
		rl.onEmpty = nil
	}
}

// close ends every receiver, lets none in any more, and calls fn once the last
// has gone.
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

// failAll ends every receiver.
func (rl *receiverList) failAll(err error) {
	for i := len(rl.all) - 1; i >= 0; i-- { // an end may remove the last one
		rl.all[i].end(err)
	}
}

// abandon gives up what could not be ended, because the ring is going.
func (rl *receiverList) abandon() {
	for _, r := range slices.Clone(rl.all) { // finish removes it
		r.finish()
	}
}

// supply marks a moment in a pool's supply of buffers: the leases given back, and
// the refill entries that the kernel took. It takes entries for any member's
// flush, so either may have moved alone.
type supply struct {
	returns uint64
	taken   uint32
}

// feed arms the receivers that waited for a buffer if there can be one: the supply
// moved since their receive was armed. The others go on waiting.
func (rl *receiverList) feed(now supply) {
	for _, r := range rl.takeWaiting() {
		if r.sawSupply() != now {
			r.arm()
		} else {
			rl.await(r)
		}
	}
}

// nudge ends and arms again every receive in flight: a kernel may have put one to
// sleep although data is there.
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
}

// without removes r, which is in the list at most once.
func without(list []consumer, r consumer) []consumer {
	for i, other := range list {
		if other == r {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
