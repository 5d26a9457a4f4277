package nic

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// Facts is what the kernel reports of an interface and one of its receive queues. It
// has three groups of fields, each with its own error. If a group could not be read,
// its error is set and the rest of it is zero, except for what Read takes from /sys. An
// error that is an *os.SyscallError tells of the request, which a sandbox may refuse, and
// nothing of the device; the others are the kernel's replies.
type Facts struct {
	Interface string  // the interface's name
	Kind      string  // kind of a virtual interface, for instance "netkit"
	Driver    string  // driver of the interface's device; empty: unknown, or no device
	Virtual   bool    // the interface has no device; if LinkErr is set, its Kind is unknown
	Down      bool    // the interface is not up
	XDP       XDPMode // where an XDP program is attached
	LinkErr   error   // why the fields above could not be read

	DataSplit      DataSplit // header split (ethtool's tcp-data-split)
	SplitThreshold uint32    // packets of up to this many bytes are not split (hds-thresh)
	RingEntries    int       // size of a receive ring, the least number of buffers that it holds; 0: unknown
	RingsErr       error     // why the fields above could not be read; EOPNOTSUPP: the driver has no ring parameters

	Queue         int    // the queue's number, as given to Read
	NAPIID        uint32 // the NAPI instance that serves the queue; 0: none, or not reported (before Linux 6.8)
	IOUring       bool   // a zero-copy pool of io_uring uses the queue
	AFXDP         bool   // an AF_XDP socket uses the queue
	DMABuf        bool   // device memory is bound to the queue
	DMABufBinding uint32 // number of that binding
	Lease         *Lease // the virtual interface that the queue is leased to; nil: none
	QueueErr      error  // why the fields above could not be read; EINVAL: there is no such queue
}

// Lease is the queue of a virtual interface that a hardware queue is leased to
// (Linux 7.1).
type Lease struct {
	Ifindex    uint32 // the virtual interface
	Queue      uint32
	OtherNetNS bool // Ifindex is of another network namespace
}

// DataSplit is a device's header split, with the kernel's numbers
// (ETHTOOL_TCP_DATA_SPLIT_*).
type DataSplit uint8

// The states of header split.
const (
	SplitUnknown DataSplit = iota // it was never set, or the driver does not have it
	SplitOff
	SplitOn
)

// XDPMode is where XDP programs are attached to an interface, with the kernel's
// numbers (XDP_ATTACHED_*).
type XDPMode uint8

// The places of an XDP program.
const (
	XDPNone      XDPMode = iota // no program is attached
	XDPDriver                   // in the driver
	XDPGeneric                  // in the kernel's network stack
	XDPOffloaded                // on the device
	XDPSeveral                  // in several of these
)

// Read returns the facts of an interface of the calling thread's network namespace
// and one of its receive queues. It changes nothing and needs no privilege. If there is
// no such interface, it returns an error that matches syscall.ENODEV. Other errors are
// in the Facts: where netlink is refused, or off Linux, it is in all three groups.
func Read(iface string, queue int) (*Facts, error) {
	index, err := interfaceIndex(iface)
	if errors.Is(err, syscall.ENODEV) {
		return nil, fmt.Errorf("zcrx: interface %q: no such interface in this network namespace: %w", iface, err)
	}
	f := &Facts{Queue: queue, LinkErr: err, RingsErr: err, QueueErr: err}
	if err == nil {
		f = ReadIndex(index, queue)
	}
	if f.LinkErr != nil {
		// A sandbox may forbid netlink and still show /sys.
		f.Interface = iface
		f.Driver, f.Virtual = interfaceDevice(iface)
	}
	return f, nil
}

// ReadIndex returns the facts of the interface with that index. If there is no such
// interface, LinkErr matches syscall.ENODEV.
func ReadIndex(ifindex, queue int) *Facts {
	f := &Facts{Queue: queue}
	f.read(uint32(ifindex))
	return f
}

// NumReceiveQueues returns the number of receive queues of an interface, 0 if it is
// not known.
func NumReceiveQueues(iface string) int { return numReceiveQueues(iface) }

// leasing reports whether queues of a physical interface may be leased to this
// interface (netkit, Linux 7.1).
func (f *Facts) leasing() bool { return f.Virtual && f.Kind == "netkit" }

// replied reports whether err is the kernel's reply errno to a request. A request that
// could not be made may fail with the same errno, which then tells nothing of the device.
func replied(err error, errno syscall.Errno) bool {
	_, unmade := errors.AsType[*os.SyscallError](err)
	return errors.Is(err, errno) && !unmade
}
