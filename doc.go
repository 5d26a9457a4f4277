// Package zcrx receives TCP data with io_uring zero-copy receive (zcrx): the network
// interface writes the payload of packets into a buffer pool of the program, so that no
// byte is copied between kernel and program. Where the kernel or the interface does not
// support that, the same code receives in modes that copy.
//
// Programs that want connections begin with package [github.com/zcrx-go/zcrx/zcnet], whose
// Conn is a net.Conn and whose Listener is a net.Listener. This package is the layer below.
// Its smallest use, without error handling:
//
//	loop, err := zcrx.NewLoop(zcrx.LoopConfig{})
//	queue := zcrx.Queue{Interface: "eth0", Number: 4}
//	pool, err := zcrx.OpenPool(ctx, loop, zcrx.Auto, queue, zcrx.PoolConfig{})
//	receiver, err := zcrx.NewReceiver(pool, conn) // takes over a *net.TCPConn
//	buf, err := receiver.Recv(ctx)
//	use(buf.Bytes()) // read-only
//	buf.Release()    // exactly once
//
// # The parts
//
//   - [Loop] is one OS thread that owns one io_uring ring.
//   - [Pool] is buffers and a refill queue on a loop's ring. [ProvidedPool] is its copying
//     counterpart; [OpenPool] makes the better one that works.
//   - [Group] is the pools of many loops over few hardware queues.
//   - [Receiver] takes over a TCP connection and returns what arrives, in order, as leased
//     [Buffer] values. It also sends.
//   - [SocketPool] and [SocketReceiver] are the same in mode [Socket], without io_uring.
//   - [ProbeFeatures] and [ProbeQueue] say what this machine supports.
//
// A Buffer is a lease. Release it exactly once, from any goroutine, at any time, also after
// its pool and loop are closed.
//
// Mode [Socket] works on every system. Everything else needs Linux and cgo; elsewhere
// constructors return an error that matches [ErrNotSupported].
package zcrx
