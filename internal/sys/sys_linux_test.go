package sys

import (
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestMapAnonymous(t *testing.T) {
	page := PageSize()
	for _, align := range []uintptr{page, 2 * page, 512 * page} {
		mem, err := MapAnonymous(3*page, align)
		require.NoError(t, err)
		assert.Len(t, mem, int(3*page))
		assert.Zero(t, uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%align)
		for i := range mem {
			mem[i] = 1 // all of it is writable
		}
		AdviseReceive(mem)
		require.NoError(t, Unmap(mem))
	}
}

func TestEventFD(t *testing.T) {
	fd, err := NewEventFD()
	require.NoError(t, err)
	require.NoError(t, SignalEventFD(fd))
	require.NoError(t, SignalEventFD(fd))
	var counter [8]byte
	_, err = unix.Read(fd, counter[:])
	require.NoError(t, err)
	assert.Equal(t, uint64(2), binary.NativeEndian.Uint64(counter[:]))
	require.NoError(t, Close(fd))
	assert.ErrorIs(t, Close(fd), unix.EBADF)
}

func TestUDMABufIoctl(t *testing.T) {
	for arch, want := range map[string]uintptr{
		"amd64": 0x40187542, "arm64": 0x40187542, "riscv64": 0x40187542, "s390x": 0x40187542,
		"ppc64le": 0x80187542, "mips64": 0x80187542, "mipsle": 0x80187542,
	} {
		assert.Equal(t, want, udmabufIoctl(arch), arch)
	}
}
