//go:build !linux || !cgo

package uring

import (
	"errors"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestWithoutCgo checks that a build that cannot do io_uring says so.
func TestWithoutCgo(t *testing.T) {
	_, err := New(Config{Entries: 8})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorContains(t, err, "CGO_ENABLED=1")
	_, err = New(Config{})
	assert.ErrorContains(t, err, "allowed are 1 to 32768")
	r := &Ring{}
	assert.ErrorIs(t, r.Enable(), os.ErrClosed)
	assert.NoError(t, r.Close())
	assert.Nil(t, r.Pointer())
	major, minor := Version()
	assert.Zero(t, major+minor)
}
