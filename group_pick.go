package zcrx

import (
	"net"
	"slices"

	"github.com/zcrx-go/zcrx/internal/sys"
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
// Pick returns ErrClosed. NewReceiver returns it too if the pool is closed after
// Pick; then Pick again.
func (g *Group) Pick(conn *net.TCPConn) (BufferPool, error) {
	return g.PickNAPI(sys.ConnNAPI(conn))
}

// PickQueue is Pick for a connection that arrives on a queue that is known, as one that
// was dialled from a port that leads there: the members on that queue take turns. The
// queue is one of Queues; for any other all members take turns.
func (g *Group) PickQueue(queue int) (BufferPool, error) {
	i := slices.IndexFunc(g.queues, func(q *groupQueue) bool { return q.number == queue })
	if i < 0 {
		return g.PickNAPI(0)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queues[i]
	if m := q.turn.next(q.members); m != nil && !g.closed {
		m.picksByPort++
		return m.pool, nil
	}
	return nil, ErrClosed
}

// PickNAPI is Pick for a connection whose NAPI instance is known; 0 is none.
func (g *Group) PickNAPI(napiID uint32) (BufferPool, error) {
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

// next returns the live member whose turn it is, nil if there is none.
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
