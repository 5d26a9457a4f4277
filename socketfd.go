package zcrx

import (
	"sync"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// socketFD is the fd of a socket. It is never used after it was closed, when its number may
// belong to another file. Its methods are safe from any goroutine.
type socketFD struct {
	fd int

	mu     sync.Mutex
	users  int  // guarded by mu: calls of use that run
	closed bool // guarded by mu: the last user closes the fd
}

// use runs fn with the fd, which stays open meanwhile. After close it returns ErrClosed and
// does not run fn.
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

// close closes the fd, or makes the last user close it. It does not wait. It returns false
// if close was called before.
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
		_ = sys.Close(s.fd) // the fd is closed even if this returns an error
	}
	return true
}
