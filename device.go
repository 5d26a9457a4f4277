package zcrx

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// Drivers, by what they answered to a registration (Linux 6.15 to 7.3).
var (
	zeroCopyDrivers = []string{"bnxt_en", "fbnic", "gve", "mlx5_core"}
	copyingDrivers  = []string{"virtio_net", "e1000", "e1000e", "vmxnet3"}
)

// testDriver is the software device of test/nic. It can, but is no advice.
const testDriver = "zcnic"

// ProbeQueue tells, as far as that can be seen without touching it, whether a
// hardware receive queue can be used for zero copy:
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
func ProbeQueue(iface string, queue int) error {
	cfg := PoolConfig{Interface: iface, Queue: queue}
	ifindex, err := cfg.resolveInterface()
	if err != nil {
		return err
	}
	f := readDevice(ifindex, queue)
	if f.linkErr != nil {
		// Sandboxes may forbid netlink.
		f.iface, f.driver = iface, interfaceDriver(iface)
		f.virtual = f.driver == ""
	}
	return f.verdict()
}

// deviceFacts is what the kernel tells of an interface and one of its receive
// queues. What could not be read is zero, and its error set.
type deviceFacts struct {
	iface   string
	kind    string // of a virtual interface, for instance "netkit"
	driver  string // of its device; empty: unknown, or none
	virtual bool   // it has no device
	down    bool
	xdp     xdpMode
	linkErr error

	split     dataSplit
	threshold uint32 // hds-thresh: packets up to so many bytes are not split
	ring      int    // entries of a receive ring, hence buffers that are posted at least; 0: unknown
	ringsErr  error

	queue                    int
	napiID                   uint32
	ioUring, dmabuf, xsk     bool
	binding                  uint32 // of dmabuf
	leased, leaseElsewhere   bool   // elsewhere: in another network namespace
	leaseIfindex, leaseQueue uint32
	queueErr                 error
}

// dataSplit is ETHTOOL_TCP_DATA_SPLIT_*.
type dataSplit uint8

const (
	splitUnknown dataSplit = iota
	splitOff
	splitOn
)

// xdpMode is XDP_ATTACHED_*.
type xdpMode uint8

const (
	xdpNone xdpMode = iota
	xdpDriver
	xdpGeneric
	xdpOffloaded
	xdpSeveral
)

// detachXDP is the command that detaches XDP from where it is: a plain "xdp off"
// looks into the driver, where that can do XDP, and passes over a generic program.
func (f *deviceFacts) detachXDP() string {
	where := "xdp"
	switch f.xdp {
	case xdpGeneric:
		where = "xdpgeneric"
	case xdpOffloaded:
		where = "xdpoffload"
	case xdpNone, xdpDriver, xdpSeveral:
	}
	return fmt.Sprintf("ip link set dev %s %s off", f.iface, where)
}

// deviceFault is one thing that keeps a queue from zero copy. It matches the
// errno that a registration answers for it.
type deviceFault struct {
	errno        syscall.Errno
	what, remedy string
	unsupported  bool // the device cannot, or not as it is set up; else it is busy
}

func (f *deviceFault) Error() string { return f.what }

// Unwrap returns the errno.
func (f *deviceFault) Unwrap() error { return f.errno }

// faults lists everything wrong, in the order in which the kernel looks (net/core
// netdev_rx_queue.c, __net_mp_open_rxq).
func (f *deviceFacts) faults() []*deviceFault {
	var found []*deviceFault
	add := func(errno syscall.Errno, remedy, what string, args ...any) {
		found = append(found, &deviceFault{errno: errno, what: fmt.Sprintf(what, args...), remedy: remedy, unsupported: true})
	}
	busy := func(errno syscall.Errno, remedy, by string, args ...any) {
		found = append(found, &deviceFault{errno: errno, what: "the queue is " + fmt.Sprintf(by, args...), remedy: remedy})
	}
	drivers := "whose driver is " + strings.Join(zeroCopyDrivers, ", ")
	switch {
	case f.leasing():
		// Its queues may be leased from a physical interface, whose header split
		// then counts. Neither is told on this side.
	case f.virtual:
		add(syscall.EOPNOTSUPP, "use the physical interface below it, "+drivers+", or a copying mode",
			"the interface is virtual: it has no queue management or no DMA device")
	case slices.Contains(copyingDrivers, f.driver):
		add(syscall.EOPNOTSUPP, "use an interface "+drivers+", or a copying mode",
			"%s has no queue management", f.driverName())
	case errors.Is(f.ringsErr, syscall.EOPNOTSUPP):
		// Header split is switched with ring parameters.
		add(syscall.EOPNOTSUPP, "use an interface "+drivers+", or a copying mode",
			"%s has no ring parameters, hence no header split", f.driverName())
	}
	if errors.Is(f.queueErr, syscall.EINVAL) {
		// Known already, but for interfaces that /sys/class/net does not show.
		found = append(found, &deviceFault{
			errno: syscall.ERANGE, what: "there is no such receive queue",
			remedy: "choose an existing one: ethtool -l " + f.iface + " counts them",
		})
	}
	if f.leased {
		to := fmt.Sprintf("interface index %d", f.leaseIfindex)
		if f.leaseElsewhere {
			to += " of another network namespace"
		}
		busy(syscall.EBUSY, "register on the virtual interface, delete it, or choose another queue",
			"leased to a virtual interface (queue %d of %s)", f.leaseQueue, to)
	}
	if f.ringsErr == nil && !f.leasing() {
		ethtool := "run ethtool -G " + f.iface + " "
		if f.xdp != xdpNone {
			// XDP without fragments keeps the kernel from splitting (net/ethtool
			// rings.c), hence it goes first.
			ethtool = fmt.Sprintf("run %s, then ethtool -G %s ", f.detachXDP(), f.iface)
		}
		switch {
		case f.split == splitOff:
			add(syscall.EINVAL, ethtool+"tcp-data-split on hds-thresh 0", "header split (tcp-data-split) is off")
		case f.split != splitOn:
			add(syscall.EINVAL, ethtool+"tcp-data-split on hds-thresh 0", "header split (tcp-data-split) was never set, or the driver has none")
		case f.threshold != 0:
			add(syscall.EINVAL, ethtool+"hds-thresh 0", "the header split threshold (hds-thresh) is %d: it must be 0", f.threshold)
		}
	}
	if f.xdp != xdpNone {
		add(syscall.EEXIST, "run "+f.detachXDP()+", or end the program that attached it", "an XDP program is attached")
	}
	if f.ioUring {
		busy(syscall.EEXIST, "end the program that holds it and wait some seconds, or choose another queue",
			"taken by another io_uring zero-copy pool")
	}
	if f.dmabuf {
		busy(syscall.EEXIST, "end the program that bound it, or choose another queue",
			"bound to device memory (dma-buf binding %d)", f.binding)
	}
	if f.xsk {
		busy(syscall.EBUSY, "close its AF_XDP sockets, or choose another queue", "used by AF_XDP")
	}
	return found
}

func (f *deviceFacts) driverName() string {
	if f.driver == "" {
		return "its driver"
	}
	return "its driver " + f.driver
}

// leasing tells whether the interface may have leased hardware queues (netkit,
// Linux 7.1).
func (f *deviceFacts) leasing() bool { return f.virtual && f.kind == "netkit" }

// verdict is ProbeQueue's answer.
func (f *deviceFacts) verdict() error {
	feature := fmt.Sprintf("zero-copy receive on %q", f.iface)
	if faults := f.faults(); len(faults) > 0 {
		first := faults[0]
		if first.unsupported {
			return &UnsupportedError{Feature: feature, Layer: LayerDevice, Remedy: first.remedy, Err: first}
		}
		op := fmt.Sprintf("probe queue %d of %q", f.queue, f.iface)
		return &KernelError{Op: op, Errno: first.errno, Meaning: first.what, Remedy: first.remedy}
	}
	unknown := func(why string, args ...any) error {
		return fmt.Errorf("zcrx: %s: %s: %w", feature, fmt.Sprintf(why, args...), ErrInconclusive)
	}
	switch {
	case f.leasing():
		return unknown("whether queue %d is leased from a physical interface is told on that side only", f.queue)
	case f.linkErr != nil:
		return unknown("whether XDP is attached could not be read (%v)", f.linkErr)
	case f.ringsErr != nil:
		return unknown("its header split could not be read (%v)", f.ringsErr)
	case f.down:
		return unknown("who uses its queues shows only once it is up (ip link set dev %s up)", f.iface)
	case f.queueErr != nil:
		return unknown("who uses queue %d could not be read (%v)", f.queue, f.queueErr)
	case f.driver != testDriver && !slices.Contains(zeroCopyDrivers, f.driver):
		return unknown("nothing wrong was found, but %s has not been seen to do it", f.driverName())
	}
	return nil
}

// registerFault is what is wrong with the device where a registration was refused
// with errno; nil if nothing is that explains it. It asks the kernel only for
// errnos that can have several causes.
func registerFault(req ifqRequest, errno syscall.Errno) *deviceFault {
	switch errno {
	case syscall.EINVAL, syscall.EEXIST, syscall.EBUSY, syscall.EOPNOTSUPP:
	default:
		return nil
	}
	if req.flags&regDeviceLess != 0 {
		return nil
	}
	f := readDevice(int(req.ifindex), int(req.queue))
	if f.iface == "" { // it has gone, or netlink is forbidden
		return nil
	}
	return f.cause(errno)
}

// cause is the fault that a registration answers errno for.
func (f *deviceFacts) cause(errno syscall.Errno) *deviceFault {
	for _, fault := range f.faults() {
		if fault.errno == errno {
			return fault
		}
	}
	if errno == syscall.EINVAL && f.split == splitOn && f.threshold == 0 {
		// What was read is the driver's state; the kernel wants a user's setting
		// (include/net/netdev_queues.h, netdev_config.hds_config).
		return &deviceFault{
			errno:  errno,
			what:   "header split is on, but perhaps by the driver's own choice, and it must be set; else an argument is bad or the kernel is too old",
			remedy: "run ethtool -G " + f.iface + " tcp-data-split on hds-thresh 0",
		}
	}
	return nil
}
