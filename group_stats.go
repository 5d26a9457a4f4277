package zcrx

// GroupStats is a snapshot of a group's counters.
type GroupStats struct {
	Members []GroupMemberStats `json:"members"` // in the order of Group.Loops
	// Total is the sum of the members' counters. Buffers that wait for room in a
	// refill queue count once.
	Total PoolStats `json:"total"`
}

// GroupMemberStats is the part of one place in a group, over all loops that were there.
type GroupMemberStats struct {
	Queue       int       `json:"queue"`         // number of the queue, -1 for a pool without a queue
	Owner       bool      `json:"owner"`         // its loop registered the pool; false if it imported the pool
	Live        bool      `json:"live"`          // neither pool nor loop is closed
	PicksByNAPI uint64    `json:"picks_by_napi"` // connections that arrived on the queue
	PicksByPort uint64    `json:"picks_by_port"` // connections that were dialled from a port that leads to the queue
	PicksByTurn uint64    `json:"picks_by_turn"` // other connections
	Pool        PoolStats `json:"pool"`
}

// Stats returns a snapshot of the group's counters.
func (g *Group) Stats() GroupStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	var s GroupStats
	waiting := make(map[*groupQueue]int) // all members of a queue report the same number
	for _, m := range g.members {
		pool := m.stats()
		s.Members = append(s.Members, GroupMemberStats{
			Queue: m.queueNumber(), Owner: m.owner, Live: m.live(),
			PicksByNAPI: m.picksByNAPI, PicksByPort: m.picksByPort, PicksByTurn: m.picksByTurn, Pool: pool,
		})
		s.Total.add(&pool)
		waiting[m.queue] = max(waiting[m.queue], pool.Waiting)
	}
	s.Total.Waiting = 0
	for _, n := range waiting {
		s.Total.Waiting += n
	}
	return s
}

// stats returns the sum of the pools that the member had. Called with the group's lock
// held.
func (m *groupMember) stats() PoolStats {
	m.forgetFinal()
	sum := m.gone
	for _, p := range m.former {
		s := p.Stats()
		s.Waiting = 0 // its successor reports that
		sum.add(&s)
	}
	if m.pool != nil {
		s := m.pool.Stats()
		sum.add(&s)
	}
	return sum
}

// retire makes the member's pool a former one. Called with the group's lock held.
func (m *groupMember) retire() {
	m.forgetFinal()
	if m.pool != nil {
		m.former = append(m.former, m.pool)
		m.pool = nil
	}
}

// forgetFinal removes former pools whose counters will not change any more, and keeps their
// sum.
func (m *groupMember) forgetFinal() {
	kept := m.former[:0]
	for _, p := range m.former {
		if !countersFinal(p) {
			kept = append(kept, p)
			continue
		}
		s := p.Stats()
		s.Waiting = 0
		m.gone.add(&s)
	}
	clear(m.former[len(kept):])
	m.former = kept
}

// countersFinal reports whether a pool's counters will not change any more: it makes no
// leases and none is out. The counters of an owner also contain what the kernel copies for
// all members.
func countersFinal(pool BufferPool) bool {
	if p, ok := pool.(*Pool); ok && p.owner {
		return !p.memory.inUse()
	}
	g := pool.accounts()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.freed
}
