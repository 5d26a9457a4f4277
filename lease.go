package zcrx

import (
	"math"
	"sync"
	"sync/atomic"
	"unsafe"
)

// lease is the record of a Buffer: one for every completion whose bytes are out. Records
// are reused and never freed. So a stale Buffer always finds its record, sees that its
// generation has changed, and is refused.
type lease struct {
	// generation counts the record's leases. A Buffer holds the generation of its lease.
	// Ending a lease increments the generation under the ledger's lock, so exactly one
	// Release succeeds. Bytes reads it without the lock.
	generation generation
	token      uint64 // identifies the buffer to its pool: see outsidePool; set before the Buffer is made
	home       *ledger
	share      *share // the share of the receiver that it was made for, or nil; set before the Buffer is handed over
	next       *lease // in ledger.spare or ledger.returned, or in a run of returns
}

// Tokens from outsidePool on are those of leases whose bytes lie in ordinary memory: nothing
// is returned to the kernel for them. No other token has these bits: there are at most 1024
// areas.
const (
	outsidePool = uint64(math.MaxUint32) << 32
	// rescuedToken is the token of bytes that never lay in the pool: see Pool.rescue. That of
	// bytes that were moved out of it contains how many they are: see ledger.movedOut.
	rescuedToken = ^uint64(0)
)

// refiller is the part of a pool that returns buffers to the kernel. Its methods are called
// with the ledger's lock held.
type refiller interface {
	// giveBack returns the buffers of n leases, linked by next, to the kernel. ended says
	// whether the leases have ended; if not, their bytes were moved out of the buffers. It
	// returns which loops must be woken: those that wait for a return, and one that can make
	// room if the kernel has none.
	giveBack(run *lease, n int, ended bool) alarm
	// returnCount returns how many returns there were so far that may let a waiting receive
	// continue, to this ledger and to those that share its memory. It counts leases or
	// buffers, depending on the pool.
	returnCount() uint64
	// starvingChanged is called when the ledger's starving changes.
	starvingChanged(on bool)
	// free unmaps the memory. No lease is out and none will be made.
	free()
}

// alarm is the loops that are to be woken. Who makes one, under a pool's lock, raises it after
// the lock is released: waking a loop may take a system call.
//
// No wake-up is lost in between. Under the lock woken was set, so that others leave the
// waking to this goroutine, and it is cleared only at the beginning of a turn, under the
// lock: a turn that begins before the alarm is raised sees what the alarm is for.
type alarm struct {
	first *ledger
	more  []*ledger // only a pool with several members has more than one
}

func (a *alarm) add(g *ledger) {
	if a.first == nil {
		a.first = g
		return
	}
	a.more = append(a.more, g)
}

// raise wakes the loops. It is called without a pool's lock.
func (a alarm) raise() {
	if a.first == nil {
		return
	}
	a.first.wake()
	for _, g := range a.more {
		g.wake()
	}
}

// ledger accounts for the leases of one pool. Every lease record is in one of three places:
// spare (a chain of the loop's own), out (in a Buffer), or returned (released, and not yet
// taken by the loop).
type ledger struct {
	refiller refiller
	wake     func() // makes the pool's loop run a turn; safe from any goroutine
	// maxLeases is how many leases one receiver may have out. It never changes.
	maxLeases uint64

	// spare is the chain of free records. It belongs to the loop's thread.
	spare *lease

	// wasStarving is the value that the loop last set starving to. It belongs to the loop's
	// thread.
	wasStarving bool

	// leased and leasedBytes count leases and their bytes. They belong to the loop's
	// thread, because an atomic store for each lease would cost as much as its release.
	// count copies them to completions and bytes before the leases are handed over.
	leased      uint64
	leasedBytes uint64
	completions atomic.Uint64
	bytes       atomic.Uint64

	doubleReleases   atomic.Uint64
	usesAfterRelease atomic.Uint64

	mu *sync.Mutex // its own, or the one shared by the members of a pool
	// Guarded by mu:
	moved    *moved // its own, or shared as mu is
	returned *lease // released records
	returns  uint64 // leases released so far
	starving bool   // a receive waits for a buffer: the next return wakes the loop
	woken    bool   // the loop was woken and has not begun a turn since
	// resumable are the shares whose receivers the loop resumes in its next turn.
	resumable []*share
	users     int // the pool itself and its receivers; 0: no more leases are made
	freed     bool
}

func (g *ledger) init(mu *sync.Mutex, r refiller, wake func()) {
	g.mu, g.moved, g.refiller, g.wake, g.users = mu, new(moved), r, wake, 1
}

// moved counts the leases that are out whose bytes were moved out of the pool.
type moved struct {
	leases int
	bytes  uint64
}

// ended counts the end of a lease whose bytes lie outside the pool.
func (m *moved) ended(token uint64) {
	if token != rescuedToken {
		m.leases--
		m.bytes -= token - outsidePool
	}
}

// leaseChunk is the number of records made at a time.
const leaseChunk = 256

// lease makes a Buffer of n bytes at data. token is passed back to the pool when the lease
// ends. It runs on the loop's thread, and allocates only while the number of leases out at
// the same time still grows.
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

// count makes the numbers of leases and bytes so far visible to other goroutines. The loop
// calls it before it hands leases over, and before the pool releases its memory.
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

// takeBack ends the leases of the leading buffers that belong to this ledger, and returns
// their memory to the pool. The last return after the pool has closed also unmaps the
// memory. takeBack returns how many buffers it looked at, and how many of these had been
// released before.
func (g *ledger) takeBack(buffers []Buffer) (seen, doubles int) {
	g.mu.Lock()
	seen, doubles, a := g.takeBackLocked(buffers)
	g.mu.Unlock()
	a.raise()
	return seen, doubles
}

func (g *ledger) takeBackLocked(buffers []Buffer) (seen, doubles int, a alarm) {
	var first, last *lease
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
		if l.token >= outsidePool {
			g.moved.ended(l.token)
		}
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
		return seen, doubles, a
	}
	g.returns += uint64(seen - doubles)
	if !g.freed {
		a = g.refiller.giveBack(first, seen-doubles, true)
	}
	if len(g.resumable) > 0 {
		g.alertLocked(true, &a)
	}
	last.next = g.returned
	g.returned = first
	if g.users == 0 {
		g.freeIfUnused()
	}
	return seen, doubles, a
}

// movedOut gives the buffers of leases back whose bytes were copied to other memory. The
// leases stay, and are charged to their share as before; that of one that has ended
// meanwhile is back already. It is safe from any goroutine.
func (g *ledger) movedOut(buffers []Buffer) {
	g.mu.Lock()
	var run *lease
	n := 0
	for i := len(buffers) - 1; i >= 0; i-- {
		if l := buffers[i].lease; l.generation.load() == buffers[i].generation {
			l.next, run = run, l
			n++
		}
	}
	var a alarm
	if run != nil {
		a = g.refiller.giveBack(run, n, false)
	}
	for i := range buffers {
		if l := buffers[i].lease; l.generation.load() == buffers[i].generation {
			l.token, l.next = outsidePool|uint64(buffers[i].length), nil
			g.moved.leases++
			g.moved.bytes += uint64(buffers[i].length)
		}
	}
	g.mu.Unlock()
	a.raise()
}

// alertLocked adds the loop to a if needed is set or the loop waits for a return, unless it
// was woken before. It returns whether the loop will run a turn.
func (g *ledger) alertLocked(needed bool, a *alarm) bool {
	if (!needed && !g.starving) || g.users == 0 {
		return false
	}
	if !g.woken {
		g.woken = true
		a.add(g)
	}
	return true
}

// addUser counts one more user that may lease. It returns false if the pool has no user any
// more.
func (g *ledger) addUser() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users == 0 {
		return false
	}
	g.users++
	return true
}

// inUse reports whether leases may still be made.
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

// hasLeases reports whether leases are out.
func (g *ledger) hasLeases() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outstandingLocked() > 0
}

// outstandingLocked returns the number of leases that are out. It is at least 0: the loop
// may have released leases before it counted them.
func (g *ledger) outstandingLocked() int {
	return max(0, int(g.completions.Load()-g.returns))
}

// seenReturns returns the number of returns so far, for setStarving.
func (g *ledger) seenReturns() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refiller.returnCount()
}

// setStarving sets whether a receive waits for a return after the first seen ones, in which
// case that return wakes the loop. It returns false if the return has already come: then
// the loop can try again. It runs on the loop's thread.
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
