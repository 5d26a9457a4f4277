package zcrx

import "time"

// Before Linux 7.2.10 a receive that has delivered data, and then finds no buffer to copy
// into or no room in the completion queue, sleeps instead of ending with an error. It wakes
// with the connection's next packet, and never if there is none. In DeviceLess mode, where
// everything is copied, the pool counts when that may have happened
// (poolMemory.countLease); the loop sees a full completion queue (queueWasFull). In
// ZeroCopy mode nothing shows what the kernel has to copy. There, receivers that got data
// are checked some time later: if bytes wait in the socket and the receive has brought
// none, it is nudged, and then ends with the error that it should have ended with.

// sleepCheck is how often the receivers that got data are checked.
const sleepCheck = 50 * time.Millisecond

// slumber is what sleepWatch keeps of a receiver. It belongs to the loop's thread.
type slumber struct {
	watched bool // sleepWatch.watched contains the receiver
	gotData bool // since the last check
}

// sleepWatch checks receivers whose receive may be asleep. It belongs to the loop's thread.
type sleepWatch struct {
	on           bool // this kernel may leave receives asleep
	watched      []consumer
	timerRunning bool // the timer of the next check runs
}

// add makes sure that r, which got data, is checked.
func (w *sleepWatch) add(r consumer, l *Loop) {
	if !w.on {
		return
	}
	s := r.slumber()
	s.gotData = true
	if !s.watched {
		s.watched = true
		w.watched = append(w.watched, r)
	}
	w.start(l)
}

func (w *sleepWatch) start(l *Loop) {
	if w.timerRunning || len(w.watched) == 0 {
		return
	}
	w.timerRunning = true
	time.AfterFunc(sleepCheck, func() {
		_ = l.Post(func() { w.check(l) }) // a closing loop ends its receives
	})
}

// check nudges every receiver that sleeps although bytes wait, and removes those that have
// nothing to receive.
func (w *sleepWatch) check(l *Loop) {
	w.timerRunning = false
	watched := w.watched
	w.watched = nil
	for _, r := range watched {
		s := r.slumber()
		idle := !s.gotData
		s.gotData = false
		if idle && !r.oversleeps() {
			s.watched = false
			continue
		}
		w.watched = append(w.watched, r)
		if idle {
			r.nudge()
		}
	}
	w.start(l)
}

// forget removes a receiver that leaves the pool.
func (w *sleepWatch) forget(r consumer) {
	if s := r.slumber(); s.watched {
		s.watched = false
		w.watched = without(w.watched, r)
	}
}
