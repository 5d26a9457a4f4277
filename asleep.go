package zcrx

import "time"

// Before Linux 7.2.10 a receive that has to stop behind data sleeps instead of ending
// with an error: for want of a buffer to copy into, or of room in the completion queue.
// It goes on with the connection's next packet, and if that was the last one, never. In
// DeviceLess mode, where everything is copied, the pool's own accounts tell when that may
// be (poolMemory.noteLease); a full completion queue is seen by the loop (queueWasFull). In ZeroCopy
// mode nothing tells what the kernel has to copy. There, receivers that got something are
// looked at some time after: if bytes wait in the socket and the receive brought none, it
// is nudged, and ends with the error that it should have ended with.

// sleepCheck is how often the receivers that got something are looked at.
const sleepCheck = 50 * time.Millisecond

// slumber is what the watch notes of a receiver. It belongs to the loop's thread.
type slumber struct {
	watched bool // the pool's sleepWatch has it
	gotData bool // since that looked
}

// sleepWatch is the receivers to be looked at. It belongs to the loop's thread.
type sleepWatch struct {
	on      bool // receives may sleep
	watched []consumer
	running bool // the timer of the next look
}

// note has r looked at, which has got something.
func (w *sleepWatch) note(r consumer, l *Loop) {
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
	if w.running || len(w.watched) == 0 {
		return
	}
	w.running = true
	time.AfterFunc(sleepCheck, func() {
		_ = l.Post(func() { w.look(l) }) // a closing loop has no receives
	})
}

// look wakes every receiver that sleeps although there is something, and forgets those
// that have nothing to receive.
func (w *sleepWatch) look(l *Loop) {
	w.running = false
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

// forget is for a receiver that leaves the pool.
func (w *sleepWatch) forget(r consumer) {
	if s := r.slumber(); s.watched {
		s.watched = false
		w.watched = without(w.watched, r)
	}
}
