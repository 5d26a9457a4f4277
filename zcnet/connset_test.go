package zcnet

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeSocket is a socket with no other method than close.
type fakeSocket struct {
	socket
	closed int
}

func (s *fakeSocket) close() error { s.closed++; return nil }

func TestConnSet(t *testing.T) {
	var s connSet
	addr := &net.TCPAddr{}
	a, b := &fakeSocket{}, &fakeSocket{}
	ca, cb := s.admit(a, addr, addr), s.admit(b, addr, addr)
	emptied := 0
	s.whenEmpty(func() { emptied++ })
	assert.Equal(t, 2, s.len())
	require.NoError(t, ca.Close())
	assert.Equal(t, 1, s.len())
	s.close()
	s.close()
	assert.True(t, s.isClosed())
	assert.Zero(t, emptied, "one connection is left")

	late := &fakeSocket{}
	assert.ErrorIs(t, s.admit(late, addr, addr).Close(), net.ErrClosed, "the set is closed, so the connection is too")
	assert.Equal(t, 1, late.closed)
	assert.Zero(t, emptied)

	s.closeAll()
	assert.ErrorIs(t, cb.Close(), net.ErrClosed)
	assert.Equal(t, []int{1, 1, 1}, []int{a.closed, b.closed, emptied})
	s.whenEmpty(func() { emptied++ })
	assert.Equal(t, 2, emptied, "the set is empty already")
	s.closeAll()
}
