package zcrx

import "sync/atomic"

// receiverList is the receivers of a pool. All but the counters belongs to the
// loop's thread.
type receiverList struct {
	all     []*Receiver
	waiting []*Receiver // for a free buffer
	closing bool        // no further receiver may come
	onEmpty func()

	rearmedNoBuffer, rearmedQueueFull, rearmedOther, paused atomic.Uint64
}

func (rl *receiverList) add(r *Receiver)   { rl.all = append(rl.all, r) }
func (rl *receiverList) await(r *Receiver) { rl.waiting = append(rl.waiting, r) }
func (rl *receiverList) hungry() int       { return len(rl.waiting) }

func (rl *receiverList) forget(r *Receiver) { rl.waiting = without(rl.waiting, r) }

func (rl *receiverList) remove(r *Receiver) {
	rl.all = without(rl.all, r)
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
	for len(rl.all) > 0 {
		rl.all[0].finish()
	}
}

// supply marks a moment in a pool's supply of buffers: the leases given back, and
// the refill entries that the kernel took. It takes entries for any member's
// flush, so either may have moved alone.
type supply struct {
	returns uint64
	taken   uint32
}

// feed arms the receivers that waited for a buffer, if there can be one: coming
// says that the kernel is about to get some, and if the supply moved since a
// receive was armed there may be some in the kernel already. Others go on waiting.
// If err is set the kernel will get no buffers any more, and they end.
func (rl *receiverList) feed(now supply, coming bool, err error) {
	waiting := rl.waiting
	rl.waiting = nil
	for _, r := range waiting {
		switch {
		case err != nil:
			r.end(err)
		case coming || r.supplySeen != now:
			r.arm()
		default:
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
func without(list []*Receiver, r *Receiver) []*Receiver {
	for i, other := range list {
		if other == r {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
