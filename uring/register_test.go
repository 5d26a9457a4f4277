//go:build linux && cgo

package uring

import (
	"encoding/binary"
	"os"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

func TestProbe(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	p, err := r.Probe()
	require.NoError(t, err)
	assert.True(t, p.Supports(OpNop))
	assert.True(t, p.Supports(OpSendZC), "as old as the flags of the ring")
	assert.False(t, p.Supports(255))
	major, minor := Version()
	assert.GreaterOrEqual(t, major*1000+minor, 2015)
}

// TestProvidedBufferRing fills in a ring of one provided buffer, registers it and
// receives into it.
func TestProvidedBufferRing(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	mem := mapped(t, 3*os.Getpagesize())
	buffer := mem[os.Getpagesize():][:100]
	binary.NativeEndian.PutUint64(mem[0:], uint64(uintptr(unsafe.Pointer(&buffer[0]))))
	binary.NativeEndian.PutUint32(mem[8:], uint32(len(buffer)))
	binary.NativeEndian.PutUint16(mem[12:], 42) // the buffer's number
	binary.NativeEndian.PutUint16(mem[14:], 1)  // the tail
	require.NoError(t, r.RegisterBufRing(unsafe.Pointer(&mem[0]), 4, 9, 0))
	assertRefused(t, r.RegisterBufRing(unsafe.Pointer(&mem[2*os.Getpagesize()]), 4, 9, 0), "io_uring_register_buf_ring", syscall.EEXIST)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	_, err = unix.Write(pair[1], []byte("provided"))
	require.NoError(t, err)
	queue(t, r, 0, func(s *SQE) { s.PrepRecvMultishot(pair[0], 9, 0) })
	c := reap(t, r, 1)[0]
	require.Equal(t, int32(8), c.Res, "%v", c.Errno())
	assert.NotZero(t, c.Flags&CQEBuffer)
	assert.Equal(t, uint16(42), c.BufferID())
	assert.Equal(t, "provided", string(buffer[:8]))
	require.NoError(t, r.UnregisterBufRing(9))
}

func TestRegisterNAPI(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	err := r.RegisterNAPI(50*time.Microsecond, true)
	skip.Unless(t, "busy polling", "6.9", err)
	require.NoError(t, r.UnregisterNAPI())
	assert.ErrorContains(t, r.RegisterNAPI(-time.Second, false), "out of range")
}
