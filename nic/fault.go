package nic

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// Fault is one reason why a queue cannot do zero copy. As an error it matches the
// errno with which the kernel refuses to register such a queue.
type Fault struct {
	What   string        // for instance "header split (tcp-data-split) is off"
	Remedy string        // what to do about it, often the command to run
	Errno  syscall.Errno // the errno of a registration

	// Unsupported is true if the device cannot do zero copy, or not as it is set up.
	// It is false if only this queue cannot, because it is busy or does not exist.
	Unsupported bool
}

// Error returns What.
func (f Fault) Error() string { return f.What }

// Unwrap returns the errno.
func (f Fault) Unwrap() error { return f.Errno }

// Faults returns everything that is wrong, in the order in which the kernel checks
// (__net_mp_open_rxq in net/core/netdev_rx_queue.c). A registration may fail even if
// there is none: Doubts returns what could not be read, and header split may be on
// by the driver's own choice, while the kernel requires a user's setting.
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
		// Its queues may be leased from a physical interface, whose header split is
		// then the one that matters. The kernel reports neither for this interface.
	case f.Virtual && f.LinkErr != nil:
		// Its kind is not known, hence neither whether it is leasing: a doubt.
	case f.Virtual:
		add(syscall.EOPNOTSUPP, "use the physical interface below it, "+drivers+", or a copying mode",
			"the interface is virtual: it has no queue management or no DMA device")
	case slices.Contains(copyingDrivers, f.Driver):
		add(syscall.EOPNOTSUPP, "use an interface "+drivers+", or a copying mode",
			"%s has no queue management", f.driverName())
	case replied(f.RingsErr, syscall.EOPNOTSUPP):
		// Header split is a ring parameter.
		add(syscall.EOPNOTSUPP, "use an interface "+drivers+", or a copying mode",
			"%s has no ring parameters, hence no header split", f.driverName())
	}
	if replied(f.QueueErr, syscall.EINVAL) {
		// NumReceiveQueues tells this too, but not of interfaces that /sys/class/net
		// does not show.
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
			// The kernel refuses header split while an XDP program without support
			// for fragments is attached (net/ethtool/rings.c).
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

// detachXDP returns the command that detaches the XDP program. A plain "xdp off" detaches
// from the driver, if that supports XDP, and leaves a generic program attached.
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

// Cause returns the fault for which a registration returned errno, and false if none of
// the facts explains it.
func (f *Facts) Cause(errno syscall.Errno) (Fault, bool) {
	for _, fault := range f.Faults() {
		if fault.Errno == errno {
			return fault, true
		}
	}
	if errno == syscall.EINVAL && f.DataSplit == SplitOn && f.SplitThreshold == 0 {
		// DataSplit is the driver's state, but the kernel checks the user's setting
		// (netdev_config.hds_config in include/net/netdev_queues.h).
		return Fault{
			Errno:  errno,
			What:   "header split is on, but perhaps by the driver's own choice, and it must be set; else an argument is bad or the kernel is too old",
			Remedy: "run ethtool -G " + f.Interface + " tcp-data-split on hds-thresh 0",
		}, true
	}
	return Fault{}, false
}
