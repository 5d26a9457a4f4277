//go:build linux && cgo

package uring

import (
	"os"
	"os/signal"
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

// regTook returns how long f took.
func regTook(f func()) time.Duration {
	begun := time.Now()
	f()
	return time.Since(begun)
}

// regQuiet blocks the signals with which Go interrupts the thread, until the test ends: each would
// end a wait. The test's goroutine is locked to its thread.
func regQuiet(t *testing.T) {
	t.Helper()
	var set, old unix.Sigset_t
	set.Val[0] = 1 << (unix.SIGURG - 1)
	require.NoError(t, unix.PthreadSigmask(unix.SIG_BLOCK, &set, &old))
	t.Cleanup(func() { assert.NoError(t, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)) })
}

const regTooLong = 10 * time.Second // of waits that end long before

func TestWait(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		regQuiet(t)
		require.NoError(t, r.Wait(0, WaitOptions{}))
		require.NoError(t, r.Wait(1, WaitOptions{}))
		queue(t, r, 1, (*SQE).PrepNop)
		took := regTook(func() { assert.NoError(t, r.Wait(1, WaitOptions{Timeout: 2 * time.Millisecond})) })
		assert.GreaterOrEqual(t, took, 2*time.Millisecond)
		assert.Equal(t, 1, r.SQReady(), "it was not submitted")
		assert.Zero(t, r.Pending())
		poller := r.Flags()&SetupSQPoll != 0 // it takes entries when it likes: the number means nothing
		n, err := r.SubmitAndWaitOptions(1, WaitOptions{Timeout: -1})
		require.NoError(t, err)
		assert.True(t, n == 1 || poller, "%d", n)
		assert.Equal(t, map[uint64][]int32{1: {0}}, regResults(t, r, 1))

		queue(t, r, 2, (*SQE).PrepNop)
		n, err = r.SubmitAndWaitOptions(2, WaitOptions{Timeout: 2 * time.Millisecond})
		require.NoError(t, err)
		assert.True(t, n == 1 || poller, "it says what was taken when the time has passed: %d", n)
		assert.True(t, r.Pending() == 1 || poller)
		queue(t, r, 3, func(s *SQE) { s.PrepTimeout(regShort(), 0, 0) })
		_, err = r.SubmitOnly()
		require.NoError(t, err)
		require.NoError(t, r.Wait(2, WaitOptions{Timeout: -1}))
		assert.Equal(t, map[uint64][]int32{2: {0}, 3: {failed(unix.ETIME)}}, regResults(t, r, 2))
	})
	r := newTestRing(t, Config{Entries: 4})
	assert.ErrorContains(t, r.Wait(9, WaitOptions{}), "number of completions to wait for 9 is out of range: allowed are 0 to 8")
	_, err := r.SubmitAndWaitOptions(-1, WaitOptions{})
	assert.ErrorContains(t, err, "number of completions to wait for -1 is out of range: allowed are 0 to 8")
	assert.ErrorContains(t, r.Wait(1, WaitOptions{MinTimeout: -time.Second}), "WaitOptions.MinTimeout in µs -1000000 is out of range: allowed are 0 to 4294967295")
}

// With a minimum time, a wait ends with fewer completions than it is for.
func TestWaitMinTimeout(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	regQuiet(t)
	if r.Features()&FeatMinTimeout == 0 {
		assert.Equal(t, syscall.EINVAL, regErrno(r.Wait(1, WaitOptions{MinTimeout: 1})))
		skip.Unless(t, "waits with a minimum time", "6.12", syscall.EINVAL)
	}
	o := WaitOptions{Timeout: regTooLong, MinTimeout: 2 * time.Millisecond}
	queue(t, r, 1, (*SQE).PrepNop)
	took := regTook(func() {
		n, err := r.SubmitAndWaitOptions(2, o)
		assert.NoError(t, err)
		assert.Equal(t, 1, n)
	})
	assert.GreaterOrEqual(t, took, o.MinTimeout)
	assert.Less(t, took, regTooLong)
	assert.Equal(t, 1, r.Pending())
	for _, timeout := range []time.Duration{-1, regTooLong} {
		took = regTook(func() { assert.NoError(t, r.Wait(2, WaitOptions{Timeout: timeout, MinTimeout: o.MinTimeout})) })
		assert.GreaterOrEqual(t, took, o.MinTimeout)
		assert.Less(t, took, regTooLong)
	}
	reap(t, r, 1)
	queue(t, r, 2, func(s *SQE) { s.PrepTimeout(&Timespec{Nsec: 5e6}, 0, 0) })
	took = regTook(func() {
		_, err := r.SubmitAndWaitOptions(2, o)
		assert.NoError(t, err)
	})
	assert.GreaterOrEqual(t, took, 5*time.Millisecond, "there was none, so it went on")
	assert.Equal(t, map[uint64][]int32{2: {failed(unix.ETIME)}}, regResults(t, r, 1))
}

// TestWaitMinTimeoutForEver: a minimum time ends a wait that has no other end.
func TestWaitMinTimeoutForEver(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	regQuiet(t)
	if r.Features()&FeatMinTimeout == 0 {
		skip.Unless(t, "waits with a minimum time", "6.12", syscall.EINVAL)
	}
	queue(t, r, 1, (*SQE).PrepNop)
	queue(t, r, 2, func(s *SQE) { s.PrepTimeout(&Timespec{Nsec: 3e8}, 0, 0) }) // so that the test ends
	_, err := r.SubmitAndWaitOptions(2, WaitOptions{Timeout: -1, MinTimeout: time.Millisecond})
	require.NoError(t, err)
	assert.Equal(t, map[uint64][]int32{1: {0}}, regResults(t, r, r.Pending()))
}

// A signal ends a wait, unless it is blocked meanwhile.
func TestWaitSignals(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	came := make(chan os.Signal, 1)
	signal.Notify(came, syscall.SIGUSR1)
	defer signal.Stop(came)
	stop, stopped := make(chan struct{}), make(chan struct{})
	pid, tid := unix.Getpid(), unix.Gettid()
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				assert.NoError(t, unix.Tgkill(pid, tid, unix.SIGUSR1))
			}
		}
	}()
	assert.Less(t, regTook(func() { assert.NoError(t, r.Wait(1, WaitOptions{Timeout: regTooLong})) }), regTooLong)
	assert.Less(t, regTook(func() { assert.NoError(t, r.Wait(1, WaitOptions{Timeout: -1})) }), regTooLong)
	assert.Less(t, regTook(func() {
		_, err := r.SubmitAndWaitOptions(1, WaitOptions{Timeout: -1})
		assert.NoError(t, err)
	}), regTooLong)
	all := ^uint64(0)
	const some = 20 * time.Millisecond
	o := WaitOptions{Timeout: some, Signals: &all}
	assert.GreaterOrEqual(t, regTook(func() { assert.NoError(t, r.Wait(1, o)) }), some)
	assert.GreaterOrEqual(t, regTook(func() {
		_, err := r.SubmitAndWaitOptions(1, o)
		assert.NoError(t, err)
	}), some)
	others := all &^ (1 << (unix.SIGUSR1 - 1))
	o = WaitOptions{Timeout: regTooLong, Signals: &others}
	assert.Less(t, regTook(func() { assert.NoError(t, r.Wait(1, o)) }), regTooLong)
	close(stop)
	<-stopped
	<-came
}

// The kernel reads the arguments of such waits without a copy.
func TestWaitReg(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		regQuiet(t)
		_, err := r.SubmitAndWaitReg(1, 0)
		assert.Equal(t, syscall.EFAULT, regErrno(err), "nothing is registered")
		r = newTestRing(t, Config{Entries: 8, Flags: r.Flags() | SetupDisabled})
		page := mapped(t, os.Getpagesize())
		err = r.RegisterRegion(page, uapi.IORING_MEM_REGION_REG_WAIT_ARG)
		skip.Unless(t, "regions", "6.13", err)
		assert.Equal(t, syscall.EBUSY, regErrno(r.RegisterRegion(page, uapi.IORING_MEM_REGION_REG_WAIT_ARG)))
		require.NoError(t, r.Enable())
		args := unsafe.Slice((*uapi.RegWait)(unsafe.Pointer(&page[0])), len(page)/int(unsafe.Sizeof(uapi.RegWait{})))
		args[0] = WaitArg(2*time.Millisecond, 0)
		args[1] = WaitArg(-1, 0)
		args[2] = WaitArg(regTooLong, 2*time.Millisecond)
		took := regTook(func() {
			n, err := r.SubmitAndWaitReg(1, 0)
			assert.NoError(t, err)
			assert.Zero(t, n)
		})
		assert.GreaterOrEqual(t, took, 2*time.Millisecond)
		queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regShort(), 0, 0) })
		n, err := r.SubmitAndWaitReg(1, 1)
		require.NoError(t, err)
		assert.True(t, n == 1 || r.Flags()&SetupSQPoll != 0, "%d", n)
		// A timeout that passes ends each wait, perhaps just before its completion is there.
		assert.Equal(t, map[uint64][]int32{1: {failed(unix.ETIME)}}, regResults(t, r, 1))
		queue(t, r, 2, (*SQE).PrepNop)
		took = regTook(func() {
			_, err := r.SubmitAndWaitReg(2, 2)
			assert.NoError(t, err)
		})
		assert.GreaterOrEqual(t, took, 2*time.Millisecond, "two were waited for")
		assert.Less(t, took, regTooLong, "one was enough then")
		assert.Equal(t, map[uint64][]int32{2: {0}}, regResults(t, r, 1))
		_, err = r.SubmitAndWaitReg(1, len(args))
		assert.Equal(t, syscall.EFAULT, regErrno(err), "behind the end")
		args[3] = uapi.RegWait{Flags: 1 << 31}
		_, err = r.SubmitAndWaitReg(1, 3)
		assert.Equal(t, syscall.EINVAL, regErrno(err))
	})
	r := newTestRing(t, Config{Entries: 4})
	_, err := r.SubmitAndWaitReg(9, 0)
	assert.ErrorContains(t, err, "number of completions to wait for 9 is out of range: allowed are 0 to 8")
	_, err = r.SubmitAndWaitReg(1, -1)
	assert.ErrorContains(t, err, "index -1 is out of range: allowed are 0 to 1048576")
	page := mapped(t, os.Getpagesize())
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterRegion(page, uapi.IORING_MEM_REGION_REG_WAIT_ARG)), "it is not disabled")
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterRegion(page[:100], 0)))
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterRegion(page, 1<<31)))
	assert.Equal(t, syscall.EINVAL, regErrno(r.RegisterWaitReg(make([]uapi.RegWait, 1))), "regions have replaced it")
}

// TestWaitArgRange: a minimum time that does not fit is not cut off.
func TestWaitArgRange(t *testing.T) {
	assert.Equal(t, uapi.RegWait{MinWaitUsec: 7, Flags: uapi.IORING_REG_WAIT_TS, TS: Timespec{Sec: 2}}, WaitArg(2*time.Second, 7*time.Microsecond))
	assert.Equal(t, uapi.RegWait{}, WaitArg(-1, 0))
	assert.EqualValues(t, 1<<32-1, WaitArg(-1, time.Microsecond<<32).MinWaitUsec)
	assert.Zero(t, WaitArg(-1, -time.Second).MinWaitUsec)
}

func TestWaitSubmitOnly(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags | SetupTaskrunFlag})
	rd, wr := pipe(t)
	queue(t, r, 1, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
	n, err := r.SubmitOnly()
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	_, err = unix.Write(wr, []byte("x"))
	require.NoError(t, err)
	assert.NotZero(t, *r.mem.sqFlags&uapi.IORING_SQ_TASKRUN)
	assert.Zero(t, r.Pending(), "there is task work for it")
	require.NoError(t, r.GetEvents())
	assert.Equal(t, 1, r.Pending())
	assert.EqualValues(t, unix.POLLIN, reap(t, r, 1)[0].Res)
	queue(t, r, 2, (*SQE).PrepNop)
	require.NoError(t, r.GetEvents())
	assert.Equal(t, 1, r.SQReady(), "it submits nothing")
	reap(t, r, 1)
}

func TestSetupResize(t *testing.T) {
	for _, flags := range []SetupFlags{0, SetupSQE128 | SetupCQE32, SetupCQEMixed | SetupSQEMixed, SetupTaskrunFlag} {
		cfg := Config{Entries: 4, Flags: ownerFlags | flags}
		if flags&SetupSQEMixed != 0 {
			if r, err := New(cfg); err != nil {
				cfg.Flags &^= SetupSQEMixed | SetupCQEMixed
			} else {
				require.NoError(t, r.Close())
			}
		}
		r := newTestRing(t, cfg)
		rd, wr := pipe(t)
		queue(t, r, 1, (*SQE).PrepNop)
		queue(t, r, 2, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
		_, err := r.Submit()
		require.NoError(t, err)
		fd := r.FD()
		skip.Unless(t, "other sizes of a ring", "6.13", r.Resize(32, 0))
		assert.Equal(t, []int{32, 64, fd}, []int{r.SQEntries(), r.CQEntries(), r.FD()})
		assert.Equal(t, 1, r.Pending())
		assert.Equal(t, map[uint64][]int32{1: {0}}, regResults(t, r, 1), "the contents stay")
		for range 32 {
			queue(t, r, 4, (*SQE).PrepNop)
		}
		assert.Zero(t, r.SQSpaceLeft())
		reap(t, r, 32)
		require.NoError(t, r.Resize(2, 4))
		assert.Equal(t, []int{2, 4}, []int{r.SQEntries(), r.CQEntries()})
		_, err = unix.Write(wr, []byte("x"))
		require.NoError(t, err)
		assert.Equal(t, map[uint64][]int32{2: {unix.POLLIN}}, regResults(t, r, 1), "a request that went on meanwhile")
		for range 2 {
			queue(t, r, 5, (*SQE).PrepNop)
			queue(t, r, 6, (*SQE).PrepNop)
			_, err = r.Submit()
			require.NoError(t, err)
		}
		assert.Equal(t, syscall.EOVERFLOW, regErrno(r.Resize(1, 2)), "four completions have no room")
		assert.Equal(t, 4, r.CQEntries())
		assert.Equal(t, map[uint64][]int32{5: {0, 0}, 6: {0, 0}}, regResults(t, r, 4))
		require.NoError(t, r.Close())
	}
	r := newTestRing(t, Config{Entries: 4})
	assert.Equal(t, syscall.EINVAL, regErrno(r.Resize(8, 16)), "it has no SetupDeferTaskrun")
	assert.ErrorContains(t, r.Resize(0, 0), "Config.Entries 0 is out of range: allowed are 1 to 32768")
	assert.ErrorContains(t, r.Resize(8, 4), "Config.CQEntries 4 is out of range: allowed are 8 to 65536")
	succeed(t, r, (*SQE).PrepNop)
}

// Entries that were not submitted would not be in the new queue.
func TestSetupResizeWithQueuedEntries(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	queue(t, r, 3, (*SQE).PrepNop)
	require.ErrorContains(t, r.Resize(32, 0), "1 entries are not submitted")
	regOther(t, Config{Entries: 4}, func(*Ring) {
		assert.ErrorIs(t, r.Resize(32, 0), ErrWrongThread, "before anything else")
	})
	assert.Equal(t, 1, r.SQReady())
	assert.Equal(t, map[uint64][]int32{3: {0}}, regResults(t, r, 1))
}

// TestSetupResizeWithoutFD: the new queues could not be mapped, so they are not to be made.
func TestSetupResizeWithoutFD(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	require.NoError(t, r.RegisterRingFD())
	require.NoError(t, r.CloseRingFD())
	require.Error(t, r.Resize(8, 16))
	succeed(t, r, (*SQE).PrepNop)
}

// regProvided makes a ring of provided buffers with n buffers of a page, of which the numbers
// begin with 10.
func regProvided(t *testing.T, r *Ring, entries, n int, flags BufRingFlags) (*BufRing, [][]byte) {
	t.Helper()
	b, err := r.SetupBufRing(entries, 3, flags)
	if regErrno(err) == syscall.EINVAL && flags != 0 {
		skip.Unless(t, "parts of provided buffers", "6.12", err)
	}
	require.NoError(t, err)
	var buffers [][]byte
	for i := range n {
		buffers = append(buffers, mapped(t, os.Getpagesize()))
		b.Add(buffers[i], uint16(10+i))
	}
	b.Advance()
	return b, buffers
}

// regTake reads from the pipe into a provided buffer of group 3.
func regTake(t *testing.T, r *Ring, fd int) CQE {
	t.Helper()
	return one(t, r, func(s *SQE) { s.PrepRead(fd, nil, 0); s.SetBufferGroup(3) })
}

func TestRegisterProvidedBuffers(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		b, buffers := regProvided(t, r, 4, 2, 0)
		rd, wr := pipe(t)
		for i, text := range []string{"one", "three"} {
			_, err := unix.Write(wr, []byte(text))
			require.NoError(t, err)
			c := regTake(t, r, rd)
			require.EqualValues(t, len(text), c.Res)
			assert.NotZero(t, c.Flags&CQEBuffer)
			assert.EqualValues(t, 10+i, c.BufferID())
			assert.Equal(t, text, string(buffers[i][:len(text)]))
			left, err := b.Available()
			if regErrno(err) == syscall.EINVAL {
				skip.Unless(t, "heads of rings of buffers", "6.8", err)
			}
			require.NoError(t, err)
			assert.Equal(t, 1-i, left)
		}
		_, err := unix.Write(wr, []byte("x"))
		require.NoError(t, err)
		assert.Equal(t, syscall.ENOBUFS, syscall.Errno(-regTake(t, r, rd).Res))
		for i := range 10 { // around the end
			b.Add(buffers[i%2], uint16(i))
			b.Advance()
			c := regTake(t, r, rd)
			assert.EqualValues(t, 1, c.Res)
			assert.EqualValues(t, i, c.BufferID())
			_, err := unix.Write(wr, []byte("x"))
			require.NoError(t, err)
		}
		head, err := r.BufRingHead(3)
		require.NoError(t, err)
		assert.EqualValues(t, 12, head)
		require.NoError(t, b.Free())
		assert.Equal(t, syscall.EINVAL, regErrno(b.Free()))
		assert.Equal(t, syscall.ENOBUFS, syscall.Errno(-regTake(t, r, rd).Res))
		_, err = b.Available()
		assert.Equal(t, syscall.ENOENT, regErrno(err))
	})
}

// With BufRingIncremental, completions take parts of a buffer, and say whether there is more.
func TestRegisterProvidedBuffersIncremental(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	b, buffers := regProvided(t, r, 2, 2, BufRingIncremental)
	rd, wr := pipe(t)
	page := os.Getpagesize()
	for _, part := range []struct {
		n, id int
		more  bool
	}{{100, 10, true}, {page - 200, 10, true}, {100, 10, false}, {5, 11, true}} {
		_, err := unix.Write(wr, make([]byte, part.n))
		require.NoError(t, err)
		c := regTake(t, r, rd)
		assert.EqualValues(t, part.n, c.Res)
		assert.EqualValues(t, part.id, c.BufferID())
		assert.Equal(t, part.more, c.Flags&CQEBufMore != 0)
	}
	left, err := b.Available()
	require.NoError(t, err)
	assert.Equal(t, 1, left)
	require.NoError(t, b.Free())
	assert.Len(t, buffers, 2)
}

func TestRegisterProvidedBuffersRefuses(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	for _, n := range []int{-1, 0, 3, 1 << 16} {
		_, err := r.SetupBufRing(n, 3, 0)
		assert.ErrorContains(t, err, "number of buffers, a power of two,")
		assert.ErrorContains(t, err, "is out of range: allowed are 1 to 32768")
	}
	b, err := r.SetupBufRing(1<<15, 3, 0)
	require.NoError(t, err)
	_, err = r.SetupBufRing(2, 3, 0)
	assertRefused(t, err, "io_uring_setup_buf_ring", syscall.EEXIST)
	_, err = r.SetupBufRing(2, 4, 1<<15)
	assertRefused(t, err, "io_uring_setup_buf_ring", syscall.EINVAL)
	_, err = r.BufRingHead(9)
	assert.Equal(t, syscall.ENOENT, regErrno(err))
	regOther(t, Config{Entries: 4}, func(*Ring) {
		assert.ErrorIs(t, b.Free(), ErrWrongThread)
		_, err := b.Available()
		assert.ErrorIs(t, err, ErrWrongThread)
	})
	require.NoError(t, b.Free())
	closed := newTestRing(t, Config{Entries: 4})
	b, err = closed.SetupBufRing(1, 3, 0)
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	assert.ErrorIs(t, b.Free(), os.ErrClosed)
	_, err = b.Available()
	assert.ErrorIs(t, err, os.ErrClosed)
}

// TestRegisterProvidedBuffersAvailable: the kernel cannot take what Advance has not given it.
func TestRegisterProvidedBuffersAvailable(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	b, buffers := regProvided(t, r, 4, 1, 0)
	b.Add(buffers[0], 1)
	left, err := b.Available()
	if regErrno(err) == syscall.EINVAL {
		skip.Unless(t, "heads of rings of buffers", "6.8", err)
	}
	require.NoError(t, err)
	assert.Equal(t, 1, left)
	b.Advance()
	left, err = b.Available()
	require.NoError(t, err)
	assert.Equal(t, 2, left)
	require.NoError(t, b.Free())
}
