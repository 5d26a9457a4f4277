package zcrx

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/zcrx-go/zcrx/uring"
)

// The end of a loop and of the pools on it.

// closeTimeout bounds how long a closing loop waits for cancelled requests to complete. The
// kernel cancels the rest when the ring is closed.
const closeTimeout = 2 * time.Second

// Close ends the loop. Functions posted before still run, receivers end with ErrClosed,
// requests in flight are cancelled and their data collected, pools are closed, and the ring
// is closed. Buffers that are out stay valid. Close waits for all that, unless it is called
// on the loop itself. It may be called repeatedly, and returns the error that ended the
// loop, if there was one.
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

// stop is the last thing that the loop's thread does. The order matters: new work is
// refused, then everything in flight ends, then the pools' memory is released, then the
// ring is closed.
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
		l.dropSource(s) // unless the last receiver of a closing pool has done it
	}
	l.publish()
	l.ops.keepForEver()
	if err := l.release(); err != nil && l.err == nil {
		l.err = err
	}
}

// cancelAll cancels every request and collects what still completes.
func (l *Loop) cancelAll() {
	s, err := l.newRequest(completerFunc(func(*uring.CQE) {}))
	if err != nil {
		return // closing the ring cancels them
	}
	s.PrepCancel(0, uring.CancelAll|uring.CancelAny)
	for deadline := time.Now().Add(closeTimeout); l.ops.live > 0; {
		l.kick.Store(false)
		left := time.Until(deadline)
		if left <= 0 || l.turn(left) != nil {
			return
		}
	}
}

// addSource adds a pool to every turn. It runs on the loop's thread.
func (l *Loop) addSource(s turnSource) { l.sources = append(l.sources, s) }

// hasSource reports whether the pool is part of the loop's turns. It runs on the loop's
// thread.
func (l *Loop) hasSource(s turnSource) bool { return slices.Contains(l.sources, s) }

// dropSource removes the pool from the loop and the ring, and ends its own use of its
// memory. It runs on the loop's thread.
func (l *Loop) dropSource(s turnSource) {
	for i, other := range l.sources {
		if other == s {
			// A new slice: a caller up the stack may be iterating over the old one.
			l.sources = slices.Concat(l.sources[:i], l.sources[i+1:])
			s.count()
			s.detach(l.ring)
			s.dropUser()
			return
		}
	}
}

// closeSource closes a pool. Its receivers end first; the memory stays mapped until their
// last completion. It is safe from any goroutine.
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

// bufferGroups allocates the numbers of a ring's provided-buffer groups. It belongs to the
// loop's thread.
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
