package nic

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// Fault is one thing that keeps a queue from zero copy. As an error it matches the
// errno that the kernel returns for it when the queue is registered.
type Fault struct {
	What   string        // for instance "header split (tcp-data-split) is off"
	Remedy string        // what to do about it, often the command to run
	Errno  syscall.Errno // what a registration returns for it

	// Unsupported: the device cannot do it, or not as it is set up. Otherwise it is
	// about this queue, which is busy or does not exist, and another may do.
	Unsupported bool
}

// Error returns What.
func (f Fault) Error() string { return f.What }

// Unwrap returns the errno.
func (f Fault) Unwrap() error { return f.Errno }

// Faults returns everything that is wrong, in the order in which the kernel looks
// (net/core netdev_rx_queue.c, __net_mp_open_rxq). None is no promise: Doubts tells
// what could not be seen, and that header split is on may be the driver's own choice,
// while the kernel wants it set by somebody.
func (f *Facts) Faults() []Fault {
	var found []Fault
	add := func(errno syscall.Errno, remedy, what string, args ...any) {
		found = append(found, Fault{Errno: errno, What: fmt.Sprintf(what, args...), Remedy: remedy, Unsupported: true})
	}
	busy := func(errno syscall.Errno, remedy, by string, args ...any) {
		found = append(found, Fault{Errno: errno, What: "the queue is " + fmt.Sprintf(by, args...), Remedy: remedy})
	}
	drivers := "whose driver is " + strings.Join(zeroCopyDrivers, ", ")
	switch {
	case f.leasing():
		// Its queues may be leased from a physical interface, whose header split
		// then counts. Neither is told on this side.
	case f.Virtual:
		add(syscall.EOPNOTSUPP, "use the physical interface below it, "+drivers+", or a copying mode",
			"the interface is virtual: it has no queue management or no DMA device")
	case slices.Contains(copyingDrivers, f.Driver):
		add(syscall.EOPNOTSUPP, "use an interface "+drivers+", or a copying mode",
			"%s has no queue management", f.driverName())
	case errors.Is(f.RingsErr, syscall.EOPNOTSUPP):
		// Header split is switched with ring parameters.
		add(syscall.EOPNOTSUPP, "use an interface "+drivers+", or a copying mode",
			"%s has no ring parameters, hence no header split", f.driverName())
	}
	if errors.Is(f.QueueErr, syscall.EINVAL) {
		// Known already, but for interfaces that /sys/class/net does not show.
		found = append(found, Fault{
			Errno: syscall.ERANGE, What: "there is no such receive queue",
			Remedy: "choose an existing one: ethtool -l " + f.Interface + " counts them",
		})
	}
	if lease := f.Lease; lease != nil {
		to := fmt.Sprintf("interface index %d", lease.Ifindex)
		if lease.OtherNetNS {
			to += " of another network namespace"
		}
		busy(syscall.EBUSY, "register on the virtual interface, delete it, or choose another queue",
			"leased to a virtual interface (queue %d of %s)", lease.Queue, to)
	}
	if f.RingsErr == nil && !f.leasing() {
		ethtool := "run ethtool -G " + f.Interface + " "
		if f.XDP != XDPNone {
			// XDP without fragments keeps the kernel from splitting (net/ethtool
			// rings.c), hence it goes first.
			ethtool = fmt.Sprintf("run %s, then ethtool -G %s ", f.detachXDP(), f.Interface)
		}
		switch {
		case f.DataSplit == SplitOff:
			add(syscall.EINVAL, ethtool+"tcp-data-split on hds-thresh 0", "header split (tcp-data-split) is off")
		case f.DataSplit != SplitOn:
			add(syscall.EINVAL, ethtool+"tcp-data-split on hds-thresh 0", "header split (tcp-data-split) was never set, or the driver has none")
		case f.SplitThreshold != 0:
			add(syscall.EINVAL, ethtool+"hds-thresh 0", "the header split threshold (hds-thresh) is %d: it must be 0", f.SplitThreshold)
		}
	}
	if f.XDP != XDPNone {
		add(syscall.EEXIST, "run "+f.detachXDP()+", or end the program that attached it", "an XDP program is attached")
	}
	if f.IOUring {
		busy(syscall.EEXIST, "end the program that holds it and wait some seconds, or choose another queue",
			"taken by another io_uring zero-copy pool")
	}
	if f.DMABuf {
		busy(syscall.EEXIST, "end the program that bound it, or choose another queue",
			"bound to device memory (dma-buf binding %d)", f.DMABufBinding)
	}
	if f.AFXDP {
		busy(syscall.EBUSY, "close its AF_XDP sockets, or choose another queue", "used by AF_XDP")
	}
	return found
}

// detachXDP returns the command that detaches XDP from where it is: a plain "xdp off"
// looks into the driver, where that can do XDP, and passes over a generic program.
func (f *Facts) detachXDP() string {
	where := "xdp"
	switch f.XDP {
	case XDPGeneric:
		where = "xdpgeneric"
	case XDPOffloaded:
		where = "xdpoffload"
	case XDPNone, XDPDriver, XDPSeveral:
	}
	return fmt.Sprintf("ip link set dev %s %s off", f.Interface, where)
}

// Cause returns the fault for which a registration returned errno; false if nothing
// that could be seen explains it.
func (f *Facts) Cause(errno syscall.Errno) (Fault, bool) {
	for _, fault := range f.Faults() {
		if fault.Errno == errno {
			return fault, true
		}
	}
	if errno == syscall.EINVAL && f.DataSplit == SplitOn && f.SplitThreshold == 0 {
		// What was read is the driver's state; the kernel wants a user's setting
		// (include/net/netdev_queues.h, netdev_config.hds_config).
		return Fault{
			Errno:  errno,
			What:   "header split is on, but perhaps by the driver's own choice, and it must be set; else an argument is bad or the kernel is too old",
			Remedy: "run ethtool -G " + f.Interface + " tcp-data-split on hds-thresh 0",
		}, true
	}
	return Fault{}, false
}
