// Package zcrx receives TCP data with io_uring zero-copy receive (zcrx): a
// buffer pool registered on a hardware queue of a network interface, into which
// the interface puts the payload of packets, so that no byte is copied between
// kernel and program. Where the kernel or the interface cannot do it, the same
// code runs on copying modes.
//
// # The parts
//
//   - A [Loop] is one OS thread that owns one io_uring ring. Every operation on
//     the ring happens there.
//   - A [Pool] is a buffer area and a refill queue, registered on a loop's
//     ring. A [ProvidedPool] is its copying counterpart.
//   - A [Group] is the pools of many loops over few hardware queues.
//   - A [Receiver] takes over a TCP connection and hands out what arrives as
//     leased [Buffer] values, in order.
//   - [ProbeFeatures] says what this kernel, this process and this build can do.
//   - [Ring], [SQE] and [CQE] are the floor below: liburing's ring in Go.
//
// # Ownership
//
// A [Buffer] is a lease. Whoever gets one releases it exactly once, from any
// goroutine, whenever it likes, also after pool and loop are closed. Its bytes
// are read-only.
//
// # Platforms
//
// The package needs Linux and cgo for all of this. Elsewhere it builds, and
// every constructor answers an error that matches [ErrNotSupported].
package zcrx
