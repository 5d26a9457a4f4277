//go:build linux && cgo

package uring

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// newTestRing makes a ring for the test's goroutine, which stays on its thread.
func newTestRing(t *testing.T, cfg Config) *Ring {
	t.Helper()
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	r, err := New(cfg)
	if cfg.Flags&SetupCQEMixed != 0 && errors.Is(err, syscall.EINVAL) {
		skip.Unless(t, "mixed completion sizes", "6.18", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

const ownerFlags = SetupSingleIssuer | SetupDeferTaskrun

// reap waits for n completions.
func reap(t *testing.T, r *Ring, n int) []CQE {
	t.Helper()
	all := make([]CQE, n)
	got := 0
	for deadline := time.Now().Add(5 * time.Second); got < n; {
		got += r.Completions(all[got:])
		if got < n {
			require.True(t, time.Now().Before(deadline), "%d of %d completions", got, n)
			_, err := r.SubmitAndWait(1, 100*time.Millisecond)
			require.NoError(t, err)
		}
	}
	return all
}

// TestCompletionsOfEverySize sends numbered no-ops around the completion queue
// several times, in batches that do not divide its size.
func TestCompletionsOfEverySize(t *testing.T) {
	const nopCQE32 = 1 << 5 // IORING_NOP_CQE32: a 32-byte completion in a mixed ring
	for name, flags := range map[string]SetupFlags{"16": 0, "32": SetupCQE32, "mixed": SetupCQEMixed} {
		t.Run(name, func(t *testing.T) {
			r := newTestRing(t, Config{Entries: 8, CQEntries: 16, Flags: flags | ownerFlags})
			next := uint64(0)
			for range 100 {
				for i := range 5 {
					s := r.GetSQE()
					require.NotNil(t, s)
					s.PrepNop()
					s.UserData = next + uint64(i)
					if flags == SetupCQEMixed && i%2 == 1 {
						s.OpFlags = nopCQE32
					}
				}
				for i, c := range reap(t, r, 5) {
					require.Equal(t, next+uint64(i), c.UserData)
					require.Zero(t, c.Res)
					if flags == SetupCQEMixed {
						require.Equal(t, i%2 == 1, c.Flags&CQE32 != 0)
					}
				}
				next += 5
			}
			assert.Zero(t, r.Pending())
		})
	}
}

func TestSubmissionQueueFull(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	for taken := range r.SQEntries() {
		assert.Equal(t, r.SQEntries()-taken, r.SQSpaceLeft())
		s := r.GetSQE()
		require.NotNil(t, s)
		s.PrepNop()
	}
	assert.Nil(t, r.GetSQE())
	assert.Zero(t, r.SQSpaceLeft())
	calls := r.Calls()
	n, err := r.Submit()
	require.NoError(t, err)
	assert.Equal(t, r.SQEntries(), n)
	assert.NotNil(t, r.GetSQE())
	assert.Equal(t, calls+1, r.Calls(), "taking entries enters no C")
}

func TestCompletionQueueOverflow(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, CQEntries: 8, Flags: ownerFlags | SetupCQE32})
	const n = 64
	for i := range n {
		s := r.GetSQE()
		if s == nil {
			_, err := r.Submit()
			require.NoError(t, err)
			s = r.GetSQE()
		}
		require.NotNil(t, s)
		s.PrepNop()
		s.UserData = uint64(i)
	}
	_, err := r.Submit()
	require.NoError(t, err)
	assert.True(t, r.Overflown())
	assert.True(t, r.CQNearlyFull())
	for i, c := range reap(t, r, n) {
		require.Equal(t, uint64(i), c.UserData, "nothing lost, nothing out of order")
	}
	_, err = r.Submit()
	require.NoError(t, err)
	assert.False(t, r.Overflown())
	assert.False(t, r.CQNearlyFull())
	assert.Zero(t, r.Dropped())
}

func TestWaitTimesOut(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	n, err := r.SubmitAndWait(1, 10*time.Millisecond)
	assert.NoError(t, err)
	assert.Zero(t, n)
	_, err = r.SubmitAndWait(-1, 0)
	assert.ErrorContains(t, err, "-1 is out of range: allowed are 0 to 8")
}

func TestRingRefusesOtherThreads(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags | SetupDisabled})
	require.NoError(t, r.Enable())
	errs := make(chan []error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, submit := r.Submit()
		_, probe := r.Probe()
		errs <- []error{submit, probe, r.Enable(), r.Close(), r.RegisterNAPI(0, false), r.UnregisterNAPI(),
			r.RegisterBufRing(nil, 1, 0, 0), r.UnregisterBufRing(0), r.RegisterRingFD(), r.Check("mine")}
	}()
	for i, err := range <-errs {
		assert.ErrorIs(t, err, ErrWrongThread, "call %d", i)
		assert.ErrorIs(t, err, syscall.EEXIST, "call %d", i)
		assert.ErrorContains(t, err, "called off the thread that owns the ring")
		_, ok := errors.AsType[*os.SyscallError](err)
		assert.True(t, ok, "call %d", i)
	}
	_, err := r.Submit()
	assert.NoError(t, err, "the owner still can")
}

func TestClosedRing(t *testing.T) {
	closed := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	assert.NotNil(t, closed.Pointer())
	require.NoError(t, closed.Close())
	for name, r := range map[string]*Ring{"closed": closed, "zero": {}} {
		require.NoError(t, r.Close(), name)
		_, err := r.Submit()
		assert.ErrorIs(t, err, os.ErrClosed, name)
		assert.ErrorIs(t, r.Enable(), os.ErrClosed, name)
		assert.ErrorIs(t, r.Check("mine"), os.ErrClosed, name)
		assert.Equal(t, -1, r.FD(), name)
		assert.Nil(t, r.Pointer(), name)
	}
}

// TestKernelErrorsNameTheCall has the kernel refuse set-up, a registration and a
// submission.
func TestKernelErrorsNameTheCall(t *testing.T) {
	_, err := New(Config{Entries: 4, Flags: 1 << 31})
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags | SetupDisabled})
	_, err = r.Submit()
	assertRefused(t, err, "io_uring_enter", syscall.EBADFD)
	require.NoError(t, r.Enable())
	assertRefused(t, r.Enable(), "io_uring_enable_rings", syscall.EBADFD)
	assertRefused(t, r.UnregisterBufRing(7), "io_uring_unregister_buf_ring", syscall.ENOENT)
	assertRefused(t, r.RegisterBufRing(unsafe.Pointer(&mapped(t, os.Getpagesize())[0]), 3, 0, 0), "io_uring_register_buf_ring", syscall.EINVAL)
}

func assertRefused(t *testing.T, err error, call string, errno syscall.Errno) {
	t.Helper()
	assert.Equal(t, &os.SyscallError{Syscall: call, Err: errno}, err)
}

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

// TestProvidedBufferRing receives into a buffer of a ring that is registered by hand.
func TestProvidedBufferRing(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	mem := mapped(t, 3*os.Getpagesize())
	buffer := mem[os.Getpagesize():][:100]
	binary.NativeEndian.PutUint64(mem[0:], uint64(sliceAddr(buffer)))
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
	r.GetSQE().PrepRecvMultishot(pair[0], 9, 0)
	c := reap(t, r, 1)[0]
	require.Equal(t, int32(8), c.Res, "%v", c.Errno())
	assert.NotZero(t, c.Flags&CQEBuffer)
	assert.Equal(t, uint16(42), c.BufferID())
	assert.Equal(t, "provided", string(buffer[:8]))
	require.NoError(t, r.UnregisterBufRing(9))
}

func TestRingConfigRanges(t *testing.T) {
	for want, cfg := range map[string]Config{
		"Entries 0 is out of range: allowed are 1 to 32768":   {},
		"Entries 32769 is out of range":                       {Entries: 32769},
		"CQEntries 2 is out of range: allowed are 4 to 65536": {Entries: 4, CQEntries: 2},
		"CQEntries 65537 is out of range":                     {Entries: 4, CQEntries: 65537},
		"SetupCQE32 and SetupCQEMixed exclude each other":     {Entries: 4, Flags: SetupCQE32 | SetupCQEMixed},
	} {
		_, err := New(cfg)
		assert.ErrorContains(t, err, want)
	}
	r := newTestRing(t, Config{Entries: 1 << 20, Flags: SetupClamp})
	assert.Equal(t, MaxEntries, r.SQEntries())
}

// TestSocketRequests runs one connection through every kind of request that a
// server needs.
func TestSocketRequests(t *testing.T) {
	r := newTestRing(t, Config{Entries: 32, Flags: ownerFlags | SetupCQE32})
	listener, addr := listenRaw(t)
	submit := func(userData uint64, prep func(*SQE)) {
		t.Helper()
		s := r.GetSQE()
		require.NotNil(t, s)
		prep(s)
		s.UserData = userData
	}
	mem := mapped(t, 1<<16)
	out, in := mem[:8192], mem[8192:16384]
	for i := range out {
		out[i] = byte(i * 7)
	}

	submit(1, func(s *SQE) { s.PrepMultishotAccept(listener, unix.SOCK_CLOEXEC) })
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	submit(2, func(s *SQE) { s.PrepConnect(client, addr) })
	byUser := map[uint64]CQE{}
	for _, c := range reap(t, r, 2) {
		byUser[c.UserData] = c
	}
	accepted, connected := byUser[1], byUser[2]
	require.Zero(t, connected.Errno())
	require.Positive(t, accepted.Res)
	assert.True(t, accepted.More(), "accept goes on")
	server := int(accepted.Res)

	submit(3, func(s *SQE) { s.PrepPollMultishot(server, unix.POLLIN) })
	submit(4, func(s *SQE) { s.PrepSend(client, out[:4096], 0) })
	for _, c := range reap(t, r, 2) {
		switch c.UserData {
		case 3:
			assert.NotZero(t, c.Res&unix.POLLIN)
			assert.True(t, c.More())
		case 4:
			assert.Equal(t, int32(4096), c.Res)
		}
	}
	submit(5, func(s *SQE) { s.PrepCancel(3, 0) })
	for _, c := range reap(t, r, 2) { // the poll's last and the cancellation's
		if c.UserData == 3 {
			assert.Equal(t, syscall.ECANCELED, c.Errno())
			assert.False(t, c.More())
		} else {
			assert.Zero(t, c.Errno())
		}
	}
	submit(6, func(s *SQE) { s.PrepRecv(server, in[:4096], unix.MSG_WAITALL) })
	assert.Equal(t, int32(4096), reap(t, r, 1)[0].Res)
	assert.Equal(t, out[:4096], in[:4096])

	submit(7, func(s *SQE) { s.PrepSendZC(client, out, 0, 0) })
	submit(8, func(s *SQE) { s.PrepRecv(server, in, unix.MSG_WAITALL) })
	notified := false
	for _, c := range reap(t, r, 3) {
		switch {
		case c.UserData == 7 && c.Flags&CQENotif != 0:
			notified = true
		case c.UserData == 7:
			assert.Equal(t, int32(8192), c.Res)
			assert.True(t, c.More(), "the notification follows")
		case c.UserData == 8:
			assert.Equal(t, int32(8192), c.Res)
		}
	}
	assert.True(t, notified)
	assert.Equal(t, out, in)

	submit(9, func(s *SQE) { s.PrepShutdown(client, unix.SHUT_WR) })
	assert.Zero(t, reap(t, r, 1)[0].Res)
	submit(10, func(s *SQE) { s.PrepRecv(server, in, 0) })
	assert.Zero(t, reap(t, r, 1)[0].Res, "end of stream")
	submit(11, func(s *SQE) { s.PrepCancelFD(listener, CancelAll) })
	reap(t, r, 2)
	for i, fd := range []int{client, server, listener} {
		submit(uint64(20+i), func(s *SQE) { s.PrepClose(fd) })
	}
	for _, c := range reap(t, r, 3) {
		assert.Zero(t, c.Errno())
	}
}

func TestTimeoutAndPollOnce(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	var pin runtime.Pinner
	defer pin.Unpin()
	ts := TimespecOf(5 * time.Millisecond)
	pin.Pin(&ts)
	s := r.GetSQE()
	s.PrepTimeout(&ts, 0, 0)
	c := reap(t, r, 1)[0]
	assert.Equal(t, syscall.ETIME, c.Errno())

	read, write, err := os.Pipe()
	require.NoError(t, err)
	defer read.Close()
	s = r.GetSQE()
	s.PrepPollAdd(int(read.Fd()), unix.POLLHUP)
	_, err = r.Submit()
	require.NoError(t, err)
	require.NoError(t, write.Close())
	c = reap(t, r, 1)[0]
	assert.NotZero(t, c.Res&unix.POLLHUP)
}

func TestMsgRing(t *testing.T) {
	// The target has no single issuer: a message to such a ring may come from
	// anywhere.
	from := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	to := newTestRing(t, Config{Entries: 4})
	from.GetSQE().PrepMsgRing(to.FD(), 42, 4711, 0)
	c := reap(t, from, 1)[0]
	require.Zero(t, c.Errno())
	c = reap(t, to, 1)[0]
	assert.Equal(t, uint64(4711), c.UserData)
	assert.Equal(t, int32(42), c.Res)
}

func TestRegisterNAPI(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	err := r.RegisterNAPI(50*time.Microsecond, true)
	skip.Unless(t, "busy polling", "6.9", err)
	require.NoError(t, r.UnregisterNAPI())
	assert.ErrorContains(t, r.RegisterNAPI(-time.Second, false), "out of range")
}

// listenRaw makes a listening socket on loopback and the raw address of it.
func listenRaw(t *testing.T) (fd int, sockaddr []byte) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(fd, 16))
	sa, err := unix.Getsockname(fd)
	require.NoError(t, err)
	port := sa.(*unix.SockaddrInet4).Port
	mem := mapped(t, os.Getpagesize())
	raw := fmt.Appendf(mem[:0], "\x02\x00%c%c\x7f\x00\x00\x01", 0, 0) // AF_INET, little endian
	raw[2], raw[3] = byte(port>>8), byte(port)
	return fd, mem[:16]
}

// mapped is memory that stays where it is until the test ends.
func mapped(t *testing.T, size int) []byte {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, unix.Munmap(mem)) })
	return mem
}
