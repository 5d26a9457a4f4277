package zcrx

// share bounds the leases that one receiver may have out of its pool. With that many out
// its receive is paused: the data stays in the socket, TCP's window closes, and the pool's
// other receivers continue.
type share struct {
	limit uint64

	// These belong to the loop's thread:
	taken uint64 // leases made
	seen  uint64 // how many of them were returned, as last read by refreshReturned

	// Guarded by the ledger's lock. Only the loop's thread writes receiver, and may read it
	// without the lock.
	returned uint64
	resumeAt uint64  // the number of returns that ends the pause; 0 if not paused
	earliest uint64  // the number of returns that leaves room for one lease
	receiver resumer // nil once it takes no more from this pool
}

// resumer is a receiver that can be resumed after a pause.
type resumer interface{ resume() }

// endPause makes the loop resume the receiver of s. Called with the ledger's lock held.
func (g *ledger) endPause(s *share) {
	s.resumeAt = 0
	if s.receiver != nil {
		g.resumable = append(g.resumable, s)
	}
}

// room returns how many leases may still be made, by the returns last read. It runs on the
// loop's thread.
func (s *share) room() uint64 {
	if s.usedUp() {
		return 0
	}
	return s.limit - (s.taken - s.seen)
}

// usedUp reports whether no more leases may be made, by the returns last read. It runs on
// the loop's thread.
func (s *share) usedUp() bool { return s.taken-s.seen >= s.limit }

// refreshReturned brings s.seen up to date. It runs on the loop's thread.
func (g *ledger) refreshReturned(s *share) {
	g.mu.Lock()
	s.seen = s.returned
	g.mu.Unlock()
}

// MaxLeases returns how many leases one receiver may have out of the pool: see
// PoolConfig.MaxLeases.
func (g *ledger) MaxLeases() int { return int(g.maxLeases) }

// pauseIfExhausted reports whether the share is used up. If so, the return that leaves half
// of it out resumes its receiver; after resumeEarly, the first return that makes room does.
// It runs on the loop's thread.
func (g *ledger) pauseIfExhausted(s *share) bool {
	if !s.usedUp() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.seen = s.returned
	if !s.usedUp() {
		return false
	}
	s.earliest = s.taken - s.limit + 1
	s.resumeAt = s.taken - s.limit/2
	return true
}

// resumeEarly lets the first return that makes room resume a paused receiver, because its
// consumer has taken everything and waits. It is safe from any goroutine.
func (g *ledger) resumeEarly(s *share) {
	var a alarm
	g.mu.Lock()
	if s.resumeAt > 0 && s.receiver != nil {
		s.resumeAt = s.earliest
		if s.returned >= s.earliest {
			g.endPause(s)
			g.alertLocked(true, &a)
		}
	}
	g.mu.Unlock()
	a.raise()
}

// resumeSoon makes the loop resume a paused receiver, whatever is left of its share. It is
// safe from any goroutine.
func (g *ledger) resumeSoon(s *share) {
	var a alarm
	g.mu.Lock()
	if s.receiver != nil {
		g.resumable = append(g.resumable, s)
		g.alertLocked(true, &a)
	}
	g.mu.Unlock()
	a.raise()
}

// endShare detaches a receiver that takes no more from this pool. It runs on the loop's
// thread.
func (g *ledger) endShare(s *share) {
	g.mu.Lock()
	s.receiver = nil
	g.mu.Unlock()
}

// resumePaused resumes the receivers whose pause has ended. It runs on the loop's thread,
// after the turn has cleared woken: a return that comes later asks for another turn.
func (g *ledger) resumePaused() {
	g.mu.Lock()
	resumable := g.resumable
	g.resumable = nil
	g.mu.Unlock()
	for _, s := range resumable {
		if s.receiver != nil {
			s.receiver.resume()
		}
	}
}

// The number of Buffers that a new connection may be ahead of its consumer: an eighth of
// the pool's buffers divided by its connections, within these bounds.
const (
	mostReadAhead  = 64
	mostAheadBytes = 256 << 10 // in bytes, but at least two Buffers
	leastReadAhead = 8
)

// firstReadAhead returns how many Buffers a new connection may be ahead of its consumer, in a
// pool of as many buffers and receivers, with buffers of size bytes.
func firstReadAhead(buffers, receivers int, size uint64) int {
	most := mostFirstAhead(size)
	return min(max(buffers/(8*max(1, receivers)), leastReadAhead), most)
}

// mostFirstAhead is the largest firstReadAhead: with large buffers fewer than mostReadAhead,
// or each connection that is not read could take megabytes.
func mostFirstAhead(size uint64) int {
	return int(min(max(mostAheadBytes/max(size, 1), 2), mostReadAhead))
}

// wakeUp puts a value into a channel with room for one, unless it is full.
func wakeUp(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
