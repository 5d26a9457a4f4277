package zcrx

import (
	"sync"
	"time"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// readAhead bounds how far a receiver may be ahead of its consumer: how many Buffers it
// hands over that are not taken, and how many bytes its socket may queue, which in ZeroCopy
// mode lie in the pool as well. A connection begins with a small bound, so that many
// connections that are not read leave buffers to the others. The bound doubles each time
// the consumer has kept up, up to the receiver's share. Fields that no lock guards belong
// to the loop's thread.
type readAhead struct {
	mayBeAhead int  // in Buffers
	handedOver bool // Buffers were handed over since mayBeAhead was set
	// pausedAhead: the receive is paused until the consumer has taken half of what was there.
	pausedAhead bool

	takesSeen uint64    // Receiver.takes, as unreadLeases last saw it
	idleSince time.Time // when it saw that

	windowMu  sync.Mutex
	bounded   bool // guarded by windowMu: the receiver has set the size of the socket's receive buffer
	ownWindow bool // guarded by windowMu: the program has set that size, and it is left alone
}

// startAhead sets the bound when the receiver is attached to a pool.
func (r *Receiver) startAhead() {
	first := firstReadAhead(r.pool.size(), len(r.pool.users().all), uint64(r.pool.BufferSize()))
	r.mayBeAhead = min(max(r.mayBeAhead, first), int(r.pool.accounts().maxLeases))
	r.windowMu.Lock()
	r.ownWindow = r.ownWindow || !r.bounded && r.pool.Mode() == ZeroCopy && sys.ReceiveBufferIsSet(r.socket.fd)
	r.windowMu.Unlock()
	r.fitWindow()
}

// caughtUp reports whether the consumer of a receiver that is too far ahead has taken
// enough, so that the caller must resume it. Called with mu held; safe from any goroutine.
func (r *Receiver) caughtUp() bool {
	if r.incoming.len() > r.resumeLen {
		return false
	}
	r.tooFarAhead = false
	return true
}

// keepUp raises the bound if the consumer has taken everything that was handed over. If
// nothing was handed over, it changes nothing.
func (r *Receiver) keepUp() {
	if !r.handedOver {
		return
	}
	r.mu.Lock()
	keepsUp := r.incoming.len() == 0
	r.mu.Unlock()
	if keepsUp {
		r.goFurtherAhead()
	}
}

// goFurtherAhead doubles the bound, up to the share.
func (r *Receiver) goFurtherAhead() {
	most := int(r.pool.accounts().maxLeases)
	if r.mayBeAhead == most {
		return
	}
	r.mayBeAhead, r.handedOver = min(2*r.mayBeAhead, most), false
	r.fitWindow()
}

// fitWindow sets the size of the socket's receive buffer, or leaves it to the kernel where
// the kernel's own bound is smaller.
func (r *Receiver) fitWindow() {
	bytes := r.pool.window(r.mayBeAhead)
	r.windowMu.Lock()
	defer r.windowMu.Unlock()
	if r.ownWindow || bytes == 0 && !r.bounded {
		return
	}
	r.bounded = bytes > 0
	if err := sys.BoundReceiveBuffer(r.socket.fd, bytes); err != nil {
		r.loop.report("bound receive window", err) // receiving works without it, but less fairly
	}
}

// setReceiveBuffer sets the size in bytes for the program. From then on fitWindow leaves it
// alone. It is safe from any goroutine.
func (r *Receiver) setReceiveBuffer(bytes int) error {
	r.windowMu.Lock()
	defer r.windowMu.Unlock()
	err := r.socket.use(func(fd int) error { return sys.SetReceiveBuffer(fd, bytes) })
	r.ownWindow = r.ownWindow || err == nil
	return err
}

// unreadLeases returns how many leases of the pool the consumer has not taken, and whether it
// has taken nothing for so long that their bytes may be moved: since an earlier call, at
// least unreadPause ago, or readPause if it has ever taken something.
func (r *Receiver) unreadLeases(now time.Time) (leases int, idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	leases = r.incoming.inPool()
	if leases == 0 || r.takes != r.takesSeen || r.idleSince.IsZero() {
		r.takesSeen, r.idleSince = r.takes, now
		return leases, false
	}
	pause := unreadPause
	if r.takes > 0 {
		pause = readPause
	}
	return leases, now.Sub(r.idleSince) >= pause
}

// moveUnread moves the bytes that the consumer has not taken out of the pool. It returns how
// many leases they were.
func (r *Receiver) moveUnread() (freed int) {
	g := r.pool.accounts()
	r.mu.Lock()
	leases, bytes := r.incoming.moveOut(g)
	r.mu.Unlock()
	g.movedOut(leases)
	r.pool.users().unreadBytes.Add(uint64(bytes))
	return len(leases)
}
