package nic

import (
	"fmt"
	"net"
)

// Facts is what the kernel tells of an interface and one of its receive queues. It
// is asked in three parts, each with an error of its own: what could not be read
// is zero.
type Facts struct {
	Interface string  // the interface's name
	Kind      string  // of a virtual interface, for instance "netkit"
	Driver    string  // of its device; empty: unknown, or none
	Virtual   bool    // it has no device
	Down      bool    // it is not up
	XDP       XDPMode // where an XDP program is attached
	LinkErr   error   // why the fields above could not be read

	DataSplit      DataSplit // header split (ethtool's tcp-data-split)
	SplitThreshold uint32    // packets up to so many bytes are not split (hds-thresh)
	RingEntries    int       // of a receive ring, at least so many buffers are posted; 0: unknown
	RingsErr       error     // why the fields above could not be read; EOPNOTSUPP: the driver has no ring parameters

	Queue         int    // the queue's number, as given to Read
	NAPIID        uint32 // the NAPI instance that serves the queue, 0 if the kernel does not tell (before Linux 6.8)
	IOUring       bool   // a zero-copy pool of io_uring has it
	AFXDP         bool   // an AF_XDP socket has it
	DMABuf        bool   // device memory is bound to it
	DMABufBinding uint32 // number of that binding
	Lease         *Lease // the virtual interface that it is leased to; nil: none
	QueueErr      error  // why the fields above could not be read; EINVAL: there is no such queue
}

// Lease is the queue of a virtual interface that a hardware queue is leased to
// (Linux 7.1).
type Lease struct {
	Ifindex    uint32 // the virtual interface
	Queue      uint32
	OtherNetNS bool // Ifindex counts in another network namespace
}

// DataSplit is a device's header split, with the kernel's numbers
// (ETHTOOL_TCP_DATA_SPLIT_*).
type DataSplit uint8

// The states of header split.
const (
	SplitUnknown DataSplit = iota // never set, or the driver has none
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

// Read asks the kernel about an interface of the calling thread's network namespace
// and one of its receive queues. It changes nothing and needs no privilege. It
// returns an error only if there is no such interface; what else could not be read
// is in the errors among the Facts.
func Read(iface string, queue int) (*Facts, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("zcrx: interface %q: %w", iface, err)
	}
	f := ReadIndex(ifi.Index, queue)
	if f.LinkErr != nil {
		// Sandboxes may forbid netlink.
		f.Interface, f.Driver = iface, interfaceDriver(iface)
		f.Virtual = f.Driver == ""
	}
	return f, nil
}

// ReadIndex is Read for the interface with a number. If there is no such interface,
// LinkErr matches syscall.ENODEV.
func ReadIndex(ifindex, queue int) *Facts {
	f := &Facts{Queue: queue}
	f.read(uint32(ifindex))
	return f
}

// NumReceiveQueues returns how many receive queues an interface has, 0 if that is
// not known.
func NumReceiveQueues(iface string) int { return numReceiveQueues(iface) }

// leasing reports whether the interface may have leased hardware queues (netkit,
// Linux 7.1).
func (f *Facts) leasing() bool { return f.Virtual && f.Kind == "netkit" }
