package zcrx

import "sync"

// socketFD is a socket's fd, which nobody uses once it is closed: its number may
// be another file's then.
type socketFD struct {
	mu     sync.RWMutex
	fd     int
	closed bool // guarded by mu
}

// use runs fn with the fd, which stays open meanwhile: fn must not wait. It
// answers ErrClosed, and does not run fn, after close.
func (s *socketFD) use(fn func(fd int) error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	return fn(s.fd)
}

// close answers false if that was done before.
func (s *socketFD) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	_ = closeFD(s.fd) // nothing to do about an error: the fd is gone in any case
	return true
}
