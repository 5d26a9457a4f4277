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
		s.closeFD(func() {})
	}
}

// close closes the fd, or makes the last user close it, and does nothing if it was called
// before. It does not wait. done is called when the fd is closed, or at once if it has users.
func (s *socketFD) close(done func()) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	last := s.users == 0
	s.mu.Unlock()
	if !last {
		done()
		return
	}
	s.closeFD(done)
}

// closeFD closes the fd, which is closed even if that returns an error. With SO_LINGER
// close(2) waits, up to as many seconds: that must not stop a loop.
func (s *socketFD) closeFD(done func()) {
	if sys.Lingers(s.fd) {
		go func() {
			_ = sys.Close(s.fd)
			done()
		}()
		return
	}
	_ = sys.Close(s.fd)
	done()
}
