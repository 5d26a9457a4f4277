//go:build nic

package zerocopy

import (
	"fmt"
	"net"

	"github.com/mdlayher/netlink"
)

// Commands and attributes of uapi linux/netdev.h.
const (
	netdevFamily      = "netdev"
	netdevPagePoolGet = 5
	netdevQueueGet    = 10

	queueID      = 1
	queueIfindex = 2
	queueType    = 3
	queueNAPI    = 4
	queueIOUring = 6

	poolIfindex  = 2
	poolNAPI     = 3
	poolDetached = 6
	poolIOUring  = 8
)

// queueFacts is what the kernel reports of a receive queue of the device.
type queueFacts struct {
	napi    uint32
	ioUring bool // io_uring uses the queue
}

func readQueue(queue int) (queueFacts, error) {
	var facts queueFacts
	iface, err := net.InterfaceByName(device)
	if err != nil {
		return facts, err
	}
	attrs := netlink.NewAttributeEncoder()
	attrs.Uint32(queueIfindex, uint32(iface.Index))
	attrs.Uint32(queueID, uint32(queue))
	attrs.Uint32(queueType, 0) // receive
	payload, err := attrs.Encode()
	if err != nil {
		return facts, err
	}
	answer, err := askFamily(netdevFamily, netdevQueueGet, 0, payload)
	if err != nil {
		return facts, fmt.Errorf("asking for queue %d: %w", queue, err)
	}
	for _, msg := range answer {
		decoder, err := netlink.NewAttributeDecoder(msg.Data)
		if err != nil {
			return facts, err
		}
		for decoder.Next() {
			switch decoder.Type() {
			case queueNAPI:
				facts.napi = decoder.Uint32()
			case queueIOUring:
				facts.ioUring = true
			}
		}
		if err := decoder.Err(); err != nil {
			return facts, err
		}
	}
	return facts, nil
}

// poolsOfIOUring returns how many of the page pools that a NAPI instance of the device uses
// have io_uring's memory.
func poolsOfIOUring(napi uint32) (int, error) {
	iface, err := net.InterfaceByName(device)
	if err != nil {
		return 0, err
	}
	answer, err := askFamily(netdevFamily, netdevPagePoolGet, netlink.Dump, nil)
	if err != nil {
		return 0, fmt.Errorf("asking for page pools: %w", err)
	}
	found := 0
	for _, msg := range answer {
		decoder, err := netlink.NewAttributeDecoder(msg.Data)
		if err != nil {
			return 0, err
		}
		var ifindex, user uint32
		var ioUring, detached bool
		for decoder.Next() {
			switch decoder.Type() {
			case poolIfindex:
				ifindex = decoder.Uint32()
			case poolNAPI:
				user = decoder.Uint32()
			case poolIOUring:
				ioUring = true
			case poolDetached:
				detached = true
			}
		}
		if err := decoder.Err(); err != nil {
			return 0, err
		}
		if ifindex == uint32(iface.Index) && user == napi && ioUring && !detached {
			found++
		}
	}
	return found, nil
}
