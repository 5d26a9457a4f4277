package zcrx

import (
	"net"
	"slices"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// The choice of a group's member for a connection.

// Pick chooses the pool for a connection that is then given to NewReceiver. It asks the
// socket for the NAPI instance that its packets come through (SO_INCOMING_NAPI_ID):
//
//   - if that instance serves one of the group's queues, the members on that queue take
//     turns;
//   - otherwise, also where the driver does not report it, all members take turns. In
//     ZeroCopy mode the kernel then copies what arrives on a queue without a pool, and ends
//     a receive with EFAULT (errors.Is(err, syscall.EFAULT)) if the data lies in another
//     pool of the group. Steer flows so that this does not happen.
//
// Members whose pool or loop is closed are skipped. If there is no other, Pick returns
// ErrClosed. NewReceiver also returns ErrClosed if the pool is closed after Pick; then call
// Pick again.
func (g *Group) Pick(conn *net.TCPConn) (BufferPool, error) {
	return g.PickNAPI(sys.ConnNAPI(conn))
}

// PickQueue is Pick for a connection whose queue is known, for instance because it was
// dialled from a port that leads there: the members on that queue take turns. If queue is
// not one of Queues, all members take turns.
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

// PickNAPI is Pick for a connection whose NAPI instance is known; 0 means none.
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

// queueOf returns the queue that the NAPI instance serves, or nil. 0 is no instance.
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

// next returns the live member whose turn it is, or nil if no member is live.
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
