//go:build linux && cgo

package uring

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/skip"
)

// regResults reaps n completions and returns their results by user data. Each user data has the
// results in their order.
func regResults(t *testing.T, r *Ring, n int) map[uint64][]int32 {
	t.Helper()
	results := map[uint64][]int32{}
	for _, c := range reap(t, r, n) {
		results[c.UserData] = append(results[c.UserData], c.Res)
	}
	return results
}

// regOneCancelled reaps request 1, which request 2 cancels. The cancellation of a wait for a
// process or a futex says 1, not 0, on some kernels.
func regOneCancelled(t *testing.T, r *Ring) {
	t.Helper()
	results := regResults(t, r, 2)
	assert.Equal(t, []int32{failed(syscall.ECANCELED)}, results[1])
	assert.Contains(t, []int32{0, 1}, results[2][0])
}

// regLong is the time of timeouts that do not pass in a test.
func regLong() *Timespec { return &Timespec{Sec: 3600} }

// regShort is the time of timeouts that pass.
func regShort() *Timespec { return &Timespec{Nsec: 1e6} }

func TestOpNop(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		for range 3 * r.SQEntries() {
			assert.Zero(t, succeed(t, r, (*SQE).PrepNop))
		}
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepNop(); s.Opcode = 255 })
		if r.Flags()&(SetupSQE128|SetupSQEMixed) == 0 {
			assert.Nil(t, r.GetSQE128())
			failWith(t, r, syscall.EINVAL, (*SQE).PrepNop128)
		}
		queue(t, r, 1, func(s *SQE) { s.PrepNop(); s.Flags |= SQECQESkipSuccess })
		queue(t, r, 2, func(s *SQE) { s.PrepNop(); s.Flags |= SQEAsync })
		assert.Equal(t, map[uint64][]int32{2: {0}}, regResults(t, r, 1))
	})
}

func TestOpNop128InLargeEntries(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: SetupSQE128})
	need(t, r, OpNop128, "6.19")
	for range 10 {
		s := r.GetSQE128()
		require.NotNil(t, s)
		s.PrepNop128()
		assert.Equal(t, 3, r.SQSpaceLeft())
		assert.Zero(t, reap(t, r, 1)[0].Res)
	}
}

// Each of the places of a mixed queue is the first of a large entry, but the last: there, an
// entry that does nothing is put in between.
func TestOpNop128InMixedEntries(t *testing.T) {
	cfg := Config{Entries: 4, Flags: ownerFlags | SetupSQEMixed}
	skipSetup(t, cfg, "6.19")
	for first := range 4 {
		r := newTestRing(t, cfg)
		for range first {
			succeed(t, r, (*SQE).PrepNop)
		}
		s := r.GetSQE128()
		require.NotNil(t, s)
		s.PrepNop128()
		s.UserData = 128
		if first == 3 {
			assert.Equal(t, 1, r.SQSpaceLeft())
			assert.Nil(t, r.GetSQE128(), "one place is left")
		} else {
			assert.Equal(t, 2, r.SQSpaceLeft())
		}
		for r.SQSpaceLeft() > 0 {
			queue(t, r, 64, (*SQE).PrepNop)
		}
		assert.Nil(t, r.GetSQE128())
		want := map[uint64][]int32{128: {0}, 64: {0, 0}}
		if first == 3 {
			want[64] = []int32{0}
		}
		assert.Equal(t, want, regResults(t, r, len(want[64])+1), "first %d", first)
		assert.Zero(t, r.Pending())
		assert.Zero(t, r.SQReady())
		require.NoError(t, r.Close())
	}
	r := newTestRing(t, cfg)
	for range 3 {
		succeed(t, r, (*SQE).PrepNop)
	}
	failWith(t, r, syscall.EINVAL, (*SQE).PrepNop128) // half of it would be at the first place
	succeed(t, r, (*SQE).PrepNop)
	queue(t, r, 0, (*SQE).PrepNop)
	queue(t, r, 0, (*SQE).PrepNop)
	assert.Equal(t, 2, r.SQSpaceLeft())
	assert.Nil(t, r.GetSQE128(), "at the last place with no room for three")
	assert.Equal(t, 2, r.SQSpaceLeft(), "nothing was taken")
	reap(t, r, 2)
}

// A socket has commands, of which the first asks how much there is to read; a file has none.
func TestOpUringCmd(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) { regCommands(t, r, (*SQE).PrepUringCmd, r.GetSQE) })
}

func TestOpUringCmd128(t *testing.T) {
	for _, flags := range []SetupFlags{SetupSQE128, ownerFlags | SetupSQEMixed} {
		cfg := Config{Entries: 8, Flags: flags}
		skipSetup(t, cfg, "6.19")
		r := newTestRing(t, cfg)
		need(t, r, OpUringCmd128, "6.19")
		regCommands(t, r, (*SQE).PrepUringCmd128, r.GetSQE128)
	}
}

func regCommands(t *testing.T, r *Ring, prep func(*SQE, uint32, int), entry func() *SQE) {
	t.Helper()
	need(t, r, OpSendmsgZC, "6.7") // commands of sockets came later, with what waits for processes
	need(t, r, OpWaitid, "6.7")
	a, b := tcpPair(t)
	_, err := unix.Write(a, []byte("hello"))
	require.NoError(t, err)
	assert.Equal(t, unix.POLLIN, succeed(t, r, func(s *SQE) { s.PrepPollAdd(b, unix.POLLIN) }))
	do := func(op uint32, fd int) CQE {
		s := entry()
		require.NotNil(t, s)
		prep(s, op, fd)
		s.UserData = 5
		c := reap(t, r, 1)[0]
		assert.EqualValues(t, 5, c.UserData)
		return c
	}
	assert.EqualValues(t, 5, do(0, b).Res)
	assert.Equal(t, failed(syscall.EOPNOTSUPP), do(4711, b).Res)
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	require.NoError(t, err)
	defer f.Close()
	assert.Equal(t, failed(syscall.EOPNOTSUPP), do(0, int(f.Fd())).Res)
	assert.Equal(t, failed(syscall.EBADF), do(0, -1).Res)
}

func TestOpTimeout(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		begun := time.Now()
		failWith(t, r, unix.ETIME, func(s *SQE) { s.PrepTimeout(regShort(), 0, 0) })
		assert.GreaterOrEqual(t, time.Since(begun), time.Millisecond)

		queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regLong(), 2, 0) })
		queue(t, r, 2, (*SQE).PrepNop)
		queue(t, r, 3, (*SQE).PrepNop)
		assert.Equal(t, map[uint64][]int32{1: {0}, 2: {0}, 3: {0}}, regResults(t, r, 3))

		for _, bad := range []func(*SQE){
			func(s *SQE) { s.PrepTimeout(&Timespec{Sec: -1}, 0, 0) },
			func(s *SQE) { s.PrepTimeout(regShort(), 0, TimeoutBoottime|TimeoutRealtime) },
			func(s *SQE) { s.PrepTimeout(regShort(), 0, TimeoutUpdate) },
			func(s *SQE) { s.PrepTimeout(regShort(), 0, 1<<31) },
			func(s *SQE) { s.PrepTimeout(regShort(), 0, TimeoutMultishot|TimeoutAbs) },
		} {
			failWith(t, r, syscall.EINVAL, bad)
		}
		failWith(t, r, syscall.EFAULT, func(s *SQE) { s.PrepTimeout(nil, 0, 0) })
	})
}

func TestOpTimeoutOfEachClock(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	for flag, clock := range map[TimeoutFlags]int32{
		0: unix.CLOCK_MONOTONIC, TimeoutBoottime: unix.CLOCK_BOOTTIME, TimeoutRealtime: unix.CLOCK_REALTIME,
	} {
		failWith(t, r, unix.ETIME, func(s *SQE) { s.PrepTimeout(regShort(), 0, flag) })
		var now unix.Timespec
		require.NoError(t, unix.ClockGettime(clock, &now))
		at := TimespecOf(time.Duration(now.Nano()) + 2*time.Millisecond)
		failWith(t, r, unix.ETIME, func(s *SQE) { s.PrepTimeout(&at, 0, flag|TimeoutAbs) })
		require.NoError(t, unix.ClockGettime(clock, &now))
		assert.GreaterOrEqual(t, time.Duration(now.Nano()), time.Duration(at.Sec*1e9+at.Nsec))
	}
	failWith(t, r, unix.ETIME, func(s *SQE) { s.PrepTimeout(&Timespec{Sec: 1}, 0, TimeoutAbs|TimeoutRealtime) }) // in 1970
}

func TestOpTimeoutAgainAndAgain(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpReadMultishot, "6.7") // a little younger
	queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regShort(), 3, TimeoutMultishot) })
	for i, c := range reap(t, r, 3) {
		assert.Equal(t, unix.ETIME, c.Errno())
		assert.Equal(t, i < 2, c.More())
	}
	queue(t, r, 2, func(s *SQE) { s.PrepTimeout(regShort(), 0, TimeoutMultishot) })
	for _, c := range reap(t, r, 5) {
		assert.Equal(t, unix.ETIME, c.Errno())
		assert.True(t, c.More())
	}
	queue(t, r, 3, func(s *SQE) { s.PrepTimeout(regLong(), 0, TimeoutMultishot) }) // 2 may be on its way
	queue(t, r, 4, func(s *SQE) { s.PrepTimeoutRemove(3, 0) })
	results := map[uint64]CQE{}
	for len(results) < 2 {
		if c := reap(t, r, 1)[0]; c.UserData != 2 {
			results[c.UserData] = c
		}
	}
	removed := results[3]
	assert.Equal(t, syscall.ECANCELED, removed.Errno())
	assert.False(t, removed.More())
	assert.Zero(t, results[4].Res)
}

func TestOpTimeoutThatIsNoFailure(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		for flag, want := range map[TimeoutFlags]int32{0: failed(syscall.ECANCELED), TimeoutETimeSuccess: 0} {
			queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regShort(), 0, flag); s.Flags |= SQELink })
			queue(t, r, 2, (*SQE).PrepNop)
			assert.Equal(t, map[uint64][]int32{1: {failed(unix.ETIME)}, 2: {want}}, regResults(t, r, 2))
		}
	})
}

func TestOpTimeoutWithItsTimeInTheEntry(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	prep := func(s *SQE) {
		s.PrepTimeout(nil, 0, TimeoutImmediateArg)
		s.Addr = uint64(time.Millisecond)
	}
	c := one(t, r, prep)
	if c.Errno() == syscall.EINVAL {
		skip.Unless(t, "timeouts in entries", "7.1", c.Errno())
	}
	assert.Equal(t, unix.ETIME, c.Errno())
}

func TestOpTimeoutRemove(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regLong(), 0, 0) })
		queue(t, r, 2, func(s *SQE) { s.PrepTimeoutRemove(1, 0) })
		assert.Equal(t, map[uint64][]int32{1: {failed(syscall.ECANCELED)}, 2: {0}}, regResults(t, r, 2))
		failWith(t, r, syscall.ENOENT, func(s *SQE) { s.PrepTimeoutRemove(1, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepTimeoutRemove(1, TimeoutAbs) })
	})
}

func TestOpTimeoutUpdate(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		for _, clock := range []TimeoutFlags{0, TimeoutBoottime, TimeoutRealtime} {
			queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regLong(), 0, clock) })
			queue(t, r, 2, func(s *SQE) { s.PrepTimeoutUpdate(regShort(), 1, 0) })
			assert.Equal(t, map[uint64][]int32{1: {failed(unix.ETIME)}, 2: {0}}, regResults(t, r, 2))
			queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regLong(), 0, clock) })
			queue(t, r, 2, func(s *SQE) { s.PrepTimeoutUpdate(&Timespec{Sec: 1}, 1, TimeoutAbs) })
			assert.Equal(t, map[uint64][]int32{1: {failed(unix.ETIME)}, 2: {0}}, regResults(t, r, 2), "long ago on each clock")
		}
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepTimeoutUpdate(regShort(), 1, TimeoutRealtime) }) // the clock stays
		failWith(t, r, syscall.ENOENT, func(s *SQE) { s.PrepTimeoutUpdate(regShort(), 1, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepTimeoutUpdate(&Timespec{Sec: -1}, 1, 0) })
		failWith(t, r, syscall.EFAULT, func(s *SQE) { s.PrepTimeoutUpdate(nil, 1, 0) })
	})
}

func TestOpLinkTimeout(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		rd, _ := pipe(t)
		cancelled, passed := failed(syscall.ECANCELED), failed(unix.ETIME)
		poll := func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN); s.Flags |= SQELink }
		queue(t, r, 1, poll)
		queue(t, r, 2, func(s *SQE) { s.PrepLinkTimeout(regShort(), 0) })
		assert.Equal(t, map[uint64][]int32{1: {cancelled}, 2: {passed}}, regResults(t, r, 2))

		queue(t, r, 1, func(s *SQE) { s.PrepNop(); s.Flags |= SQELink })
		queue(t, r, 2, func(s *SQE) { s.PrepLinkTimeout(regLong(), 0) })
		assert.Equal(t, map[uint64][]int32{1: {0}, 2: {cancelled}}, regResults(t, r, 2))

		queue(t, r, 1, poll)
		queue(t, r, 2, func(s *SQE) { s.PrepLinkTimeout(regLong(), 0) })
		queue(t, r, 3, func(s *SQE) { s.PrepTimeoutUpdate(regShort(), 2, 0) })
		queue(t, r, 4, func(s *SQE) { s.PrepTimeoutUpdate(regShort(), 2, LinkTimeoutUpdate) })
		want := map[uint64][]int32{1: {cancelled}, 2: {passed}, 3: {failed(syscall.ENOENT)}, 4: {0}}
		assert.Equal(t, want, regResults(t, r, 4), "only with its flag")

		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepLinkTimeout(regShort(), 0) }) // of nothing
	})
}

func TestOpCancel(t *testing.T) {
	for name, c := range map[string]struct {
		prep func(s *SQE, fd int)
		want int32
		ends int // how many requests
	}{
		"user data":           {func(s *SQE, _ int) { s.PrepCancel(1, 0) }, 0, 1},
		"all of user data":    {func(s *SQE, _ int) { s.PrepCancel(1, CancelAll) }, 2, 2},
		"fd":                  {func(s *SQE, fd int) { s.PrepCancelFD(fd, 0) }, 0, 1},
		"all of fd":           {func(s *SQE, fd int) { s.PrepCancelFD(fd, CancelAll) }, 3, 3},
		"fd and user data":    {func(s *SQE, fd int) { s.PrepCancelFD(fd, CancelAll|CancelUserData); s.Addr = 2 }, 1, 1},
		"place":               {func(s *SQE, _ int) { s.PrepCancelFD(3, CancelAll|CancelFDFixed) }, 3, 3},
		"any":                 {func(s *SQE, _ int) { s.PrepCancel(0, CancelAny) }, 4, 4},
		"any, all":            {func(s *SQE, _ int) { s.PrepCancel(0, CancelAny|CancelAll) }, 4, 4},
		"operation":           {func(s *SQE, _ int) { s.PrepCancel(0, CancelOp); s.Len = uint32(OpTimeout) }, 0, 1},
		"all of operation":    {func(s *SQE, _ int) { s.PrepCancel(0, CancelOp|CancelAll); s.Len = uint32(OpPollAdd) }, 3, 3},
		"other user data":     {func(s *SQE, _ int) { s.PrepCancel(9, 0) }, failed(syscall.ENOENT), 0},
		"all of nothing":      {func(s *SQE, _ int) { s.PrepCancel(9, CancelAll) }, 0, 0},
		"other operation":     {func(s *SQE, _ int) { s.PrepCancel(0, CancelOp); s.Len = uint32(OpRead) }, failed(syscall.ENOENT), 0},
		"closed fd":           {func(s *SQE, _ int) { s.PrepCancelFD(1<<20, 0) }, failed(syscall.EBADF), 0},
		"empty place":         {func(s *SQE, _ int) { s.PrepCancelFD(2, CancelFDFixed) }, failed(syscall.EBADF), 0},
		"fd and any":          {func(s *SQE, fd int) { s.PrepCancelFD(fd, CancelAny) }, failed(syscall.EINVAL), 0},
		"operation and any":   {func(s *SQE, _ int) { s.PrepCancel(0, CancelOp|CancelAny) }, failed(syscall.EINVAL), 0},
		"unknown flag":        {func(s *SQE, _ int) { s.PrepCancel(1, 1<<31) }, failed(syscall.EINVAL), 0},
		"with a linked flag":  {func(s *SQE, _ int) { s.PrepCancel(1, 0); s.Flags |= SQELink }, 0, 1},
		"in a worker":         {func(s *SQE, _ int) { s.PrepCancel(1, 0); s.Flags |= SQEAsync }, 0, 1},
		"with a buffer group": {func(s *SQE, _ int) { s.PrepCancel(1, 0); s.Flags |= SQEBufferSelect }, failed(syscall.EOPNOTSUPP), 0},
	} {
		t.Run(name, func(t *testing.T) {
			eachRing(t, func(t *testing.T, r *Ring) {
				need(t, r, OpWaitid, "6.7") // as old as the youngest flag, or younger
				rd, _ := pipe(t)
				require.NoError(t, r.RegisterFiles(-1, -1, -1, rd))
				for _, userData := range []uint64{1, 1, 2} {
					queue(t, r, userData, func(s *SQE) { s.PrepPollAdd(3, unix.POLLIN); s.Flags |= SQEFixedFile })
				}
				queue(t, r, 3, func(s *SQE) { s.PrepTimeout(regLong(), 0, 0) })
				queue(t, r, 77, func(s *SQE) { c.prep(s, rd) })
				n := 0
				for _, done := range reap(t, r, 1+c.ends) {
					if done.UserData == 77 {
						assert.Equal(t, c.want, done.Res)
						continue
					}
					assert.Equal(t, syscall.ECANCELED, done.Errno())
					n++
				}
				assert.Equal(t, c.ends, n)
				succeed(t, r, (*SQE).PrepNop) // alone: nothing else has ended
			})
		})
	}
}

func TestOpWaitid(t *testing.T) {
	if os.Getenv("URING_TEST_CHILD") != "" {
		_, _ = io.ReadAll(os.Stdin)
		os.Exit(7)
	}
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpWaitid, "6.7")
		pid, end := regChild(t)
		info := new(unix.Siginfo)
		queue(t, r, 1, func(s *SQE) { s.PrepWaitid(unix.P_PID, pid, info, unix.WEXITED, 0) })
		queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
		regOneCancelled(t, r)
		queue(t, r, 3, func(s *SQE) { s.PrepWaitid(unix.P_PID, pid, info, unix.WEXITED, 0) })
		_, err := r.Submit()
		require.NoError(t, err)
		assert.Zero(t, r.Pending())
		end()
		assert.Zero(t, reap(t, r, 1)[0].Res)
		raw := (*[128]byte)(unsafe.Pointer(info))
		assert.EqualValues(t, unix.SIGCHLD, info.Signo)
		assert.EqualValues(t, 1, info.Code) // CLD_EXITED
		assert.EqualValues(t, pid, binary.NativeEndian.Uint32(raw[16:]))
		assert.EqualValues(t, 7, binary.NativeEndian.Uint32(raw[24:]))
		_, err = unix.Wait4(pid, nil, 0, nil)
		assert.Equal(t, unix.ECHILD, err, "it was waited for")

		failWith(t, r, syscall.ECHILD, func(s *SQE) { s.PrepWaitid(unix.P_PID, pid, info, unix.WEXITED, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepWaitid(unix.P_PID, pid, info, 0, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepWaitid(99, pid, info, unix.WEXITED, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepWaitid(unix.P_PID, pid, info, unix.WEXITED, 1) })
		runtime.KeepAlive(info)
	})
}

// regChild starts a process that exits with 7 when end is called.
func regChild(t *testing.T) (pid int, end func()) {
	t.Helper()
	rd, wr, err := os.Pipe()
	require.NoError(t, err)
	pid, err = syscall.ForkExec("/proc/self/exe", []string{os.Args[0], "-test.run=^TestOpWaitid$"}, &syscall.ProcAttr{
		Env: append(os.Environ(), "URING_TEST_CHILD="+strconv.Itoa(os.Getpid())), Files: []uintptr{rd.Fd(), 1, 2},
	})
	require.NoError(t, err)
	require.NoError(t, rd.Close())
	t.Cleanup(func() { _ = wr.Close() })
	return pid, func() { assert.NoError(t, wr.Close()) }
}

func TestOpFutex(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFutexWait, "6.7")
		const flags = Futex32 | FutexPrivate
		futex := new(uint32)
		*futex = 5
		wait := func(s *SQE) { s.PrepFutexWait(futex, 5, FutexMatchAny, flags, 0) }
		queue(t, r, 1, wait)
		queue(t, r, 2, func(s *SQE) { s.PrepFutexWake(futex, 1, FutexMatchAny, flags, 0) })
		assert.Equal(t, map[uint64][]int32{1: {0}, 2: {1}}, regResults(t, r, 2))
		queue(t, r, 1, wait)
		queue(t, r, 1, wait)
		queue(t, r, 1, wait)
		queue(t, r, 2, func(s *SQE) { s.PrepFutexWake(futex, 2, FutexMatchAny, flags, 0) })
		queue(t, r, 3, func(s *SQE) { s.PrepFutexWake(futex, 9, FutexMatchAny, flags, 0) })
		assert.Equal(t, map[uint64][]int32{1: {0, 0, 0}, 2: {2}, 3: {1}}, regResults(t, r, 5))

		queue(t, r, 1, func(s *SQE) { s.PrepFutexWait(futex, 5, 0b01, flags, 0) })
		queue(t, r, 2, func(s *SQE) { s.PrepFutexWake(futex, 1, 0b10, flags, 0) })
		queue(t, r, 3, func(s *SQE) { s.PrepFutexWake(futex, 1, 0b11, flags, 0) })
		assert.Equal(t, map[uint64][]int32{1: {0}, 2: {0}, 3: {1}}, regResults(t, r, 3))

		queue(t, r, 1, wait)
		queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
		regOneCancelled(t, r)

		queue(t, r, 1, wait)
		_, err := r.Submit()
		require.NoError(t, err)
		require.Eventually(t, func() bool { // SetupSQPoll: by then it waits
			n, _, errno := unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(futex)), 1|128, 1, 0, 0, 0) // FUTEX_WAKE_PRIVATE
			return errno == 0 && n == 1
		}, eventuallyWithin, eventuallyEvery)
		assert.Equal(t, map[uint64][]int32{1: {0}}, regResults(t, r, 1), "woken by futex(2)")

		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepFutexWake(futex, 1, FutexMatchAny, flags, 0) }))
		failWith(t, r, syscall.EAGAIN, func(s *SQE) { s.PrepFutexWait(futex, 6, FutexMatchAny, flags, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWait(futex, 5, 0, flags, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWait(futex, 5, FutexMatchAny, FutexPrivate, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWait(futex, 5, FutexMatchAny, flags, 1) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWake(futex, 1, FutexMatchAny, flags, 1) })
		failWith(t, r, syscall.EFAULT, func(s *SQE) { s.PrepFutexWait(nil, 5, FutexMatchAny, Futex32, 0) })
		runtime.KeepAlive(futex)
	})
}

func TestOpFutexWaitv(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpFutexWaitv, "6.7")
		const flags = Futex32 | FutexPrivate
		a, b := new(uint32), new(uint32)
		both := []FutexWaiter{NewFutexWaiter(a, 0, flags), NewFutexWaiter(b, 0, flags)}
		wait := func(s *SQE) { s.PrepFutexWaitv(both, 0) }
		for i, f := range []*uint32{a, b} {
			queue(t, r, 1, wait)
			queue(t, r, 2, func(s *SQE) { s.PrepFutexWake(f, 1, FutexMatchAny, flags, 0) })
			assert.Equal(t, map[uint64][]int32{1: {int32(i)}, 2: {1}}, regResults(t, r, 2))
		}
		queue(t, r, 1, wait)
		queue(t, r, 2, func(s *SQE) { s.PrepCancel(1, 0) })
		regOneCancelled(t, r)
		many := make([]FutexWaiter, 129)
		for i := range many {
			many[i] = both[0]
		}
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWaitv(many, 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWaitv(both[:0], 0) })
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFutexWaitv(both, 1) })
		*b = 1
		failWith(t, r, syscall.EAGAIN, wait)
		runtime.KeepAlive(a)
	})
}
