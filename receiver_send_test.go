//go:build linux && cgo

package zcrx

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestSendZeroCopyRefused by the kernel is to be done with a copy.
func TestSendZeroCopyRefused(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOMEM, syscall.ENOBUFS, syscall.EOPNOTSUPP, syscall.EINVAL} {
		refused, err := zeroCopyError(errno, false)
		assert.ErrorIs(t, err, ErrNotZeroCopy)
		assert.True(t, refused, "for good")
	}
	for _, test := range []struct {
		errno    syscall.Errno
		timedOut bool
		want     error
	}{
		{syscall.EINTR, false, ErrNotZeroCopy}, // this once
		{syscall.ECANCELED, false, ErrClosed},
		{syscall.ECANCELED, true, os.ErrDeadlineExceeded},
		{syscall.EPIPE, false, syscall.EPIPE},
	} {
		refused, err := zeroCopyError(test.errno, test.timedOut)
		assert.ErrorIs(t, err, test.want)
		assert.False(t, refused)
	}
}
