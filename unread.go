package zcrx

import (
	"cmp"
	"slices"
	"time"
)

// A pool must not run dry because of data that is not read: of connections whose peers send
// and whose programs do not receive. Such data is bounded for each connection (see
// readAhead), but there may be any number of them. So when other connections are in need,
// unread bytes are moved to the heap and their buffers go back: then they cost what they
// would cost in the kernel's socket buffers. They remain leases, charged to their receiver.
// What a consumer has taken and not released is its own; it is bounded by
// PoolConfig.MaxLeases.
//
// A receiver's unread bytes are moved only for the sake of another one, only when its
// consumer has taken nothing for a while, and first from the receiver that has most of them.
// A copying pool is in need when a receive waits for a buffer: nothing is lost meanwhile. A
// hardware queue without a free buffer drops packets, so there a pool is in need as soon as
// less than an eighth of it is left.
//
// The memory is bounded, too. While more than half of the buffers are out, or as much as half
// of them and mostFirstAhead buffers for each connection was moved, a connection is paused
// when its first read-ahead is unread (firstReadAhead: 8 to 64 Buffers, fewer large ones). So what is moved is
// never more than that, but for each connection's first read-ahead and what one turn of the
// loop brings.

const (
	// unreadPause is how long a connection that was never read from is left alone in a pool in
	// need, and how often such a pool is looked over.
	unreadPause = 2 * time.Millisecond
	// readPause is the same for a connection that was read from before. Its reader may be
	// slow, or kept off the CPU.
	readPause = 100 * time.Millisecond
	// unreadVisits and mostMoved bound the work of one look: receivers, and bytes.
	unreadVisits = 1024
	mostMoved    = 1 << 20
)

// unreadWatch looks for data that is not read. It belongs to the loop's thread.
type unreadWatch struct {
	scarce bool      // no connection gets further ahead
	next   time.Time // of the next look, not before
	timer  time.Time // when the timer that was set last makes the loop run a turn
	cursor int       // of receiverList.all
	idle   []idleReceiver
}

// idleReceiver is a receiver that has not been read from, and how many leases that would free.
type idleReceiver struct {
	consumer
	leases int
}

// strain is how much of a pool is in use, and who needs it.
type strain struct {
	out        int    // buffers that are leased, by all members of the pool
	size       int    // buffers of the pool
	bufferSize uint64 // in bytes
	moved      uint64 // bytes out that were moved to the heap
	receivers  int    // of all members
	runsLow    bool   // packets are lost soon
	othersWait bool   // a receiver of another member waits for a buffer
}

// scarce reports whether no connection should get further ahead of its consumer.
func (s *strain) scarce() bool {
	return s.out > s.size/2 || s.moved > uint64(s.size/2+mostFirstAhead(s.bufferSize)*s.receivers)*s.bufferSize
}

// relieve has unread bytes moved to the heap, if a receiver is in need of buffers that
// others hold. It returns whether one is.
func (rl *receiverList) relieve(l *Loop, s *strain) (inNeed bool) {
	w := &rl.unread
	w.scarce = s.scarce()
	if s.receivers < 2 || len(rl.waiting) == 0 && !s.othersWait && !s.runsLow {
		return false
	}
	now := time.Now()
	if now.Before(w.next) || rl.moveUnread(s, now) {
		w.lookAgain(l, now)
	}
	return true
}

// lookAgain makes the loop run a turn at the time of the next look.
func (w *unreadWatch) lookAgain(l *Loop, now time.Time) {
	if w.timer.After(now) {
		return
	}
	w.timer = w.next
	time.AfterFunc(w.next.Sub(now), l.wake)
}

// moveUnread goes around the receivers and moves unread bytes, until about a quarter of the
// pool is free, or mostMoved bytes are: the loop has other work too. It returns whether there may be more to move soon.
func (rl *receiverList) moveUnread(s *strain, now time.Time) (more bool) {
	w := &rl.unread
	w.next = now.Add(unreadPause)
	visits := min(len(rl.all), unreadVisits)
	for range visits {
		w.cursor++
		if w.cursor >= len(rl.all) {
			w.cursor = 0
		}
		r := rl.all[w.cursor]
		leases, idle := r.unreadLeases(now)
		if leases == 0 || rl.waitsAlone(r, s) {
			continue
		}
		if !idle {
			more = true
			continue
		}
		w.idle = append(w.idle, idleReceiver{consumer: r, leases: leases})
	}
	slices.SortFunc(w.idle, func(a, b idleReceiver) int { return cmp.Compare(b.leases, a.leases) })
	want := min(s.size/4+1, int(max(mostMoved/max(s.bufferSize, 1), 1)))
	for _, r := range w.idle {
		if want <= 0 {
			more = true
			break
		}
		want -= r.moveUnread()
	}
	clear(w.idle)
	w.idle = w.idle[:0]
	return more || visits < len(rl.all)
}

// waitsAlone reports whether r is the only one in need: moving its own bytes would help
// nobody else.
func (rl *receiverList) waitsAlone(r consumer, s *strain) bool {
	return len(rl.waiting) == 1 && rl.waiting[0] == r && !s.othersWait && !s.runsLow
}

// readAheadOf returns how many Buffers a receiver may be ahead of its consumer, of the bound
// that it has reached.
func (rl *receiverList) readAheadOf(bound, size int, bufferSize uint64) int {
	if rl.unread.scarce {
		return min(bound, firstReadAhead(size, len(rl.all), bufferSize))
	}
	return bound
}
