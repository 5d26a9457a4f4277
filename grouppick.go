package zcrx

import (
	"net"
	"slices"
)

// How a group's member for a connection is chosen, and counted.

// Pick chooses the pool for a connection, for NewReceiver. It asks the socket for
// the NAPI instance that its packets come through (SO_INCOMING_NAPI_ID):
//
//   - if that serves one of the group's queues, the members on that queue take
//     turns;
//   - else, also where the driver does not tell, all members take turns. In
//     ZeroCopy mode the kernel then copies what arrives on a queue without pool,
//     and ends a receive with EFAULT (syscall.EFAULT matches) if the data lies in
//     another pool of the group: steer flows such that this does not happen.
//
// Members whose pool or loop is closed are passed over. If that was the last one,
// Pick answers ErrClosed. NewReceiver answers it too if the pool is closed after
// Pick; then Pick again.
func (g *Group) Pick(conn *net.TCPConn) (BufferPool, error) {
	return g.pick(incomingNAPI(conn))
}

// pickOn is Pick for a connection that arrives on a queue that is known, if it is
// not negative.
func (g *Group) pickOn(queue int, conn *net.TCPConn) (BufferPool, error) {
	if i := slices.IndexFunc(g.queues, func(q *groupQueue) bool { return q.number == queue }); i >= 0 {
		g.mu.Lock()
		defer g.mu.Unlock()
		q := g.queues[i]
		if m := q.turn.next(q.members); m != nil && !g.closed {
			m.picksByPort++
			return m.pool, nil
		}
		return nil, ErrClosed
	}
	return g.Pick(conn)
}

func (g *Group) pick(napiID uint32) (BufferPool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, ErrClosed
	}
	if q := queueOf(g.queues, napiID); q != nil {
		if m := q.turn.next(q.members); m != nil {
			m.picksByNAPI++
			return m.pool, nil
		}
	}
	if m := g.turn.next(g.members); m != nil {
		m.picksByTurn++
		return m.pool, nil
	}
	return nil, ErrClosed
}

// queueOf finds the queue that the NAPI instance serves. 0 is no instance.
func queueOf(queues []*groupQueue, napiID uint32) *groupQueue {
	if napiID == 0 {
		return nil
	}
	for _, q := range queues {
		if q.napiID == napiID {
			return q
		}
	}
	return nil
}

// rotation is the index of the member whose turn is next.
type rotation int

// next answers the live member whose turn it is, nil if there is none.
func (r *rotation) next(members []*groupMember) *groupMember {
	for i := range members {
		at := (int(*r) + i) % len(members)
		if members[at].live() {
			*r = rotation(at + 1)
			return members[at]
		}
	}
	return nil
}
