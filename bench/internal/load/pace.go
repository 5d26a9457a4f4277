package load

import (
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A fixed rate: message k is due at start + k*interval, on connection k modulo their number.
// One thread sends each message when it is due, whether or not earlier ones are answered, and
// a goroutine for each connection reads the replies. The latency is counted from when the
// message was due. So a server that stops for a second is charged with that second by every
// message that was due meanwhile (no coordinated omission).

// schedule says when messages are due.
type schedule struct {
	start    time.Time
	interval float64 // in ns
	conns    uint64
}

// due returns when message number of a connection is due.
func (s schedule) due(conn, number uint64) time.Time {
	k := number*s.conns + conn
	return s.start.Add(time.Duration(float64(k) * s.interval))
}

// paced is a connection at a fixed rate.
type paced struct {
	*connection
	schedule
	index    uint64
	shard    *shard
	answered atomic.Uint64 // messages
}

// startPaced starts the sender and the readers.
func (l *Load) startPaced() {
	s := schedule{start: time.Now(), interval: 1e9 / float64(l.c.Rate), conns: uint64(len(l.conns))}
	for i, conn := range l.conns {
		p := &paced{connection: conn, schedule: s, index: uint64(i), shard: l.record.shard(i)}
		l.paced = append(l.paced, p)
		l.start(p.replies)
	}
	l.start(func() error { return l.sendPaced(s) })
}

func (l *Load) sendPaced(s schedule) error {
	// So that the sleeps are exact: the timers of Go's scheduler wait for whole milliseconds.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for number := uint64(0); ; number++ {
		for i, conn := range l.conns {
			if l.ctx.Err() != nil {
				return nil
			}
			sleepUntil(s.due(uint64(i), number))
			if err := conn.ask(number); err != nil {
				return err
			}
		}
	}
}

func sleepUntil(t time.Time) {
	wait := time.Until(t)
	if wait <= 0 {
		return
	}
	ts := unix.NsecToTimespec(int64(wait))
	_ = unix.Nanosleep(&ts, nil) // after a signal the message is sent early
}

// replies reads the replies.
func (p *paced) replies() error {
	for number := uint64(0); ; number++ {
		if err := p.awaitReply(number); err != nil {
			return err
		}
		p.shard.addDue(p.due(p.index, number))
		p.answered.Store(number + 1)
	}
}

// awaitDue waits until every message that was due before the end of the count is answered,
// and counts those that are not answered in time with the time that they have waited.
func (l *Load) awaitDue() {
	end := l.record.base.Add(time.Duration(l.record.to.Load()))
	patience := time.Now().Add(10 * time.Second)
	for _, p := range l.paced {
		for p.due(p.index, p.answered.Load()).Before(end) && time.Now().Before(patience) && !l.failed.Load() {
			time.Sleep(time.Millisecond)
		}
	}
	for _, p := range l.paced {
		for number := p.answered.Load(); p.due(p.index, number).Before(end); number++ {
			p.shard.addDue(p.due(p.index, number))
		}
	}
}
