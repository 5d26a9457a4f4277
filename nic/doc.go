// Package nic tells whether a network device can do zero-copy receive, and what to
// change if it cannot.
//
// Start with [Read], which returns the [Facts] that the kernel reports of an interface
// and one of its receive queues. [Facts.Faults] returns what keeps the queue from zero
// copy, each with a remedy, and [Facts.Doubts] what could not be found out.
//
// [ReadRSS] returns how an interface spreads flows over its queues, and [RSS.Queue] the
// queue that a flow arrives on. A [Steering] chooses source ports for outgoing
// connections, so that the packets of the peer arrive on a wanted queue.
//
// The package does not register queues (package zcrx does) and changes no setting of
// a device. It needs neither cgo nor a privilege. It builds off Linux too, but can read
// nothing there.
package nic
