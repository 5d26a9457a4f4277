package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/zcrx-go/zcrx/zcnet"
)

// server receives connections into an engine's buffers.
type server struct {
	engine   *engine
	ln       *zcnet.Listener
	out      io.Writer // what is received; nil: nowhere
	once     bool      // one connection in all
	oneByOne bool      // no two at a time
	mode     modeReport
	reports  io.Writer
	json     bool

	mu          sync.Mutex // guards what follows, and reports
	connections int
	failed      int
	failure     error // the first
	reportErr   error // the first
}

// serve receives until ctx ends, or one connection with once. It returns an
// error unless every connection was ended by its peer in order.
func (s *server) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var connections sync.WaitGroup
	var acceptErr error
	for {
		conn, err := s.ln.AcceptConn(ctx)
		if err != nil {
			if ctx.Err() == nil {
				acceptErr = err
			}
			break
		}
		if s.once {
			_ = s.ln.Close() // nobody else shall wait for us
		}
		receive := func() {
			// A loop that has ended takes the server along.
			if err := s.receive(ctx, conn); errors.Is(err, net.ErrClosed) {
				cancel()
			}
		}
		if s.oneByOne {
			receive()
		} else {
			connections.Go(receive)
		}
		if s.once {
			break
		}
	}
	cancel()
	connections.Wait()
	return errors.Join(acceptErr, s.verdict())
}

// verdict sums up what became of the connections.
func (s *server) verdict() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.failed > 0 {
		err = fmt.Errorf("%d of %d connections did not end in order: %w", s.failed, s.connections, s.failure)
	}
	return errors.Join(err, s.reportErr)
}

// receive takes in one connection, which it closes, and reports.
func (s *server) receive(ctx context.Context, conn *zcnet.Conn) error {
	c := consumer{tally: newTally(), out: s.out}
	err := errors.Join(c.consume(ctx, conn), conn.Close())
	c.stop()
	pool, loop := counters(s.engine.Stats())
	s.note(connectionReport{
		header: header{schemaVersion, "recv"}, modeReport: s.mode, Peer: conn.RemoteAddr().String(),
		transferReport: c.report(), OK: err == nil,
		Pool: pool, Loop: loop, Device: s.engine.placement(),
	}, err)
	return err
}

// note prints the report of a connection that has ended.
func (s *server) note(r connectionReport, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections++
	if err != nil {
		r.Error = errorText(err)
		s.failed++
		if s.failure == nil {
			s.failure = fmt.Errorf("%s: %w", r.Peer, err)
		}
	}
	if err := emit(s.reports, s.json, r); err != nil && s.reportErr == nil {
		s.reportErr = fmt.Errorf("print report: %w", err)
	}
}
