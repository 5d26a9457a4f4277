package nic

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/netlink"
)

// The generic netlink family netdev (uapi linux/netdev.h), which reports the users of
// a queue.
const (
	netdevFamily   = "netdev"
	netdevQueueGet = 10 // NETDEV_CMD_QUEUE_GET (Linux 6.8)

	netdevQueueID      = 1 // NETDEV_A_QUEUE_*
	netdevQueueIfindex = 2
	netdevQueueType    = 3 // 0: receive
	netdevQueueNAPI    = 4 // absent while no NAPI instance serves the queue
	netdevQueueDMABuf  = 5 // number of a devmem binding (Linux 6.12)
	netdevQueueIOUring = 6 // empty nest (Linux 6.15)
	netdevQueueXSK     = 7 // empty nest (Linux 6.15)
	netdevQueueLease   = 8 // nest, of the physical interface's queue only (Linux 7.1)

	netdevLeaseIfindex = 1 // NETDEV_A_LEASE_*
	netdevLeaseQueue   = 2 // nest of NETDEV_A_QUEUE_*
	netdevLeaseNetNS   = 3 // present if the other interface is in another network namespace
)

// read fills in all three groups of the facts.
func (f *Facts) read(ifindex uint32) {
	f.LinkErr = f.readLink(ifindex)
	c, err := netlink.Dial(unix.NETLINK_GENERIC)
	if err != nil {
		f.RingsErr, f.QueueErr = err, err
		return
	}
	defer c.Close()
	f.RingsErr = f.readRings(c, ifindex)
	f.QueueErr = f.readQueue(c, ifindex)
}

// readLink reads the interface's name, state and device, and whether XDP is attached,
// from rtnetlink.
func (f *Facts) readLink(ifindex uint32) error {
	c, err := netlink.Dial(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer c.Close()
	header := make([]byte, unix.SizeofIfInfomsg) // struct ifinfomsg
	binary.NativeEndian.PutUint32(header[4:], ifindex)
	reply, err := c.Request(unix.RTM_GETLINK, unix.RTM_NEWLINK, header)
	if err != nil {
		return err
	}
	bus, device, err := f.parseLink(reply)
	if err != nil {
		return err
	}
	f.Virtual = device == ""
	f.Driver = deviceDriver(bus, device)
	return nil
}

// parseLink also returns the interface's device and the device's bus (Linux 5.14).
// These lead to the driver in every network namespace, while /sys/class/net shows the
// interfaces of one namespace only.
func (f *Facts) parseLink(reply []byte) (bus, device string, err error) {
	link, err := netlink.ParseAttrs(reply, unix.SizeofIfInfomsg)
	if err != nil {
		return "", "", err
	}
	f.Interface = link.Text(unix.IFLA_IFNAME)
	f.Down = binary.NativeEndian.Uint32(reply[8:])&unix.IFF_UP == 0 // ifi_flags
	info := link.Nest(unix.IFLA_LINKINFO)
	f.Kind = info.Text(unix.IFLA_INFO_KIND)
	xdp := link.Nest(unix.IFLA_XDP)
	f.XDP = XDPMode(xdp.Uint(unix.IFLA_XDP_ATTACHED, 1))
	return link.Text(unix.IFLA_PARENT_DEV_BUS_NAME), link.Text(unix.IFLA_PARENT_DEV_NAME), firstError(link.Err(), info.Err(), xdp.Err())
}

// deviceDriver returns the name of the driver of a device on a bus, empty if the device
// has none or it cannot be read.
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

// readRings reads header split and ring size over ethtool netlink (tcp-data-split
// since Linux 5.18, hds-thresh since 6.14).
func (f *Facts) readRings(c *netlink.Conn, ifindex uint32) error {
	family, err := c.Family(unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return err
	}
	reply, err := c.RequestGeneric(family, netlink.AppendAttr(netlink.GenericHeader(unix.ETHTOOL_MSG_RINGS_GET),
		unix.ETHTOOL_A_RINGS_HEADER|unix.NLA_F_NESTED, netlink.AppendUint32(nil, unix.ETHTOOL_A_HEADER_DEV_INDEX, ifindex)))
	if err != nil {
		return err
	}
	return f.parseRings(reply)
}

func (f *Facts) parseRings(rings *netlink.Attrs) error {
	// The kernel leaves out what the driver does not know or support.
	f.DataSplit = DataSplit(rings.Uint(unix.ETHTOOL_A_RINGS_TCP_DATA_SPLIT, 1))
	f.SplitThreshold = rings.Uint(unix.ETHTOOL_A_RINGS_HDS_THRESH, 4)
	f.RingEntries = int(rings.Uint(unix.ETHTOOL_A_RINGS_RX, 4))
	return rings.Err()
}

// readQueue reads the users of the queue. While the interface is down, the kernel does
// not report them.
func (f *Facts) readQueue(c *netlink.Conn, ifindex uint32) error {
	family, err := c.Family(netdevFamily)
	if err != nil {
		return err
	}
	request := netlink.GenericHeader(netdevQueueGet)
	request = netlink.AppendUint32(request, netdevQueueIfindex, ifindex)
	request = netlink.AppendUint32(request, netdevQueueID, uint32(f.Queue))
	request = netlink.AppendUint32(request, netdevQueueType, 0)
	reply, err := c.RequestGeneric(family, request)
	if err != nil {
		return err
	}
	return f.parseQueue(reply)
}

func (f *Facts) parseQueue(queue *netlink.Attrs) error {
	f.NAPIID = queue.Uint(netdevQueueNAPI, 4)
	f.DMABuf = queue.Has(netdevQueueDMABuf)
	f.DMABufBinding = queue.Uint(netdevQueueDMABuf, 4)
	f.IOUring = queue.Has(netdevQueueIOUring)
	f.AFXDP = queue.Has(netdevQueueXSK)
	lease := queue.Nest(netdevQueueLease)
	to := lease.Nest(netdevLeaseQueue)
	if queue.Has(netdevQueueLease) {
		f.Lease = &Lease{
			Ifindex:    lease.Uint(netdevLeaseIfindex, 4),
			Queue:      to.Uint(netdevQueueID, 4),
			OtherNetNS: lease.Has(netdevLeaseNetNS),
		}
	}
	return firstError(queue.Err(), lease.Err(), to.Err())
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func numReceiveQueues(iface string) int {
	entries, _ := os.ReadDir(filepath.Join("/sys/class/net", iface, "queues"))
	n := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "rx-") {
			n++
		}
	}
	return n
}

// interfaceDevice returns the name of the driver of an interface's device, empty if it is
// not known, and whether the interface has no device. It asks /sys.
func interfaceDevice(iface string) (driver string, virtual bool) {
	folder := filepath.Join("/sys/class/net", iface)
	if _, err := os.Stat(folder); err != nil {
		return "", false // nothing is known without /sys
	}
	_, err := os.Lstat(filepath.Join(folder, "device"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", true
	}
	link, err := os.Readlink(filepath.Join(folder, "device", "driver"))
	if err != nil {
		return "", false
	}
	return filepath.Base(link), false
}

// interfaceIndex returns the index of an interface. The error matches ENODEV if there is
// no such interface. Package net asks netlink; where a sandbox forbids that, an ioctl of
// any socket does as well.
func interfaceIndex(iface string) (int, error) {
	ifi, err := net.InterfaceByName(iface)
	if err == nil {
		return ifi.Index, nil
	}
	if _, refused := errors.AsType[*os.SyscallError](err); !refused {
		return 0, unix.ENODEV
	}
	request, err := unix.NewIfreq(iface)
	if err != nil {
		return 0, unix.ENODEV // too long for a name
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, os.NewSyscallError("ioctl SIOCGIFINDEX", err)
	}
	return int(request.Uint32()), nil
}
