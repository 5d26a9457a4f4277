//go:build linux && cgo

package uring

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
	"github.com/zcrx-go/zcrx/uring/uapi"
)

// regErrno returns the errno in an error, 0 if there is none.
func regErrno(err error) syscall.Errno {
	errno, _ := errors.AsType[syscall.Errno](err)
	return errno
}

// regThread makes a ring on a thread of its own, and returns what runs a function there and waits
// for its end.
func regThread(t *testing.T, cfg Config) (do func(func(r *Ring))) {
	t.Helper()
	work, ended := make(chan func(*Ring)), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		r, err := New(cfg)
		if !assert.NoError(t, err) {
			return
		}
		defer func() { assert.NoError(t, r.Close()) }()
		for f := range work {
			f(r)
		}
	}()
	t.Cleanup(func() { close(work); <-ended })
	return func(f func(*Ring)) {
		done := make(chan struct{})
		select {
		case work <- func(r *Ring) { defer close(done); f(r) }: // f may end the goroutine
			<-done
		case <-ended:
		}
	}
}

// regOther runs f on another thread, with a ring of that thread.
func regOther(t *testing.T, cfg Config, f func(r *Ring)) {
	t.Helper()
	regThread(t, cfg)(f)
}

// regFile returns the fd of a file that has the text.
func regFile(t *testing.T, text string) int {
	t.Helper()
	fd, _ := fileNew(t, text)
	return fd
}

// regAt returns what the registered file at the place has, or the errno.
func regAt(t *testing.T, r *Ring, place int) string {
	t.Helper()
	b := make([]byte, 16)
	c := one(t, r, func(s *SQE) { s.PrepRead(place, b, 0); s.Flags |= SQEFixedFile })
	if errno := c.Errno(); errno != 0 {
		return errno.Error()
	}
	return string(b[:c.Res])
}

var regBadFile = syscall.EBADF.Error()

func TestRegisterFiles(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := regFile(t, "a"), regFile(t, "b")
		require.NoError(t, r.RegisterFiles(a, -1, b))
		assert.Equal(t, []string{"a", regBadFile, "b", regBadFile}, []string{regAt(t, r, 0), regAt(t, r, 1), regAt(t, r, 2), regAt(t, r, 3)})
		assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterFiles(a)))
		require.NoError(t, unix.Close(a))
		assert.Equal(t, "a", regAt(t, r, 0), "the kernel keeps it open")
		n, err := r.RegisterFilesUpdate(0, -1, b, FilesSkip)
		require.NoError(t, err)
		assert.Equal(t, 3, n)
		assert.Equal(t, []string{regBadFile, "b", "b"}, []string{regAt(t, r, 0), regAt(t, r, 1), regAt(t, r, 2)})
		_, err = r.RegisterFilesUpdate(2, b, b)
		assert.Equal(t, syscall.EINVAL, regErrno(err), "behind the end")
		_, err = r.RegisterFilesUpdate(0, 1<<20)
		assert.Equal(t, syscall.EBADF, regErrno(err))
		require.NoError(t, r.UnregisterFiles())
		assert.Equal(t, regBadFile, regAt(t, r, 1))
		assert.Equal(t, syscall.ENXIO, regErrno(r.UnregisterFiles()))
		_, err = r.RegisterFilesUpdate(0, b)
		assert.Equal(t, syscall.ENXIO, regErrno(err))
		assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterFiles()))
		assert.Equal(t, syscall.EBADF, regErrno(r.RegisterFiles(1<<20)))
	})
}

func TestRegisterFilesTags(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := regFile(t, "a"), regFile(t, "b")
		require.NoError(t, r.RegisterFilesTags([]int{a, b, -1}, []uint64{11, 12, 0}))
		n, err := r.RegisterFilesUpdateTag(0, []int{b}, []uint64{13})
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		assert.Equal(t, map[uint64][]int32{11: {0}}, regResults(t, r, 1), "the first file has left")
		assert.Equal(t, "b", regAt(t, r, 0))
		require.NoError(t, r.UnregisterFiles())
		assert.Equal(t, map[uint64][]int32{12: {0}, 13: {0}}, regResults(t, r, 2))
		assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterFilesTags([]int{-1}, []uint64{1})), "a tag of nothing")
	})
	r := newTestRing(t, Config{Entries: 4})
	assert.ErrorContains(t, r.RegisterFilesTags([]int{0}, nil), "0 tags: there must be 1")
	_, err := r.RegisterFilesUpdateTag(0, []int{0}, nil)
	assert.ErrorContains(t, err, "0 tags: there must be 1")
	_, err = r.RegisterFilesUpdateTag(-1, []int{0}, []uint64{0})
	assert.ErrorContains(t, err, "offset -1 is out of range: allowed are 0 to 1048576")
	_, err = r.RegisterFilesUpdate(-1, 0)
	assert.ErrorContains(t, err, "offset -1 is out of range: allowed are 0 to 1048576")
}

func TestRegisterFilesSparse(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	assert.ErrorContains(t, r.RegisterFilesSparse(0), "number of files 0 is out of range: allowed are 1 to 1048576")
	assert.ErrorContains(t, r.RegisterFilesSparse(1<<20+1), "is out of range")
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterFileAllocRange(0, 1)), "there is no table")
	require.NoError(t, r.RegisterFilesSparse(8))
	assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterFilesSparse(8)))
	name := path(t, t.TempDir())
	open := func(s *SQE) { s.PrepOpenatDirect(unix.AT_FDCWD, name, unix.O_RDONLY, 0, FileIndexAlloc) }
	require.NoError(t, r.RegisterFileAllocRange(5, 2))
	assert.Equal(t, 5, succeed(t, r, open))
	assert.Equal(t, 6, succeed(t, r, open))
	failWith(t, r, syscall.ENFILE, open)
	require.NoError(t, r.RegisterFileAllocRange(0, 8))
	assert.Equal(t, 0, succeed(t, r, open))
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterFileAllocRange(7, 2)))
	assert.ErrorContains(t, r.RegisterFileAllocRange(-1, 2), "offset -1 is out of range")
	assert.ErrorContains(t, r.RegisterFileAllocRange(0, -1), "number of places -1 is out of range")
}

// regFilled returns the pages of a buffer filled with a letter.
func regFilled(t *testing.T, letter byte) []byte {
	b := mapped(t, os.Getpagesize())
	for i := range b {
		b[i] = letter
	}
	return b
}

// regBuffer writes the registered buffer at the place to a pipe, and returns its first byte, or
// the errno.
func regBuffer(t *testing.T, r *Ring, place uint16, b []byte) string {
	t.Helper()
	rd, wr := pipe(t)
	c := one(t, r, func(s *SQE) { s.PrepWriteFixed(wr, b[:1], 0, place) })
	if errno := c.Errno(); errno != 0 {
		return errno.Error()
	}
	got := make([]byte, 1)
	_, err := unix.Read(rd, got)
	require.NoError(t, err)
	return string(got)
}

func TestRegisterBuffers(t *testing.T) {
	bad := syscall.EFAULT.Error()
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := regFilled(t, 'a'), regFilled(t, 'b')
		require.NoError(t, r.RegisterBuffers(a, nil, b))
		assert.Equal(t, "a", regBuffer(t, r, 0, a))
		assert.Equal(t, bad, regBuffer(t, r, 1, a))
		assert.Equal(t, "b", regBuffer(t, r, 2, b))
		assert.Equal(t, bad, regBuffer(t, r, 2, a), "other memory")
		assert.Equal(t, bad, regBuffer(t, r, 3, a))
		assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterBuffers(a)))
		n, err := r.RegisterBuffersUpdateTag(0, [][]byte{nil, a}, nil)
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		assert.Equal(t, bad, regBuffer(t, r, 0, a))
		assert.Equal(t, "a", regBuffer(t, r, 1, a))
		require.NoError(t, r.UnregisterBuffers())
		assert.Equal(t, bad, regBuffer(t, r, 1, a))
		assert.Equal(t, syscall.ENXIO, regErrno(r.UnregisterBuffers()))
		assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterBuffers()))
		_, err = r.RegisterBuffersUpdateTag(0, [][]byte{a}, nil)
		assert.Equal(t, syscall.ENXIO, regErrno(err))
		gone := unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(&a[0]), 1<<46)), 1) // not mapped
		assert.Equal(t, syscall.EFAULT, regErrno(r.RegisterBuffers(gone)))
	})
}

func TestRegisterBuffersTags(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := regFilled(t, 'a'), regFilled(t, 'b')
		require.NoError(t, r.RegisterBuffersTags([][]byte{a, b}, []uint64{11, 12}))
		_, err := r.RegisterBuffersUpdateTag(1, [][]byte{a}, []uint64{13})
		require.NoError(t, err)
		assert.Equal(t, map[uint64][]int32{12: {0}}, regResults(t, r, 1))
		require.NoError(t, r.UnregisterBuffers())
		assert.Equal(t, map[uint64][]int32{11: {0}, 13: {0}}, regResults(t, r, 2))
	})
	r := newTestRing(t, Config{Entries: 4})
	assert.ErrorContains(t, r.RegisterBuffersTags([][]byte{nil}, nil), "0 tags: there must be 1")
	_, err := r.RegisterBuffersUpdateTag(0, [][]byte{nil}, []uint64{1, 2})
	assert.ErrorContains(t, err, "2 tags: there must be 1")
	_, err = r.RegisterBuffersUpdateTag(1<<14+1, nil, nil)
	assert.ErrorContains(t, err, "offset 16385 is out of range: allowed are 0 to 16384")
}

// A tag comes when the last request that uses the buffer has completed.
func TestRegisterBuffersTagWaitsForRequests(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	a := regFilled(t, 'a')
	rd, wr := pipe(t)
	require.NoError(t, r.RegisterBuffersTags([][]byte{a}, []uint64{11}))
	queue(t, r, 1, func(s *SQE) { s.PrepReadFixed(rd, a[:1], 0, 0) })
	_, err := r.Submit()
	require.NoError(t, err)
	require.NoError(t, r.UnregisterBuffers())
	_, err = r.Submit()
	require.NoError(t, err)
	assert.Zero(t, r.Pending(), "the read uses it")
	_, err = unix.Write(wr, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, map[uint64][]int32{1: {1}, 11: {0}}, regResults(t, r, 2))
	assert.EqualValues(t, 'x', a[0])
}

func TestRegisterBuffersSparse(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	assert.ErrorContains(t, r.RegisterBuffersSparse(0), "number of buffers 0 is out of range: allowed are 1 to 16384")
	require.NoError(t, r.RegisterBuffersSparse(3))
	a := regFilled(t, 'a')
	n, err := r.RegisterBuffersUpdateTag(2, [][]byte{a}, nil)
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Equal(t, "a", regBuffer(t, r, 2, a))
	_, err = r.RegisterBuffersUpdateTag(2, [][]byte{a, a}, nil)
	assert.Equal(t, syscall.EINVAL, regErrno(err))
}

// Memory of Go's heap stays as long as it is registered.
func TestRegisterBuffersKeepsMemory(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	freed := make(chan int, 2)
	alloc := func(i int) []byte {
		b := make([]byte, 64<<10)
		runtime.AddCleanup(&b[0], func(i int) { freed <- i }, i)
		return b
	}
	require.NoError(t, r.RegisterBuffers(alloc(0), alloc(1)))
	_, err := r.RegisterBuffersUpdateTag(0, [][]byte{nil}, nil)
	require.NoError(t, err)
	gone := -1
	require.Eventually(t, func() bool {
		runtime.GC()
		select {
		case gone = <-freed:
			return true
		default:
			return false
		}
	}, eventuallyWithin, eventuallyEvery)
	assert.Zero(t, gone)
	assert.Empty(t, freed, "buffer 1 is registered")
	require.NoError(t, r.UnregisterBuffers())
	require.Eventually(t, func() bool { runtime.GC(); return len(freed) == 1 }, eventuallyWithin, eventuallyEvery)
}

func TestRegisterCloneBuffers(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		a, b := regFilled(t, 'a'), regFilled(t, 'b')
		from := newTestRing(t, Config{Entries: 4})
		err := r.CloneBuffers(from)
		if regErrno(err) == syscall.EINVAL {
			skip.Unless(t, "clones of buffers", "6.12", err)
		}
		assert.Equal(t, syscall.ENXIO, regErrno(err), "the other has none")
		require.NoError(t, from.RegisterBuffers(a, b))
		require.NoError(t, r.CloneBuffers(from))
		assert.Equal(t, syscall.EBUSY, regErrno(r.CloneBuffers(from)))
		require.NoError(t, from.Close())
		assert.Equal(t, "a", regBuffer(t, r, 0, a))
		assert.Equal(t, "b", regBuffer(t, r, 1, b))
	})
	r := newTestRing(t, Config{Entries: 4})
	assert.ErrorIs(t, r.CloneBuffers(nil), os.ErrClosed)
	assert.ErrorIs(t, r.CloneBuffers(&Ring{}), os.ErrClosed)
}

func TestRegisterCloneBuffersOffset(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4})
	from := newTestRing(t, Config{Entries: 4})
	a, b, c := regFilled(t, 'a'), regFilled(t, 'b'), regFilled(t, 'c')
	require.NoError(t, from.RegisterBuffers(a, b, c))
	require.NoError(t, r.RegisterBuffers(c, c))
	assert.Equal(t, syscall.EBUSY, regErrno(r.CloneBuffersOffset(from, 0, 0, 0, 0)))
	err := r.CloneBuffersOffset(from, 1, 0, 2, uapi.IORING_REGISTER_DST_REPLACE)
	skip.Unless(t, "clones of some buffers", "6.13", err)
	assert.Equal(t, "c", regBuffer(t, r, 0, c))
	assert.Equal(t, "a", regBuffer(t, r, 1, a))
	assert.Equal(t, "b", regBuffer(t, r, 2, b))
	assert.Equal(t, syscall.EOVERFLOW, regErrno(r.CloneBuffersOffset(from, 0, 2, 2, uapi.IORING_REGISTER_DST_REPLACE)))
	assert.Equal(t, syscall.EINVAL, regErrno(r.CloneBuffersOffset(from, 0, 0, 1, 1<<31)))
	assert.ErrorContains(t, r.CloneBuffersOffset(from, -1, 0, 1<<14+1, 0), "place -1 is out of range")
}

// A ring that is registered with its thread has another number there than on others.
func TestRegisterCloneBuffersOfAnotherThread(t *testing.T) {
	from := newTestRing(t, Config{Entries: 4})
	a := regFilled(t, 'a')
	require.NoError(t, from.RegisterBuffers(a))
	require.NoError(t, from.RegisterRingFD())
	regOther(t, Config{Entries: 4}, func(r *Ring) {
		wrong, err := New(Config{Entries: 4})
		if !assert.NoError(t, err) {
			return
		}
		defer wrong.Close()
		assert.NoError(t, wrong.RegisterRingFD()) // at the place that from has on its thread
		assert.NoError(t, wrong.RegisterBuffers(regFilled(t, 'w')))
		assert.NoError(t, r.CloneBuffers(from))
		assert.Equal(t, "a", regBuffer(t, r, 0, a), "the buffers of the other ring")
	})
}

// regEvents returns how many completions the eventfd has counted since the last call.
func regEvents(t *testing.T, fd int) int {
	t.Helper()
	var b [8]byte
	_, err := unix.Read(fd, b[:])
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	require.NoError(t, err)
	return int(binary.NativeEndian.Uint64(b[:]))
}

func TestRegisterEventfd(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	eachRing(t, func(t *testing.T, r *Ring) {
		regEvents(t, fd)
		require.NoError(t, r.RegisterEventfd(fd))
		assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterEventfd(fd)))
		assert.True(t, r.EventfdEnabled())
		succeed(t, r, (*SQE).PrepNop)
		require.Eventually(t, func() bool { return regEvents(t, fd) == 1 }, eventuallyWithin, eventuallyEvery)
		require.NoError(t, r.EnableEventfd(false))
		assert.False(t, r.EventfdEnabled())
		succeed(t, r, (*SQE).PrepNop)
		if r.Flags()&SetupSQPoll != 0 { // its thread may be about to look whether it shall count that one
			require.NoError(t, r.Close())
			return
		}
		require.NoError(t, r.EnableEventfd(false))
		require.NoError(t, r.EnableEventfd(true))
		assert.True(t, r.EventfdEnabled())
		failWith(t, r, unix.ETIME, func(s *SQE) { s.PrepTimeout(regShort(), 0, 0) })
		want := 1
		if r.Flags()&SetupDeferTaskrun != 0 {
			want = 2 // one says that there is task work, one that there is a completion
		}
		n := 0
		require.Eventually(t, func() bool { n += regEvents(t, fd); return n >= want }, eventuallyWithin, eventuallyEvery)
		assert.Equal(t, want, n, "of two requests the last one's")
		require.NoError(t, r.UnregisterEventfd())
		assert.Equal(t, syscall.ENXIO, regErrno(r.UnregisterEventfd()))
		assert.Equal(t, syscall.EBADF, regErrno(r.RegisterEventfd(-1)))
		assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterEventfd(r.FD())))
		succeed(t, r, (*SQE).PrepNop)
		assert.Zero(t, regEvents(t, fd))
	})
}

func TestRegisterEventfdAsync(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	r := newTestRing(t, Config{Entries: 8})
	require.NoError(t, r.RegisterEventfdAsync(fd))
	assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterEventfdAsync(fd)))
	succeed(t, r, (*SQE).PrepNop)
	assert.Zero(t, regEvents(t, fd), "it completed at once")
	file := regFile(t, "text")
	assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFsync(file, 0) }))
	require.Eventually(t, func() bool { return regEvents(t, fd) == 1 }, eventuallyWithin, eventuallyEvery, "by a worker")
	require.NoError(t, r.UnregisterEventfd())
}

// The completion of a poll is not counted: no worker carried it out.
func TestRegisterEventfdAsyncOfAPoll(t *testing.T) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(fd)
	r := newTestRing(t, Config{Entries: 8})
	require.NoError(t, r.RegisterEventfdAsync(fd))
	rd, wr := pipe(t)
	queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
	_, err = r.Submit()
	require.NoError(t, err)
	_, err = unix.Write(wr, []byte("x"))
	require.NoError(t, err)
	assert.Equal(t, map[uint64][]int32{1: {unix.POLLIN}}, regResults(t, r, 1))
	assert.Equal(t, 0, regEvents(t, fd))
}

// A request with a personality has the rights of the thread at the time of the registration.
func TestRegisterPersonality(t *testing.T) {
	if os.Geteuid() != 0 {
		skip.Unless(t, "another user id", "5.6", syscall.EPERM)
	}
	name := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(name, nil, 0o600))
	eachRing(t, func(t *testing.T, r *Ring) {
		const nobody = 65534
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, nobody, 0, 0) // this thread alone
		id, err := r.RegisterPersonality()
		_, _, _ = unix.RawSyscall(unix.SYS_SETFSUID, 0, 0, 0)
		require.NoError(t, err)
		require.NotZero(t, id)
		open := func(s *SQE) { s.PrepOpenat(unix.AT_FDCWD, path(t, name), unix.O_RDONLY|unix.O_CLOEXEC, 0) }
		require.NoError(t, unix.Close(succeed(t, r, open)))
		failWith(t, r, syscall.EACCES, func(s *SQE) { open(s); s.Personality = id })
		require.NoError(t, r.UnregisterPersonality(id))
		failWith(t, r, syscall.EINVAL, func(s *SQE) { open(s); s.Personality = id })
		assert.Equal(t, syscall.EINVAL, regErrno(r.UnregisterPersonality(id)))
	})
}

func TestRegisterRestrictions(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: SetupDisabled})
	file := regFile(t, "text")
	err := r.RegisterRestrictions(AllowOp(OpNop), AllowFlags(SQELink), AllowRegister(uapi.IORING_REGISTER_FILES))
	require.NoError(t, err)
	assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterRestrictions(AllowOp(OpNop))))
	require.NoError(t, r.Enable())
	succeed(t, r, (*SQE).PrepNop)
	failWith(t, r, syscall.EACCES, func(s *SQE) { s.PrepFsync(file, 0) })
	failWith(t, r, syscall.EACCES, func(s *SQE) { s.PrepNop(); s.Flags |= SQEAsync })
	succeed(t, r, func(s *SQE) { s.PrepNop(); s.Flags |= SQELink })
	require.NoError(t, r.RegisterFiles(file))
	assert.Equal(t, syscall.EACCES, regErrno(r.UnregisterFiles()))
	_, err = r.Probe()
	assert.Equal(t, syscall.EACCES, regErrno(err))

	r = newTestRing(t, Config{Entries: 8, Flags: SetupDisabled})
	require.NoError(t, r.RegisterRestrictions(AllowOp(OpNop), RequireFlags(SQEAsync)))
	require.NoError(t, r.Enable())
	failWith(t, r, syscall.EACCES, (*SQE).PrepNop)
	succeed(t, r, func(s *SQE) { s.PrepNop(); s.Flags |= SQEAsync })

	r = newTestRing(t, Config{Entries: 8})
	assert.Equal(t, syscall.EBADFD, regErrno(r.RegisterRestrictions(AllowOp(OpNop))), "it is not disabled")
	r = newTestRing(t, Config{Entries: 8, Flags: SetupDisabled})
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterRestrictions(AllowOp(255))))
}

func TestRegisterWorkers(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8})
	var set unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &set))
	cpu := 0
	for !set.IsSet(cpu) {
		cpu++
	}
	require.NoError(t, r.RegisterWorkerCPUs(cpu))
	file := regFile(t, "text")
	assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFsync(file, 0) }))
	require.NoError(t, r.UnregisterWorkerCPUs())
	assert.ErrorContains(t, r.RegisterWorkerCPUs(-1), "CPU -1 is out of range: allowed are 0 to 65535")
	assert.ErrorContains(t, r.RegisterWorkerCPUs(1<<16), "CPU 65536 is out of range")

	bounded, unbounded, err := r.RegisterMaxWorkers(0, 0)
	require.NoError(t, err)
	require.NotZero(t, bounded)
	_, _, err = r.RegisterMaxWorkers(3, 5)
	require.NoError(t, err)
	b, u, err := r.RegisterMaxWorkers(bounded, unbounded)
	require.NoError(t, err)
	assert.Equal(t, []uint32{3, 5}, []uint32{b, u})
}

// TestRegisterWorkerCPUsOfNone: workers that may run on no CPU would be an error.
func TestRegisterWorkerCPUsOfNone(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8})
	assert.Error(t, r.RegisterWorkerCPUs())
	require.NoError(t, r.UnregisterWorkerCPUs())
}

func TestRegisterClock(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	regQuiet(t)
	skip.Unless(t, "clocks of rings", "6.12", r.RegisterClock(unix.CLOCK_BOOTTIME))
	begun := time.Now()
	require.NoError(t, r.Wait(1, WaitOptions{Timeout: 2 * time.Millisecond}))
	assert.GreaterOrEqual(t, time.Since(begun), 2*time.Millisecond)
	require.NoError(t, r.RegisterClock(unix.CLOCK_MONOTONIC))
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterClock(unix.CLOCK_REALTIME)))
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterClock(-1)))
}
