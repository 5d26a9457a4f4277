// Package load is the client side of the workloads: goroutines and package net, the same for
// every server.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zcrx-go/zcrx/bench/internal/scenario"
)

// Load is a client under way. Its messages go out from Start on; those between Begin and End
// are counted.
type Load struct {
	target string
	c      scenario.Case
	cancel context.CancelFunc
	ctx    context.Context // that of the goroutines, which Close ends
	tasks  sync.WaitGroup
	record *recorder
	conns  []*connection
	paced  []*paced // the same connections, at a fixed rate

	mu     sync.Mutex // guards err
	err    error      // the first one
	failed atomic.Bool
}

// Report is what a Load counted.
type Report struct {
	// Requests is the number of messages that were answered, for Bulk that were sent.
	Requests int64 `json:"requests"`
	// Seconds is the time between Begin and End.
	Seconds float64 `json:"seconds"`
	// Latency is that of the messages; nil for Bulk, and if there were none. At a fixed rate
	// it is counted from when a message was due, not from when it was sent.
	Latency *Latency `json:"latency,omitempty"`
}

// Start opens the connections to address and starts to send. The caller must Close the Load.
func Start(ctx context.Context, address string, c scenario.Case) (*Load, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	l := &Load{target: address, c: c, record: newRecorder()}
	l.ctx, l.cancel = context.WithCancel(ctx)
	if c.Workload != scenario.Churn {
		for range c.Connections {
			conn, err := dial(ctx, address, c)
			if err != nil {
				l.Close()
				return nil, err
			}
			l.conns = append(l.conns, conn)
		}
	}
	switch {
	case c.Workload == scenario.Churn:
		for i := range c.Connections {
			l.start(func() error { return l.churn(i) })
		}
	case c.Workload == scenario.Bulk:
		chunk := pattern(c.Size)
		for _, conn := range l.conns {
			l.start(func() error { return l.send(conn, chunk) })
		}
	case c.Rate > 0:
		l.startPaced()
	default:
		for i, conn := range l.conns {
			l.start(func() error { return exchange(conn, l.record.shard(i)) })
		}
	}
	return l, nil
}

// start runs f in a goroutine and keeps its error, unless Close caused it.
func (l *Load) start(f func() error) {
	l.tasks.Go(func() {
		err := f()
		if l.ctx.Err() != nil || err == nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.err == nil {
			l.err = err
			l.failed.Store(true)
		}
	})
}

// Begin starts the count.
func (l *Load) Begin() { l.record.begin() }

// End ends the count and returns it. At a fixed rate it first waits, up to ten seconds, for the
// messages that were due between Begin and End: one that is not answered then is counted with
// the time that it has waited. End returns the first error of any connection since Start.
func (l *Load) End() (Report, error) {
	sent := l.record.sent.Load() - l.record.sentBefore
	report := Report{Requests: sent, Seconds: l.record.end()}
	if l.c.Rate > 0 {
		l.awaitDue()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return Report{}, l.err
	}
	if l.c.Workload != scenario.Bulk {
		report.Requests, report.Latency = l.record.latency()
	}
	return report, nil
}

// Close ends the connections.
func (l *Load) Close() {
	l.cancel()
	for _, conn := range l.conns {
		_ = conn.Close() // nothing is kept of it
	}
	l.tasks.Wait()
}

// send sends the chunk until the connection is closed.
func (l *Load) send(conn *connection, chunk []byte) error {
	for {
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
		l.record.sent.Add(1)
	}
}

// exchange sends the next message when the reply to the last one is there.
func exchange(conn *connection, shard *shard) error {
	started := time.Now()
	for number := uint64(0); ; number++ {
		if err := conn.ask(number); err != nil {
			return err
		}
		if err := conn.awaitReply(number); err != nil {
			return err
		}
		started = shard.add(started)
	}
}

// churn connects, exchanges one message and closes, again and again. worker chooses an
// address of its own on loopback, so that ports do not run out.
func (l *Load) churn(worker int) error {
	shard := l.record.shard(worker)
	dialer := churnDialer(l.target, worker)
	for number := uint64(0); l.ctx.Err() == nil; number++ {
		started := time.Now()
		tcp, err := dialer.DialContext(l.ctx, "tcp", l.target)
		if err != nil {
			return err
		}
		conn := newConnection(tcp, l.c)
		err = conn.ask(number)
		if err == nil {
			err = conn.awaitReply(number)
		}
		if err := errors.Join(err, conn.Close()); err != nil {
			return fmt.Errorf("connection %d of worker %d: %w", number, worker, err)
		}
		shard.add(started)
	}
	return nil
}
