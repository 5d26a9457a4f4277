// Package nic reads what a network device can do for zero-copy receive, how it is
// set, and what it lacks. It knows devices, not rings or buffers: what a registration
// would say about a queue, but not how to register it, and so far it changes no
// setting. It works without cgo and needs no privilege.
//
// Start with Read, which returns the Facts of an interface and one of its receive
// queues as the kernel tells them. Facts.Faults lists what keeps the queue from zero
// copy, each with a remedy, and Facts.Doubts what could not be found out.
//
// ReadRSS returns how an interface spreads flows over its queues, and RSS.Queue the
// queue that a flow arrives on. Steering uses that the other way round: it picks a
// source port for which the peer's packets arrive on a wanted queue.
//
// Off Linux everything builds, and nothing can be found out.
package nic
