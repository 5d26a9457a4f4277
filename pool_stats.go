package zcrx

// SharedStats is a snapshot of a whole pool: of what its members, the owner and
// the importers, have in common, and of their counters added up, with those of
// members that have gone. Reading changes nothing. Misuse is not in it: it is
// counted for the member whose lease it was.
type SharedStats struct {
	Members       int `json:"members"`        // members on a ring
	Holders       int `json:"holders"`        // who needs the memory: members with a user or a lease left, and handles
	RefillEntries int `json:"refill_entries"` // size of the refill queue
	RefillPending int `json:"refill_pending"` // entries in it that the kernel has not taken
	Waiting       int `json:"waiting"`        // returned buffers that wait for room in it

	Completions uint64 `json:"completions"`
	Bytes       uint64 `json:"bytes"`
	Returned    uint64 `json:"returned"`
	Outstanding int    `json:"outstanding"`
	RefillFull  uint64 `json:"refill_full"`
	Flushes     uint64 `json:"flushes"`
	FlushErrors uint64 `json:"flush_errors"`

	RearmedNoBuffer  uint64 `json:"rearmed_no_buffer"`
	RearmedQueueFull uint64 `json:"rearmed_queue_full"`
	RearmedOther     uint64 `json:"rearmed_other"`

	Rescues      uint64 `json:"rescues"`
	RescuedBytes uint64 `json:"rescued_bytes"`
	Stalls       uint64 `json:"stalls"`

	AllocFailures   uint64 `json:"alloc_failures"`
	CopyEvents      uint64 `json:"copy_events"`
	CopiedFragments uint64 `json:"copied_fragments"`
	CopiedBytes     uint64 `json:"copied_bytes"`
}

// SharedStats returns for the whole pool what Stats returns for this member; any
// member may be asked, also one that is closed. The fields mean what they mean in
// PoolStats. Safe from any goroutine.
func (p *Pool) SharedStats() SharedStats {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.left
	for _, member := range m.members {
		s.add(member)
	}
	s.Members, s.Holders = len(m.members), m.refs
	s.RefillEntries, s.Waiting = int(m.entries), m.waiting.len()
	if m.region != nil {
		s.RefillPending = int(m.refillQueue.pending())
	}
	s.Returned, s.RefillFull = m.returns, m.refillFull
	s.Outstanding = max(0, int(s.Completions-s.Returned)) // as in outstandingLocked
	c := m.readCopied()
	s.CopiedFragments, s.CopiedBytes = c.fragments, c.bytes+s.RescuedBytes
	if p.mode == DeviceLess {
		s.CopiedBytes = s.Bytes
	}
	return s
}

// add adds up what a member counts on its loop's thread, and so no longer once it
// has left.
func (s *SharedStats) add(p *Pool) {
	s.Completions += p.completions.Load()
	s.Bytes += p.bytes.Load()
	s.Flushes += p.flushes.Load()
	s.FlushErrors += p.flushErrors.Load()
	s.RearmedNoBuffer += p.receivers.rearmedNoBuffer.Load()
	s.RearmedQueueFull += p.receivers.rearmedQueueFull.Load()
	s.RearmedOther += p.receivers.rearmedOther.Load()
	s.Rescues += p.rescued.Load()
	s.RescuedBytes += p.rescuedBytes.Load()
	s.Stalls += p.stalls.Load()
	s.AllocFailures += p.allocFailures.Load()
	s.CopyEvents += p.copyEvents.Load()
}
