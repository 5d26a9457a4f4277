package zcrx

import (
	"fmt"
	"syscall"

	"github.com/zcrx-go/zcrx/nic"
)

// ProbeQueue tells, as far as that can be seen without touching it, whether a
// hardware receive queue can be used for zero copy. It returns
//
//   - nil if its driver can, header split is on, and nobody uses the queue;
//   - an error that matches ErrNotSupported if the driver cannot, header split is
//     off or limited, or XDP is attached: the *UnsupportedError has the remedy;
//   - a *KernelError if the queue is in use: by io_uring or a dma-buf
//     (syscall.EEXIST), by AF_XDP, or leased to a virtual device (syscall.EBUSY);
//   - an error that matches ErrInconclusive if only a registration could tell;
//   - another error if there is no such queue.
//
// Where a registration would be refused, its errno matches too. A nil is no
// promise: that header split is on may be the driver's own choice, and the kernel
// wants it set by somebody. ProbeQueue changes nothing and needs no privilege.
// Package nic has the facts behind it.
func ProbeQueue(iface string, queue int) error {
	cfg := PoolConfig{Interface: iface, Queue: queue}
	if _, err := cfg.resolveInterface(); err != nil {
		return err
	}
	f, err := nic.Read(iface, queue)
	if err != nil {
		return err
	}
	return queueError(f)
}

// queueError returns what ProbeQueue says to the facts.
func queueError(f *nic.Facts) error {
	feature := fmt.Sprintf("zero-copy receive on %q", f.Interface)
	if faults := f.Faults(); len(faults) > 0 {
		first := faults[0]
		if first.Unsupported {
			return &UnsupportedError{Feature: feature, Layer: LayerDevice, Remedy: first.Remedy, Err: first}
		}
		op := fmt.Sprintf("probe queue %d of %q", f.Queue, f.Interface)
		return &KernelError{Op: op, Errno: first.Errno, Meaning: first.What, Remedy: first.Remedy}
	}
	if doubts := f.Doubts(); len(doubts) > 0 {
		return fmt.Errorf("zcrx: %s: %s: %w", feature, doubts[0], ErrInconclusive)
	}
	return nil
}

// registerFault returns what is wrong with the device where a registration was
// refused with errno; false if nothing is that explains it. It asks the kernel only
// for errnos that can have several causes.
func registerFault(req ifqRequest, errno syscall.Errno) (nic.Fault, bool) {
	switch errno {
	case syscall.EINVAL, syscall.EEXIST, syscall.EBUSY, syscall.EOPNOTSUPP:
	default:
		return nic.Fault{}, false
	}
	if req.flags&regDeviceLess != 0 {
		return nic.Fault{}, false
	}
	f := nic.ReadIndex(int(req.ifindex), int(req.queue))
	if f.Interface == "" { // it has gone, or netlink is forbidden
		return nic.Fault{}, false
	}
	return f.Cause(errno)
}
