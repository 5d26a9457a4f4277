package zcrx

import (
	"context"
	"net"
	"syscall"
)

// SteerDialer returns a net.Dialer's ControlContext that binds a connection to a source
// port for which the interface's RSS leads the peer's packets to one of the queues, if
// there is one among a thousand; and the queue that a connection's packets arrive on.
// It returns an error where flows cannot be foreseen, or come to none of the queues:
// the interface's table may leave them to flow rules.
func SteerDialer(iface string, queues []int) (
	control func(ctx context.Context, network, address string, raw syscall.RawConn) error,
	queueOf func(*net.TCPConn) int,
	err error,
) {
	s, err := newSteering(iface, queues)
	if err != nil {
		return nil, nil, err
	}
	return s.control, s.queueOf, nil
}
