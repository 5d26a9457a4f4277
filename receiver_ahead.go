package zcrx

import (
	"sync"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// readAhead bounds how far a receiver may be ahead of its consumer: how much it hands
// over that nobody takes, and how much its socket may queue, which in ZeroCopy mode lies
// in the pool as well. A connection begins with little, so that any number of them that
// nobody reads leave the pool to the others; whose consumer keeps up may be twice as far
// ahead each time, up to its share. What no lock guards belongs to the loop's thread.
type readAhead struct {
	mayBeAhead int  // in Buffers
	handedOver bool // some were, since mayBeAhead was set
	behind     bool // the consumer is: r is paused until he has taken half of what is there

	windowMu  sync.Mutex
	bounded   bool // guarded by windowMu: we set the size of the socket's receive buffer
	ownWindow bool // guarded by windowMu: the program has set it, and it stays
}

// startAhead begins on the receiver's pool.
func (r *Receiver) startAhead() {
	first := firstReadAhead(r.pool.size(), len(r.pool.users().all))
	r.mayBeAhead = min(max(r.mayBeAhead, first), int(r.pool.accounts().maxLeases))
	r.windowMu.Lock()
	r.ownWindow = r.ownWindow || !r.bounded && sys.ReceiveBufferIsSet(r.socket.fd)
	r.windowMu.Unlock()
	r.fitWindow()
}

// caughtUp tells the consumer of a receiver that is ahead, who has just taken some, whether
// r is to be resumed. It is called with mu held, by any goroutine.
func (r *Receiver) caughtUp() bool {
	if r.incoming.len() > r.enough {
		return false
	}
	r.ahead = false
	return true
}

// keepUp lets r be further ahead if its consumer has taken all that was handed over. That
// there was nothing to take yet shows nothing.
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

func (r *Receiver) goFurtherAhead() {
	most := int(r.pool.accounts().maxLeases)
	if r.mayBeAhead == most {
		return
	}
	r.mayBeAhead, r.handedOver = min(2*r.mayBeAhead, most), false
	r.fitWindow()
}

// fitWindow sets the size of the socket's receive buffer, or leaves it to the kernel
// where its own bound is below ours.
func (r *Receiver) fitWindow() {
	bytes := r.pool.window(r.mayBeAhead)
	r.windowMu.Lock()
	defer r.windowMu.Unlock()
	if r.ownWindow || bytes == 0 && !r.bounded {
		return
	}
	r.bounded = bytes > 0
	if err := sys.BoundReceiveBuffer(r.socket.fd, bytes); err != nil {
		r.loop.report("bound receive window", err) // it works, less fairly
	}
}

// setReceiveBuffer sets the size for the program, in bytes. From then on it stays. Any
// goroutine may call it.
func (r *Receiver) setReceiveBuffer(bytes int) error {
	r.windowMu.Lock()
	defer r.windowMu.Unlock()
	err := r.socket.use(func(fd int) error { return sys.SetReceiveBuffer(fd, bytes) })
	r.ownWindow = r.ownWindow || err == nil
	return err
}
