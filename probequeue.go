package zcrx

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/nic"
)

// Queue identifies a hardware receive queue: a network interface of this network namespace,
// and the number of one of its receive queues, from 0. The zero Queue stands for no queue.
type Queue struct {
	Interface string `json:"interface"`
	Number    int    `json:"number"`
}

// ProbeQueue checks whether a hardware receive queue can be used for zero copy, as far as
// that can be seen without registering it. It returns
//
//   - nil if its driver supports zero copy, header split is on, and the queue is free;
//   - an error that matches ErrNotSupported if the driver does not support it, header split
//     is off or limited, or XDP is attached: the *UnsupportedError has the remedy;
//   - a *KernelError if the queue is in use: by io_uring or a dma-buf (syscall.EEXIST), by
//     AF_XDP, or leased to a virtual device (syscall.EBUSY);
//   - an error that matches ErrInconclusive if only a registration could show it;
//   - another error if there is no such queue.
//
// Where a registration would be refused, its errno matches too. nil does not guarantee that
// a registration succeeds: header split may be on by the driver's default, and the kernel
// requires that it was set explicitly.
//
// ProbeQueue changes nothing, needs no privilege and is safe from any goroutine. Package
// nic has the facts that it looks at.
func ProbeQueue(q Queue) error {
	if _, err := q.resolve(); err != nil {
		return err
	}
	f, err := nic.Read(q.Interface, q.Number)
	if err != nil {
		return err
	}
	return queueError(f)
}

// queueError returns the error of ProbeQueue for the facts.
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

// registerFault returns what is wrong with the device when a registration was refused with
// errno, and false if nothing found explains the errno. It asks the kernel only for errnos
// that can have several causes.
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
	if f.Interface == "" { // the interface has gone, or netlink is forbidden
		return nic.Fault{}, false
	}
	return f.Cause(errno)
}

// maxQueue is the highest number that a receive queue can have.
const maxQueue = 1<<16 - 1

// resolve checks that the queue exists and returns the index of its interface. It does not
// ask the kernel whether zero copy works there.
func (q Queue) resolve() (ifindex int, err error) {
	if q.Interface == "" {
		return 0, errors.New("zcrx: Queue.Interface is empty: name an interface, or use NewDeviceLessPool")
	}
	ifi, err := net.InterfaceByName(q.Interface)
	if err != nil {
		return 0, fmt.Errorf("zcrx: interface %q: no such interface in this network namespace: %w", q.Interface, syscall.ENODEV)
	}
	last := int64(maxQueue)
	if n := nic.NumReceiveQueues(q.Interface); n > 0 {
		last = int64(n - 1)
	}
	if q.Number < 0 || int64(q.Number) > last {
		return 0, rangeError(fmt.Sprintf("receive queue of %q,", q.Interface), int64(q.Number), 0, last)
	}
	return ifi.Index, nil
}

// registerIfqError explains a refused registration of an interface queue.
func registerIfqError(op string, req ifqRequest, errno syscall.Errno) error {
	feature := FeatureZeroCopy
	if req.flags&regDeviceLess != 0 {
		feature = FeatureDeviceLess
	}
	seen := &KernelError{Op: op, Errno: errno}
	device := func(meaning, remedy string) error {
		seen.Meaning = meaning
		return &UnsupportedError{Feature: feature.String(), Layer: LayerDevice, Remedy: remedy, Err: seen}
	}
	queue := fmt.Sprintf("queue %d of interface index %d", req.queue, req.ifindex)
	if fault, ok := registerFault(req, errno); ok {
		if fault.Unsupported {
			return device(fault.What, fault.Remedy)
		}
		seen.Meaning, seen.Remedy = fault.What, fault.Remedy
		return seen
	}
	switch errno {
	case syscall.EPERM:
		return privilegeError(feature, seen)
	case syscall.ENODEV:
		return device(fmt.Sprintf("no interface with index %d in this network namespace", req.ifindex), "name an existing interface")
	case syscall.EOPNOTSUPP:
		if feature == FeatureDeviceLess {
			break
		}
		if req.bufferSize != 0 {
			return device("the driver does not support zcrx, or not this buffer size", "use an interface whose driver supports it (bnxt, mlx5, gve, fbnic), or page-sized buffers")
		}
		return device("the interface's driver has no queue management or no DMA device", "use an interface whose driver supports zcrx (bnxt, mlx5, gve, fbnic), or a copying mode")
	case syscall.ERANGE:
		if req.bufferSize != 0 {
			return device(queue+" is out of range, or the area is not contiguous for the buffer size", "choose an existing receive queue, or page-sized buffers")
		}
		return device(queue+" is out of range", "choose an existing receive queue")
	case syscall.EEXIST:
		seen.Meaning = queue + " already has a memory provider, or XDP is attached"
		seen.Remedy = "stop its other user; the kernel frees the queue some seconds after that"
		return seen
	case syscall.EBUSY:
		seen.Meaning = queue + " is used by AF_XDP or leased to a virtual device"
		seen.Remedy = "stop its other user"
		return seen
	case syscall.EFAULT:
		seen.Meaning = "the buffer area or the refill queue is not mapped, not writable or empty"
		return seen
	case syscall.EOVERFLOW, syscall.E2BIG:
		seen.Meaning = fmt.Sprintf("an area of %d or a refill queue of %d bytes is too large", req.areaLen, req.regionSize)
		seen.Remedy = "ask for fewer buffers"
		return seen
	case sys.ENODATA:
		return device("the driver ignored the buffer area", "update the driver")
	case syscall.ENOMEM:
		return pinError(feature.String(), req.pinned(), "buffers", seen)
	case syscall.EINVAL:
		if feature == FeatureZeroCopy {
			seen.Meaning = "most likely header split is off or its threshold is not 0; else an argument is bad or the kernel is too old"
			seen.Remedy = "run ethtool -G IFACE tcp-data-split on hds-thresh 0"
			return seen
		}
	}
	if errno == syscall.EINVAL || errno == syscall.EOPNOTSUPP {
		return &UnsupportedError{
			Feature: feature.String(), Layer: LayerKernel, MinKernel: feature.MinKernel(),
			Remedy: "use a newer kernel with CONFIG_IO_URING_ZCRX", Err: seen,
		}
	}
	return seen
}
