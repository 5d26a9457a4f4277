package zcrx

// share bounds the leases that one receiver may have out of its pool. When it has
// that many, its receive is paused: the data stays in the socket, TCP's window
// closes, and the pool's other receivers go on.
type share struct {
	limit uint64

	// Of the loop's thread:
	taken uint64 // leases made
	seen  uint64 // of them returned, as last looked up

	// Guarded by the ledger's lock. receiver is written by the loop's thread alone,
	// which may therefore read it without.
	returned uint64
	resumeAt uint64  // the return that ends the pause; 0 if there is none
	earliest uint64  // the return that would leave room for one
	receiver resumer // nil once it takes nothing more from this pool
}

// resumer is paused while its share is used up.
type resumer interface{ resume() }

// endPause has the loop resume the receiver of s. It is called with the ledger's lock
// held.
func (g *ledger) endPause(s *share) {
	s.resumeAt = 0
	if s.receiver != nil {
		g.resumable = append(g.resumable, s)
	}
}

// room is how many leases may still be made, as far as returns were looked up. It
// is for the loop's thread.
func (s *share) room() uint64 {
	if s.usedUp() {
		return 0
	}
	return s.limit - (s.taken - s.seen)
}

// usedUp tells whether no more may be made, as far as returns were looked up. It is for
// the loop's thread.
func (s *share) usedUp() bool { return s.taken-s.seen >= s.limit }

// refreshReturned brings s.room up to date. It is for the loop's thread.
func (g *ledger) refreshReturned(s *share) {
	g.mu.Lock()
	s.seen = s.returned
	g.mu.Unlock()
}

// MaxLeases returns how many leases one receiver may have out of the pool: see
// PoolConfig.MaxLeases.
func (g *ledger) MaxLeases() int { return int(g.maxLeases) }

// pauseIfExhausted tells whether the share has no room left. If so, the return that leaves
// half of it will have its receiver resumed, or the first that makes room if there is
// nothing that the consumer could still take: see resumeEarly. It is for the loop's thread.
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

// resumeEarly has a paused receiver resumed by the first return that makes room: its
// consumer took all there is, and waits. Any goroutine may call it.
func (g *ledger) resumeEarly(s *share) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.resumeAt == 0 || s.receiver == nil {
		return
	}
	s.resumeAt = s.earliest
	if s.returned >= s.earliest {
		g.endPause(s)
		g.alertLocked(true)
	}
}

// resumeSoon has the loop resume a paused receiver, whatever its share. Any goroutine
// may call it.
func (g *ledger) resumeSoon(s *share) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.receiver != nil {
		g.resumable = append(g.resumable, s)
		g.alertLocked(true)
	}
}

// endShare: nothing more is taken from this pool. It is for the loop's thread.
func (g *ledger) endShare(s *share) {
	g.mu.Lock()
	s.receiver = nil
	g.mu.Unlock()
}

// resumePaused resumes the receivers whose pause has ended. It is for the loop's
// thread, in a turn that cleared woken before: a return that comes after the look
// asks for another turn.
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

// A connection that has just begun may be this far ahead: enough not to stop and go, but
// of all that there are on the pool about an eighth together.
const (
	mostReadAhead  = 64
	leastReadAhead = 8
)

func firstReadAhead(buffers, receivers int) int {
	return min(max(buffers/(8*max(1, receivers)), leastReadAhead), mostReadAhead)
}

// wakeUp puts a value into a channel that holds one.
func wakeUp(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default: // one wake-up is there already
	}
}
