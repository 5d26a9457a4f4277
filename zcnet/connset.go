package zcnet

import (
	"net"
	"sync"

	"github.com/zcrx-go/zcrx"
)

// connSet is the set of open connections of an engine or a listener. The zero value is
// empty and open.
type connSet struct {
	mu sync.Mutex
	// Guarded by mu:
	conns   map[*Conn]struct{}
	closed  bool
	onEmpty []func() // called once, when the set is closed and empty
}

// admit makes a connection and adds it to the set. If the set is closed it closes the
// socket and returns ErrClosed. closed is called when the connection's socket is closed, unless
// admit returned an error; it may be nil.
func (s *connSet) admit(socket socket, local, remote net.Addr, closed func()) (*Conn, error) {
	c := newConn(socket, local, remote, nil)
	c.onClose = func() {
		s.remove(c)
		if closed != nil {
			closed()
		}
	}
	if !s.add(c) {
		c.onClose = nil
		_ = c.Close()
		return nil, zcrx.ErrClosed
	}
	return c, nil
}

// add returns false if the set is closed.
func (s *connSet) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.conns == nil {
		s.conns = make(map[*Conn]struct{})
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *connSet) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *connSet) remove(c *Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	fns := s.emptied()
	s.mu.Unlock()
	call(fns)
}

// emptied returns the functions to call, once the set is closed and empty. It is called
// with mu held.
func (s *connSet) emptied() []func() {
	if !s.closed || len(s.conns) > 0 {
		return nil
	}
	fns := s.onEmpty
	s.onEmpty = nil
	return fns
}

func call(fns []func()) {
	for _, fn := range fns {
		fn()
	}
}

func (s *connSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// close closes the set: add returns false from then on. The connections stay open.
func (s *connSet) close() {
	s.mu.Lock()
	s.closed = true
	fns := s.emptied()
	s.mu.Unlock()
	call(fns)
}

// whenEmpty calls fn once, when the set is closed and empty: now or later.
func (s *connSet) whenEmpty(fn func()) {
	s.mu.Lock()
	s.onEmpty = append(s.onEmpty, fn)
	fns := s.emptied()
	s.mu.Unlock()
	call(fns)
}

// closeAll closes the set and every connection in it.
func (s *connSet) closeAll() {
	s.close()
	s.mu.Lock()
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	// Each Close waits for its loop, so many of them are under way at a time.
	var all sync.WaitGroup
	limit := make(chan struct{}, 64)
	for _, c := range conns {
		limit <- struct{}{}
		all.Go(func() {
			_ = c.Close() // an error means that the program has closed it just now
			<-limit
		})
	}
	all.Wait()
}
