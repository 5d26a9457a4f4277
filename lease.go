package zcrx

import (
	"sync"
	"sync/atomic"
	"unsafe"
)

// lease is the record behind a Buffer: one for every completion whose bytes are
// out. Records are reused and never freed, so a stale Buffer always finds its
// record, sees another generation there, and is refused.
type lease struct {
	// generation counts the record's leases. A Buffer carries that of its own;
	// ending a lease increments it, under the ledger's lock: of any number of
	// releases, exactly one succeeds. Bytes reads it without the lock.
	generation generation
	token      uint64 // what goes back to the kernel; set before the Buffer is made
	home       *ledger
	share      *share // of the receiver that it was made for, or nil; set before the Buffer is handed over
	next       *lease // in ledger.spare or ledger.returned, or in a run of returns
}

// refiller is a pool's memory. Its methods are called with the ledger's lock held.
type refiller interface {
	// giveBack puts the tokens of n ended leases, which hang together by next, where
	// the kernel finds them, and gives a turn to the loops that wait for a return, and
	// to one that makes room if the kernel has none.
	giveBack(run *lease, n int)
	// returnCount counts what came back so far, to this ledger and to those that
	// share its memory, and may feed a receive that waits: leases, or buffers.
	returnCount() uint64
	// starvingChanged tells that the ledger's starving was turned on or off.
	starvingChanged(on bool)
	// free unmaps the memory: no lease is out and nobody will lease again.
	free()
}

// ledger accounts for the leases of one pool. Every lease is in one of three
// places: spare (the loop's own chain), out (held by somebody as a Buffer), or
// returned (on its way back to the loop's chain).
type ledger struct {
	refiller refiller
	wake     func() // gives the pool's loop a turn; any goroutine may call it
	// maxLeases is how many leases one receiver may have out. It does not change.
	maxLeases uint64

	// spare is the chain of records that the loop takes from. The loop's thread
	// alone touches it.
	spare *lease

	// wasStarving is what the loop last set starving to. The loop's thread alone
	// touches it.
	wasStarving bool

	// leased and leasedBytes count what was leased. They are the loop's thread's
	// own: an atomic store per lease would cost as much as its release. count
	// shows them to the others, before they can have any of these leases.
	leased      uint64
	leasedBytes uint64
	completions atomic.Uint64
	bytes       atomic.Uint64

	doubleReleases   atomic.Uint64
	usesAfterRelease atomic.Uint64

	mu *sync.Mutex // its own, or the one that the members of a pool share
	// Guarded by mu:
	returned *lease // records given back
	returns  uint64 // leases given back so far
	starving bool   // a receive waits for a buffer: the next return wakes the loop
	woken    bool   // a turn was asked for and has not come
	// resumable are the shares whose receivers a return has unpaused, for the
	// loop's next turn.
	resumable []*share
	users     int // the pool itself and each receiver: may lease again
	freed     bool
}

func (g *ledger) init(mu *sync.Mutex, r refiller, wake func()) {
	g.mu, g.refiller, g.wake, g.users = mu, r, wake, 1
}

// leaseChunk is the number of records made at a time.
const leaseChunk = 256

// lease makes a Buffer of n bytes at data, whose return is token. It runs on
// the loop's thread and allocates only while the number of leases that are out
// at once still grows.
func (g *ledger) lease(data unsafe.Pointer, n uint32, token uint64) Buffer {
	l := g.spare
	if l == nil {
		l = g.moreRecords()
	}
	g.spare = l.next
	l.token = token
	g.leased++
	g.leasedBytes += uint64(n)
	return Buffer{lease: l, generation: l.generation.load(), data: data, length: n}
}

// count shows what was leased so far. The loop calls it before it hands leases
// over, and before the pool gives up its memory.
func (g *ledger) count() {
	if g.completions.Load() != g.leased {
		g.bytes.Store(g.leasedBytes)
		g.completions.Store(g.leased)
	}
}

func (g *ledger) moreRecords() *lease {
	g.mu.Lock()
	chain := g.returned
	g.returned = nil
	g.mu.Unlock()
	if chain != nil {
		return chain
	}
	records := make([]lease, leaseChunk)
	for i := range records {
		records[i].home = g
		if i+1 < len(records) {
			records[i].next = &records[i+1]
		}
	}
	return &records[0]
}

// takeBack ends the leases of the leading buffers that belong to this ledger, gives their
// memory back and frees it after the very last return. It returns how many buffers it
// looked at, and how many of these leases had ended before.
func (g *ledger) takeBack(buffers []Buffer) (seen, doubles int) {
	var first, last *lease
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range buffers {
		l := buffers[i].lease
		if l == nil || l.home != g {
			break
		}
		seen++
		generation := l.generation.load()
		if generation != buffers[i].generation {
			doubles++
			continue
		}
		l.generation.store(generation + 1)
		if s := l.share; s != nil {
			l.share = nil
			if s.returned++; s.returned == s.resumeAt {
				g.endPause(s)
			}
		}
		l.next = nil
		if last == nil {
			first = l
		} else {
			last.next = l
		}
		last = l
	}
	if first == nil {
		return seen, doubles
	}
	g.returns += uint64(seen - doubles)
	if !g.freed {
		g.refiller.giveBack(first, seen-doubles)
	}
	if len(g.resumable) > 0 {
		g.alertLocked(true)
	}
	last.next = g.returned
	g.returned = first
	if g.users == 0 {
		g.freeIfUnused()
	}
	return seen, doubles
}

// alertLocked gives the loop a turn if it is needed or waits for a return, and
// returns whether it will have one. Waking takes the loop's lock, which nobody
// holds while taking this one.
func (g *ledger) alertLocked(needed bool) bool {
	if (!needed && !g.starving) || g.users == 0 {
		return false
	}
	if !g.woken {
		g.woken = true
		g.wake()
	}
	return true
}

// addUser notes one more that may lease, false if the memory has gone.
func (g *ledger) addUser() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users == 0 {
		return false
	}
	g.users++
	return true
}

// inUse tells whether anybody may lease still.
func (g *ledger) inUse() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.users > 0
}

func (g *ledger) dropUser() {
	g.mu.Lock()
	g.users--
	g.freeIfUnused()
	g.mu.Unlock()
}

func (g *ledger) freeIfUnused() {
	if g.users == 0 && !g.freed && g.outstandingLocked() == 0 {
		g.freed = true
		g.refiller.free()
	}
}

func (g *ledger) stats() PoolStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.statsLocked()
}

func (g *ledger) statsLocked() PoolStats {
	return PoolStats{
		Completions: g.completions.Load(), Bytes: g.bytes.Load(),
		Returned: g.returns, Outstanding: g.outstandingLocked(),
		DoubleReleases: g.doubleReleases.Load(), UsesAfterRelease: g.usesAfterRelease.Load(),
	}
}

// hasLeases tells whether leases are out.
func (g *ledger) hasLeases() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outstandingLocked() > 0
}

// outstandingLocked is the number of leases that are out, as far as they were
// counted: the loop may have given some back before it did.
func (g *ledger) outstandingLocked() int {
	return max(0, int(g.completions.Load()-g.returns))
}

// seenReturns is the number of returns so far, for setStarving.
func (g *ledger) seenReturns() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refiller.returnCount()
}

// setStarving tells whether a receive waits for a return after the seen-th, so
// that this return wakes the loop. It returns false if it has come already: then
// there is something to try again with. It is for the loop's thread.
func (g *ledger) setStarving(starving bool, seen uint64) bool {
	if !starving && !g.wasStarving {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.starving = starving && g.refiller.returnCount() == seen
	if g.starving != g.wasStarving {
		g.wasStarving = g.starving
		g.refiller.starvingChanged(g.starving)
	}
	return g.starving == starving
}
