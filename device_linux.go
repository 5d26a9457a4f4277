package zcrx

import (
	"encoding/binary"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The netdev family (uapi linux/netdev.h), which tells who uses a queue.
const (
	netdevFamily   = "netdev"
	netdevQueueGet = 10 // NETDEV_CMD_QUEUE_GET (Linux 6.8)

	netdevQueueID      = 1 // NETDEV_A_QUEUE_*
	netdevQueueIfindex = 2
	netdevQueueType    = 3 // 0: receive
	netdevQueueNAPI    = 4 // absent while none serves it
	netdevQueueDMABuf  = 5 // number of a devmem binding (Linux 6.12)
	netdevQueueIOUring = 6 // empty nest (Linux 6.15)
	netdevQueueXSK     = 7 // empty nest (Linux 6.15)
	netdevQueueLease   = 8 // nest, on the physical side alone (Linux 7.1)

	netdevLeaseIfindex = 1 // NETDEV_A_LEASE_*
	netdevLeaseQueue   = 2 // nest of NETDEV_A_QUEUE_*
	netdevLeaseNetNS   = 3 // only if it is another network namespace
)

// readDevice asks the kernel about an interface of the calling thread's network
// namespace and one of its receive queues. It changes nothing, needs no
// privilege, and keeps apart what could not be read.
func readDevice(ifindex, queue int) *deviceFacts {
	f := &deviceFacts{queue: queue}
	f.linkErr = f.readLink(uint32(ifindex))
	c, err := openNetlink(unix.NETLINK_GENERIC)
	if err != nil {
		f.ringsErr, f.queueErr = err, err
		return f
	}
	defer c.close()
	f.ringsErr = f.readRings(c, uint32(ifindex))
	f.queueErr = f.readQueue(c, uint32(ifindex))
	return f
}

// readLink reads what rtnetlink tells of the interface: its name, state and
// device, and whether XDP is attached (Linux 4.12).
func (f *deviceFacts) readLink(ifindex uint32) error {
	c, err := openNetlink(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.close()
	header := make([]byte, unix.SizeofIfInfomsg) // struct ifinfomsg
	binary.NativeEndian.PutUint32(header[4:], ifindex)
	answer, err := c.ask(unix.RTM_GETLINK, unix.RTM_NEWLINK, header)
	if err != nil {
		return err
	}
	bus, device, err := f.parseLink(answer)
	if err != nil {
		return err
	}
	f.virtual = device == ""
	f.driver = deviceDriver(bus, device)
	return nil
}

// parseLink also answers the interface's device and its bus (Linux 5.14), which
// lead to the driver in every network namespace; /sys/class/net shows the
// interfaces of one alone.
func (f *deviceFacts) parseLink(answer []byte) (bus, device string, err error) {
	link, err := parseAttrs(answer, unix.SizeofIfInfomsg)
	if err != nil {
		return "", "", err
	}
	f.iface = link.text(unix.IFLA_IFNAME)
	f.down = binary.NativeEndian.Uint32(answer[8:])&unix.IFF_UP == 0 // ifi_flags
	info := link.nest(unix.IFLA_LINKINFO)
	f.kind = info.text(unix.IFLA_INFO_KIND)
	xdp := link.nest(unix.IFLA_XDP)
	f.xdp = xdpMode(xdp.number(unix.IFLA_XDP_ATTACHED, 1))
	return link.text(unix.IFLA_PARENT_DEV_BUS_NAME), link.text(unix.IFLA_PARENT_DEV_NAME), firstError(link.err, info.err, xdp.err)
}

// deviceDriver is the name of the driver of a device on a bus, empty if it has
// none or that cannot be found out.
func deviceDriver(bus, device string) string {
	if bus == "" || device == "" {
		return ""
	}
	link, err := os.Readlink(filepath.Join("/sys/bus", bus, "devices", device, "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}

// readRings reads the header split over ethtool netlink (tcp-data-split Linux
// 5.18, hds-thresh 6.14).
func (f *deviceFacts) readRings(c *netlinkConn, ifindex uint32) error {
	family, err := c.family(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return err
	}
	answer, err := c.askGeneric(family, appendAttr(genericHeader(unix.ETHTOOL_MSG_RINGS_GET),
		unix.ETHTOOL_A_RINGS_HEADER|unix.NLA_F_NESTED, appendAttr32(nil, unix.ETHTOOL_A_HEADER_DEV_INDEX, ifindex)))
	if err != nil {
		return err
	}
	return f.parseRings(answer)
}

func (f *deviceFacts) parseRings(rings *netlinkAttrs) error {
	// The kernel leaves out what the driver does not know or support.
	f.split = dataSplit(rings.number(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, 1))
	f.threshold = rings.number(unix.ETHTOOL_A_RINGS_HDS_THRESH, 4)
	f.ring = int(rings.number(unix.ETHTOOL_A_RINGS_RX, 4))
	return rings.err
}

// readQueue reads who uses the queue. While the interface is down the kernel
// does not tell.
func (f *deviceFacts) readQueue(c *netlinkConn, ifindex uint32) error {
	family, err := c.family(netdevFamily)
	if err != nil {
		return err
	}
	ask := genericHeader(netdevQueueGet)
	ask = appendAttr32(ask, netdevQueueIfindex, ifindex)
	ask = appendAttr32(ask, netdevQueueID, uint32(f.queue))
	ask = appendAttr32(ask, netdevQueueType, 0)
	answer, err := c.askGeneric(family, ask)
	if err != nil {
		return err
	}
	return f.parseQueue(answer)
}

func (f *deviceFacts) parseQueue(queue *netlinkAttrs) error {
	f.napiID = queue.number(netdevQueueNAPI, 4)
	f.dmabuf = queue.has(netdevQueueDMABuf)
	f.binding = queue.number(netdevQueueDMABuf, 4)
	f.ioUring = queue.has(netdevQueueIOUring)
	f.xsk = queue.has(netdevQueueXSK)
	f.leased = queue.has(netdevQueueLease)
	lease := queue.nest(netdevQueueLease)
	f.leaseIfindex = lease.number(netdevLeaseIfindex, 4)
	f.leaseElsewhere = lease.has(netdevLeaseNetNS)
	to := lease.nest(netdevLeaseQueue)
	f.leaseQueue = to.number(netdevQueueID, 4)
	return firstError(queue.err, lease.err, to.err)
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// receiveQueues is the number of receive queues of an interface, 0 if unknown.
func receiveQueues(iface string) int {
	found, _ := filepath.Glob(filepath.Join("/sys/class/net", iface, "queues", "rx-*"))
	return len(found)
}

// interfaceDriver is the name of the driver of an interface's device, empty for
// an interface without one.
func interfaceDriver(iface string) string {
	link, err := os.Readlink(filepath.Join("/sys/class/net", iface, "device", "driver"))
	if err != nil {
		return ""
	}
	return filepath.Base(link)
}
