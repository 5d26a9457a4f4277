// Package zcrx receives TCP data with io_uring zero-copy receive (zcrx): a
// buffer pool registered on a hardware queue of a network interface, into which
// the interface puts the payload of packets, so that no byte is copied between
// kernel and program. Where the kernel or the interface cannot do it, the same
// code runs on copying modes.
//
// Programs that want connections begin with package
// [github.com/zcrx-go/zcrx/zcnet], whose Conn and Listener are a net.Conn and a
// net.Listener too. This package is what they are built on: pools of receive
// buffers, and who may touch them. It knows nothing of addresses, deadlines and
// accepting.
//
// # The parts
//
//   - A [Loop] is one OS thread that owns one io_uring ring. Every operation on
//     the ring happens there.
//   - A [Pool] is a buffer area and a refill queue, registered on a loop's
//     ring. A [ProvidedPool] is its copying counterpart; [OpenPool] takes the
//     better of them.
//   - A [Group] is the pools of many loops over few hardware queues.
//   - A [Receiver] takes over a TCP connection and hands out what arrives as
//     leased [Buffer] values, in order. It also sends, waits for room, moves to
//     other loops and has its socket's options set: a connection type of one's
//     own needs no more.
//   - A [SocketPool] and a [SocketReceiver] are their counterparts that read
//     through Go's poller, in mode [Socket].
//   - [ProbeFeatures] says what this kernel, this process and this build can do.
//
// Package [github.com/zcrx-go/zcrx/uring] is the floor below: liburing in Go.
//
// # Ownership
//
// A [Buffer] is a lease. Whoever gets one releases it exactly once, from any
// goroutine, whenever it likes, also after pool and loop are closed. Its bytes
// are read-only.
//
// # Platforms
//
// Mode [Socket] works everywhere. All the rest needs Linux and cgo; elsewhere its
// constructors return an error that matches [ErrNotSupported].
package zcrx
