package zcrx

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// How a loop and the pools on it end.

// closePatience bounds how long a closing loop waits for cancelled requests to
// complete. The kernel cancels what is left when the ring goes.
const closePatience = 2 * time.Second

// Close ends the loop: functions posted before still run, receivers end with
// ErrClosed, requests in flight are cancelled and their data collected, pools
// are closed, and the ring is given up. Buffers that are out stay valid. Close
// waits for all that, unless it is called on the loop itself. It is idempotent
// and returns the error that ended the loop, if one did.
func (l *Loop) Close() error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.wake()
	if l.OnLoop() {
		return nil
	}
	<-l.done
	return l.err
}

func (l *Loop) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing
}

// stop is what the loop's thread does last. The order matters: first nobody
// may begin anything, then everything in flight ends, then the pools' memory is
// given up, then the ring.
func (l *Loop) stop() {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.stopping = true
	l.runPosted()
	for _, s := range l.sources {
		s.failReceivers(ErrClosed)
	}
	if l.err == nil {
		l.cancelAll()
	}
	for len(l.sources) > 0 {
		s := l.sources[0]
		s.abandonReceivers()
		l.dropSource(s) // if the last receiver of a closing pool has not done it
	}
	l.publish()
	if err := l.release(); err != nil && l.err == nil {
		l.err = err
	}
}

// cancelAll cancels every request and collects what still completes.
func (l *Loop) cancelAll() {
	s, err := l.newRequest(completerFunc(func(*uring.CQE) {}))
	if err != nil {
		return // the ring's end cancels them
	}
	s.PrepCancel(0, uring.CancelAll|uring.CancelAny)
	for deadline := time.Now().Add(closePatience); l.ops.live > 0; {
		l.kick.Store(false)
		left := time.Until(deadline)
		if left <= 0 || l.turn(left) != nil {
			return
		}
	}
}

// addSource gives the pool a place in every turn. It is for the loop's thread.
func (l *Loop) addSource(s turnSource) { l.sources = append(l.sources, s) }

// hasSource tells whether the pool has its place still. It is for the loop's
// thread.
func (l *Loop) hasSource(s turnSource) bool { return slices.Contains(l.sources, s) }

// dropSource ends the pool's part on the ring, and its own use of its memory. It
// is for the loop's thread.
func (l *Loop) dropSource(s turnSource) {
	for i, other := range l.sources {
		if other == s {
			// A new slice: somebody up the stack may be walking the old one.
			l.sources = slices.Concat(l.sources[:i], l.sources[i+1:])
			s.count()
			s.detach(l.ring)
			s.dropUser()
			return
		}
	}
}

// closeSource ends a pool from any goroutine. Its receivers end first, and keep
// the memory until their last completion has come.
func (l *Loop) closeSource(s turnSource) error {
	err := l.do(func() error {
		if l.hasSource(s) {
			s.closeReceivers(func() { l.dropSource(s) })
		}
		return nil
	})
	if errors.Is(err, ErrClosed) {
		return nil // the loop closed it
	}
	return err
}

// bufferGroups are the provided-buffer groups of a ring, by number.
type bufferGroups struct {
	next uint32
	free []uint16
}

func (l *Loop) newBufferGroup() (uint16, error) {
	g := &l.groups
	if n := len(g.free); n > 0 {
		group := g.free[n-1]
		g.free = g.free[:n-1]
		return group, nil
	}
	if g.next > 1<<16-1 {
		return 0, fmt.Errorf("zcrx: all 65536 provided-buffer groups of the ring are in use")
	}
	g.next++
	return uint16(g.next - 1), nil
}

func (l *Loop) freeBufferGroup(group uint16) { l.groups.free = append(l.groups.free, group) }
