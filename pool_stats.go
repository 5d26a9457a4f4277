package zcrx

import "slices"

// PoolStats is a snapshot of a pool's counters.
type PoolStats struct {
	Completions uint64 `json:"completions"` // completions with data, each leased as a Buffer; a bundle counts once for each Buffer
	Bytes       uint64 `json:"bytes"`       // bytes in these completions
	Returned    uint64 `json:"returned"`    // leases released
	Outstanding int    `json:"outstanding"` // leases that are out
	Waiting     int    `json:"waiting"`     // returned buffers of all members that wait for room in the refill queue

	RefillFull  uint64 `json:"refill_full"`  // returns that found the refill queue full
	Flushes     uint64 `json:"flushes"`      // FLUSH_RQ system calls
	FlushErrors uint64 `json:"flush_errors"` // flushes that failed

	// Receives that the kernel ended and that were armed again, by cause: no buffer was
	// free (ENOMEM, ENOBUFS), the completion queue was full (ENOSPC), or the
	// kernel ended it without an error.
	RearmedNoBuffer  uint64 `json:"rearmed_no_buffer"`
	RearmedQueueFull uint64 `json:"rearmed_queue_full"`
	RearmedOther     uint64 `json:"rearmed_other"`
	// Paused counts how often a receiver was paused: it had PoolConfig.MaxLeases leases out, or
	// was too far ahead of its consumer.
	Paused uint64 `json:"paused"`

	// Bytes that the kernel could not copy for want of a buffer are read from the socket to
	// the Go heap, and leased as other bytes are. Rescues counts these Buffers,
	// RescuedBytes their bytes. Stalls counts how often that was not possible either, so
	// that the receive was delayed.
	Rescues      uint64 `json:"rescues"`
	RescuedBytes uint64 `json:"rescued_bytes"`
	Stalls       uint64 `json:"stalls"`

	// UnreadBytes are bytes that were moved out of the pool, to the Go heap, because nobody
	// read them and other receivers needed buffers. They are leased as before.
	UnreadBytes uint64 `json:"unread_bytes"`

	AllocFailures   uint64 `json:"alloc_failures"`   // allocation-failure events (Linux 7.2)
	CopyEvents      uint64 `json:"copy_events"`      // copy events: the kernel began to copy (Linux 7.2)
	CopiedFragments uint64 `json:"copied_fragments"` // fragments that the kernel copied (Linux 7.2)
	CopiedBytes     uint64 `json:"copied_bytes"`     // bytes that the kernel copied, as far as it reports them, and RescuedBytes

	DoubleReleases   uint64 `json:"double_releases"`
	UsesAfterRelease uint64 `json:"uses_after_release"`

	// Warnings are sentences about numbers that do not fit: see PoolConfig.Warnings.
	Warnings []string `json:"warnings,omitempty"`
}

// Stats returns a snapshot of this member's counters, for its own leases and receives;
// Waiting is that of the whole pool. In ZeroCopy mode the kernel counts copied bytes only
// for the owner, and only copied fragments, not what it copies out of a packet's linear
// part: a CopiedBytes of 0 does not prove zero copy. In DeviceLess mode all bytes are
// copied.
func (p *Pool) Stats() PoolStats {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	s := p.counters()
	s.Waiting = m.waiting.len()
	if p.owner {
		m.addCopied(&s)
	}
	p.countCopies(&s)
	return s
}

// counters returns what the member itself counts. Called with memory.mu held.
func (p *Pool) counters() PoolStats {
	s := p.ledger.statsLocked()
	p.receivers.addTo(&s)
	s.Flushes, s.FlushErrors = p.flushes.Load(), p.flushErrors.Load()
	s.RefillFull = p.refillFull.Load()
	s.AllocFailures, s.CopyEvents = p.allocFailures.Load(), p.copyEvents.Load()
	s.Rescues, s.RescuedBytes, s.Stalls = p.rescued.Load(), p.rescuedBytes.Load(), p.stalls.Load()
	s.CopiedBytes = s.RescuedBytes
	s.Warnings = slices.Clone(p.warnings)
	return s
}

// countCopies sets CopiedBytes in DeviceLess mode, where all bytes are copied.
func (p *Pool) countCopies(s *PoolStats) {
	if p.mode == DeviceLess {
		s.CopiedBytes = s.Bytes
	}
}

// addCopied adds the kernel's copy statistics, which are for all members. Called with mu
// held.
func (m *poolMemory) addCopied(s *PoolStats) {
	c := m.readCopied()
	s.CopiedFragments += c.fragments
	s.CopiedBytes += c.bytes
}

// SharedStats is a snapshot of a whole pool: the counters of its members, owner and
// importers, added up with those of members that have gone, and what the members share.
// Double releases and uses after release of a member's leases are counted as long as the
// member is on a ring.
type SharedStats struct {
	PoolStats

	Members       int `json:"members"`        // members on a ring
	Holders       int `json:"holders"`        // users of the memory: members with a user or a lease left, and open handles
	RefillEntries int `json:"refill_entries"` // size of the refill queue
	RefillPending int `json:"refill_pending"` // entries in it that the kernel has not taken
}

// SharedStats returns the statistics of the whole pool, where Stats returns those of this
// member. It returns the same for every member, also for a closed one. Safe from any
// goroutine.
func (p *Pool) SharedStats() SharedStats {
	m := p.memory
	m.mu.Lock()
	defer m.mu.Unlock()
	s := SharedStats{PoolStats: m.left, Members: len(m.members), Holders: m.refs, RefillEntries: int(m.entries)}
	s.Warnings = slices.Clone(m.left.Warnings)
	for _, member := range m.members {
		c := member.counters()
		s.add(&c)
	}
	s.Waiting = m.waiting.len()
	if m.region != nil {
		s.RefillPending = int(m.refillQueue.pending())
	}
	s.Returned, s.RefillFull = m.returns, m.refillFull
	s.Outstanding = m.outstanding()
	m.addCopied(&s.PoolStats)
	p.countCopies(&s.PoolStats)
	return s
}

// add adds another pool's counters.
func (s *PoolStats) add(o *PoolStats) {
	s.Completions += o.Completions
	s.Bytes += o.Bytes
	s.Returned += o.Returned
	s.Outstanding += o.Outstanding
	s.Waiting += o.Waiting
	s.RefillFull += o.RefillFull
	s.Flushes += o.Flushes
	s.FlushErrors += o.FlushErrors
	s.RearmedNoBuffer += o.RearmedNoBuffer
	s.RearmedQueueFull += o.RearmedQueueFull
	s.RearmedOther += o.RearmedOther
	s.Paused += o.Paused
	s.Rescues += o.Rescues
	s.RescuedBytes += o.RescuedBytes
	s.Stalls += o.Stalls
	s.UnreadBytes += o.UnreadBytes
	s.AllocFailures += o.AllocFailures
	s.CopyEvents += o.CopyEvents
	s.CopiedFragments += o.CopiedFragments
	s.CopiedBytes += o.CopiedBytes
	s.DoubleReleases += o.DoubleReleases
	s.UsesAfterRelease += o.UsesAfterRelease
	s.Warnings = addWarnings(s.Warnings, o.Warnings)
}
