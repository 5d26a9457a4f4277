package zcrx

import (
	"syscall"
	"time"
)

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

// registerBufRing registers entries (a power of two, at most 32768) of struct
// io_uring_buf at addr as the provided-buffer ring of group bgid (Linux 5.19).
func (r *Ring) registerBufRing(addr uintptr, entries uint32, bgid, flags uint16) error {
	const op = "register provided-buffer ring"
	if err := r.check(op); err != nil {
		return err
	}
	feature := FeatureProvidedBuffers
	switch errno := callRegisterBufRing(r.h, addr, entries, bgid, flags); errno {
	case syscall.EINVAL:
		return &UnsupportedError{
			Feature: feature.String(), Layer: LayerKernel, MinKernel: feature.MinKernel(),
			Remedy: "use a newer kernel", Err: &KernelError{Op: op, Errno: errno},
		}
	case syscall.ENOMEM: // charged in Linux 6.16 to 7.1
		need := wholePages(uint64(entries) * uint64(providedEntrySize))
		return pinError(feature.String(), need, "buffers", &KernelError{Op: op, Errno: errno})
	default:
		return kernelError(op, errno)
	}
}

func (r *Ring) unregisterBufRing(bgid uint16) error {
	const op = "unregister provided-buffer ring"
	if err := r.check(op); err != nil {
		return err
	}
	return kernelError(op, cRingUnregisterBufRing(r.h, bgid))
}
