package zcnet

import (
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx"
)

// fakeSocket is a socket with no other method than close.
type fakeSocket struct {
	socket
	closed int
}

func (s *fakeSocket) close(closed func()) error { s.closed++; closed(); return nil }

func TestConnSet(t *testing.T) {
	var s connSet
	addr := &net.TCPAddr{}
	a, b := &fakeSocket{}, &fakeSocket{}
	ca, err := s.admit(a, addr, addr, nil)
	require.NoError(t, err)
	cb, err := s.admit(b, addr, addr, nil)
	require.NoError(t, err)
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
	c, err := s.admit(late, addr, addr, nil)
	assert.ErrorIs(t, err, zcrx.ErrClosed)
	assert.Nil(t, c)
	assert.Equal(t, 1, late.closed)
	assert.Zero(t, emptied)

	s.closeAll()
	assert.ErrorIs(t, cb.Close(), net.ErrClosed)
	assert.Equal(t, []int{1, 1, 1}, []int{a.closed, b.closed, emptied})
	s.whenEmpty(func() { emptied++ })
	assert.Equal(t, 2, emptied, "the set is empty already")
	s.closeAll()
}
