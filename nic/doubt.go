package nic

import (
	"fmt"
	"slices"
	"syscall"
)

// Doubts returns what could not be found out, a clause each, the most important first.
// Only a registration can settle a doubt. A queue without faults and doubts should be
// able to do zero copy.
func (f *Facts) Doubts() []string {
	var found []string
	add := func(what string, args ...any) { found = append(found, fmt.Sprintf(what, args...)) }
	if f.leasing() {
		add("whether queue %d is leased from a physical interface is told on that side only", f.Queue)
	}
	if f.LinkErr != nil && f.Virtual {
		add("it is a virtual interface, whose kind could not be read (%v): only a netkit can have queues for zero copy", f.LinkErr)
	}
	if f.LinkErr != nil {
		add("whether XDP is attached could not be read (%v)", f.LinkErr)
	}
	if f.RingsErr != nil && !replied(f.RingsErr, syscall.EOPNOTSUPP) {
		add("its header split could not be read (%v)", f.RingsErr)
	}
	switch {
	case f.Down: // the only reason for QueueErr then
		add("who uses its queues shows only once it is up (ip link set dev %s up)", f.Interface)
	case f.QueueErr != nil && !replied(f.QueueErr, syscall.EINVAL):
		add("who uses queue %d could not be read (%v)", f.Queue, f.QueueErr)
	}
	if f.Driver != testDriver && !slices.Contains(zeroCopyDrivers, f.Driver) && len(f.Faults()) == 0 {
		add("nothing wrong was found, but %s has not been seen to do it", f.driverName())
	}
	return found
}
