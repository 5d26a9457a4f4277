package zcrx

import "time"

// Registrations on a ring. As all of a Ring's methods they belong on its
// thread. A registration ends with the ring.

// RegisterRingFD makes the kernel remember the ring for this thread, which saves
// it a look-up with every call (Linux 5.18).
func (r *Ring) RegisterRingFD() error {
	if err := r.check("register ring fd"); err != nil {
		return err
	}
	return kernelError("register ring fd", cRingRegisterRingFD(r.h))
}

// RegisterNAPI makes waiting on the ring poll the network queues of its sockets
// for up to busyPoll, 0 to 71 minutes, in microseconds' steps (Linux 6.9).
func (r *Ring) RegisterNAPI(busyPoll time.Duration, prefer bool) error {
	const op, most = "register busy polling", 1<<32 - 1
	if err := r.check(op); err != nil {
		return err
	}
	us := busyPoll.Microseconds()
	if us < 0 || us > most {
		return rangeError("busy poll time in µs", us, 0, most)
	}
	return kernelError(op, cRingRegisterNAPI(r.h, uint32(us), prefer))
}

// UnregisterNAPI ends what RegisterNAPI began.
func (r *Ring) UnregisterNAPI() error {
	if err := r.check("unregister busy polling"); err != nil {
		return err
	}
	return kernelError("unregister busy polling", cRingUnregisterNAPI(r.h))
}
