package zcrx

import "time"

// A pool must not run dry because of data that is not read: of connections whose peers send
// and whose programs do not receive. Such data is bounded for each connection (see
// readAhead), but there may be any number of them. When a pool runs low, unread bytes are
// copied to the heap and their buffers go back: then they cost what they would cost in the
// kernel's socket buffers. What a consumer has taken and not released is its own; it is
// bounded by PoolConfig.MaxLeases.
//
// The memory is bounded, too. While more than half of the buffers are out, a connection is
// paused when its first read-ahead is unread (firstReadAhead: 8 to 64 Buffers). So what is
// unread, and may be copied, is at most half of the pool, and for each connection its first
// read-ahead and what one turn of the loop brings.

const (
	// unreadPause is how long a connection must not have been read from, while the pool runs
	// low, before its unread bytes are copied, and how often that is looked at.
	unreadPause = 2 * time.Millisecond
	// unreadVisits bounds the work of one look.
	unreadVisits = 1024
)

// unreadWatch looks for data that is not read. It belongs to the loop's thread.
type unreadWatch struct {
	scarce bool      // more than half of the pool's buffers are out
	next   time.Time // not before
	cursor int       // of receiverList.all
}

// relieve has unread bytes copied, if the pool runs low: out of size buffers are out.
func (rl *receiverList) relieve(l *Loop, out, size int) {
	w := &rl.unread
	w.scarce = out > size/2
	if len(rl.all) == 0 || len(rl.waiting) == 0 && out <= size-(size+7)/8 {
		return
	}
	now := time.Now()
	if now.Before(w.next) {
		return
	}
	w.next = now.Add(unreadPause)
	if rl.copyUnread(size/4 + 1) {
		time.AfterFunc(unreadPause, l.wake)
	}
}

// copyUnread goes around the receivers until about want buffers are free. It returns whether
// there may be more to copy.
func (rl *receiverList) copyUnread(want int) (more bool) {
	visits := min(len(rl.all), unreadVisits)
	for range visits {
		rl.unread.cursor++
		if rl.unread.cursor >= len(rl.all) {
			rl.unread.cursor = 0
		}
		freed, left := rl.all[rl.unread.cursor].copyUnread()
		more = more || left
		if want -= freed; want <= 0 {
			return true
		}
	}
	return more || visits < len(rl.all)
}

// readAheadOf returns how many Buffers a receiver may be ahead of its consumer, of the bound
// that it has reached.
func (rl *receiverList) readAheadOf(bound, size int) int {
	if rl.unread.scarce {
		return min(bound, firstReadAhead(size, len(rl.all)))
	}
	return bound
}
