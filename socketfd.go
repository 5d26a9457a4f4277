package zcrx

import (
	"sync"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// socketFD is a socket's fd, which nobody uses once it is closed: its number may
// be another file's then.
type socketFD struct {
	fd int

	mu     sync.Mutex
	users  int  // guarded by mu: in use
	closed bool // guarded by mu: the last user closes the fd
}

// use runs fn with the fd, which stays open meanwhile. It returns ErrClosed, and
// does not run fn, after close.
func (s *socketFD) use(fn func(fd int) error) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.users++
	s.mu.Unlock()
	defer s.endUse()
	return fn(s.fd)
}

func (s *socketFD) endUse() {
	s.mu.Lock()
	s.users--
	last := s.closed && s.users == 0
	s.mu.Unlock()
	if last {
		_ = sys.Close(s.fd)
	}
}

// close returns false if that was done before. It does not wait: while somebody
// uses the fd, that stays open.
func (s *socketFD) close() bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.closed = true
	last := s.users == 0
	s.mu.Unlock()
	if last {
		_ = sys.Close(s.fd) // nothing to do about an error: the fd is gone in any case
	}
	return true
}
