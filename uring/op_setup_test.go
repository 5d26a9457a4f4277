//go:build linux && cgo

package uring

import (
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
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

// regInfo returns a line of what the kernel says of a ring's fd.
func regInfo(t *testing.T, r *Ring, name string) string {
	t.Helper()
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", r.FD()))
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(info), name+":")
	require.True(t, ok, "%s", info)
	value, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(value)
}

// regPollers returns how many threads of SetupSQPoll there are for rings of this thread.
func regPollers(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	require.NoError(t, err)
	n := 0
	for _, task := range tasks {
		name, _ := os.ReadFile("/proc/self/task/" + task.Name() + "/comm") // it may have ended
		if string(name) == fmt.Sprintf("iou-sqp-%d\n", unix.Gettid()) {
			n++
		}
	}
	return n
}

// The thread that takes the entries sleeps when it has had none for a while, and is woken.
func TestSetupSQPoll(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: SetupSQPoll | SetupSQAff, SQThreadIdle: time.Millisecond})
	asleep := func() bool { return *r.mem.sqFlags&uapi.IORING_SQ_NEED_WAKEUP != 0 }
	for range 3 {
		require.Eventually(t, asleep, eventuallyWithin, eventuallyEvery)
		succeed(t, r, (*SQE).PrepNop)
	}
	assert.Equal(t, "0", regInfo(t, r, "SqThreadCpu"))
	_, err := New(Config{Entries: 8, Flags: SetupSQPoll | SetupSQAff, SQThreadCPU: 1 << 20})
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
	_, err = New(Config{Entries: 8, Flags: SetupSQAff})
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
}

func TestSetupSQPollQueueWait(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, Flags: SetupSQPoll})
	require.NoError(t, r.SQWait(), "there is room")
	for i := range 200 {
		s := r.GetSQE()
		for s == nil { // a signal ends the wait
			require.NoError(t, r.SQWait())
			s = r.GetSQE()
		}
		s.PrepNop()
		s.UserData = uint64(i)
		_, err := r.SubmitOnly()
		require.NoError(t, err)
		if r.Pending() > 4 {
			r.Completions(make([]CQE, 8))
		}
	}
	plain := newTestRing(t, Config{Entries: 2})
	queue(t, plain, 0, (*SQE).PrepNop)
	queue(t, plain, 0, (*SQE).PrepNop)
	require.NoError(t, plain.SQWait())
	assert.Zero(t, plain.SQSpaceLeft())
}

func TestSetupAttachTo(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: SetupSQPoll})
	threads := func(want int) {
		t.Helper()
		for end := time.Now().Add(eventuallyWithin); regPollers(t) != want; time.Sleep(eventuallyEvery) {
			require.True(t, time.Now().Before(end), "%d threads, not %d", regPollers(t), want)
		}
	}
	threads(1)
	other := newTestRing(t, Config{Entries: 8, Flags: SetupSQPoll, AttachTo: r})
	alone := newTestRing(t, Config{Entries: 8, Flags: SetupSQPoll})
	threads(2)
	require.NoError(t, alone.Close())
	threads(1)
	for _, each := range []*Ring{r, other} {
		assert.Zero(t, succeed(t, each, (*SQE).PrepNop))
	}
	require.NoError(t, r.Close())
	assert.Zero(t, succeed(t, other, (*SQE).PrepNop), "it outlives the first")
	_, err := New(Config{Entries: 8, AttachTo: r})
	assert.ErrorIs(t, err, os.ErrClosed)

	// Without that thread they share workers.
	plain := newTestRing(t, Config{Entries: 8})
	shares := newTestRing(t, Config{Entries: 8, AttachTo: plain})
	assert.Zero(t, succeed(t, shares, func(s *SQE) { s.PrepNop(); s.Flags |= SQEAsync }))
}

// TestSetupAttachToWithoutFD: a ring without an fd is open all the same.
func TestSetupAttachToWithoutFD(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8})
	require.NoError(t, r.RegisterRingFD())
	require.NoError(t, r.CloseRingFD())
	_, err := New(Config{Entries: 8, AttachTo: r})
	require.Error(t, err)
	assert.NotErrorIs(t, err, os.ErrClosed)
}

func TestSetupMemory(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, flags := range []SetupFlags{0, ownerFlags, SetupSQE128 | SetupCQE32, ownerFlags | SetupRegisteredFDOnly} {
		cfg := Config{Entries: 128, Flags: flags}
		size, err := MemorySize(Config{Entries: 128, Flags: flags &^ SetupRegisteredFDOnly})
		require.NoError(t, err)
		cfg.Memory = mapped(t, size)
		again, err := MemorySize(cfg)
		require.NoError(t, err)
		assert.Equal(t, size, again)
		r, err := New(cfg)
		skip.Unless(t, "queues in memory of the program", "6.13", err) // of pages that are not one block
		assert.NotZero(t, r.Flags()&SetupNoMmap)
		assert.Equal(t, flags&SetupRegisteredFDOnly != 0, r.FD() == -1)
		at := uintptr(unsafe.Pointer(&cfg.Memory[0]))
		assert.Equal(t, at, uintptr(r.mem.sqes), "the queues lie there")
		for range 300 {
			assert.Zero(t, succeed(t, r, (*SQE).PrepNop))
		}
		require.Error(t, r.Resize(16, 0))
		succeed(t, r, (*SQE).PrepNop)
		require.NoError(t, r.Close())
		_, err = New(Config{Entries: 128, Flags: flags, Memory: cfg.Memory[:size-1]})
		assertRefused(t, err, "io_uring_setup", syscall.ENOMEM)
	}
}

func TestSetupSizes(t *testing.T) {
	page := os.Getpagesize()
	small, err := MemorySize(Config{Entries: 1})
	require.NoError(t, err)
	assert.Equal(t, 2*page, small)
	large, err := MemorySize(Config{Entries: 4096, CQEntries: 8192, Flags: SetupSQE128 | SetupCQE32})
	require.NoError(t, err)
	assert.GreaterOrEqual(t, large, 4096*128+8192*32)
	n, err := MlockSize(Config{Entries: 8})
	require.NoError(t, err)
	assert.Zero(t, n)
	for _, size := range []func(Config) (int, error){MemorySize, MlockSize} {
		_, err = size(Config{})
		assert.ErrorContains(t, err, "Config.Entries 0 is out of range: allowed are 1 to 32768")
		_, err = size(Config{Entries: 8, AttachTo: &Ring{}})
		assert.ErrorIs(t, err, os.ErrClosed)
	}
}

// TestSetupSizesClamped: what New accepts has a size.
func TestSetupSizesClamped(t *testing.T) {
	want, err := MemorySize(Config{Entries: MaxEntries})
	require.NoError(t, err)
	size, err := MemorySize(Config{Entries: 1 << 20, Flags: SetupClamp})
	require.NoError(t, err)
	assert.Equal(t, want, size)
}

// A tmpfs has nothing that could be polled for.
func TestSetupIOPoll(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: SetupIOPoll})
	file := regFile(t, "text")
	failWith(t, r, syscall.EOPNOTSUPP, func(s *SQE) { s.PrepRead(file, make([]byte, 8), 0) })
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepFsync(file, 0) })
	assert.Zero(t, succeed(t, r, (*SQE).PrepNop))
	_, err := New(Config{Entries: 8, Flags: SetupHybridIOPoll})
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
}

func TestSetupSQRewind(t *testing.T) {
	cfg := Config{Entries: 4, Flags: ownerFlags | SetupSQRewind}
	skipSetup(t, cfg, "7.0")
	r := newTestRing(t, cfg)
	first := r.mem.sqes
	for n := 1; n <= 4; n++ {
		for i := range n {
			s := r.GetSQE()
			require.NotNil(t, s)
			assert.Equal(t, unsafe.Add(first, uintptr(i)*r.mem.sqeSize), unsafe.Pointer(s))
			s.PrepNop()
			s.UserData = uint64(100*n + i)
		}
		assert.Equal(t, n, r.SQReady())
		took, err := r.Submit()
		require.NoError(t, err)
		assert.Equal(t, n, took)
		assert.Zero(t, r.SQReady())
		for i, c := range reap(t, r, n) {
			assert.EqualValues(t, 100*n+i, c.UserData)
			assert.Zero(t, c.Res)
		}
	}
	_, err := New(Config{Entries: 4, Flags: SetupSQRewind | SetupSQPoll})
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
}

func TestSetupCQEMixed(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4, CQEntries: 8, Flags: ownerFlags | SetupCQEMixed})
	for i := range 3 * r.CQEntries() {
		c := one(t, r, func(s *SQE) {
			s.PrepNop()
			if i%2 == 1 {
				s.OpFlags = uapi.IORING_NOP_CQE32
				s.Off, s.Addr = 5, 6
			}
		})
		assert.Zero(t, c.Res)
		assert.Equal(t, i%2 == 1, c.Flags&CQE32 != 0)
	}
	plain := newTestRing(t, Config{Entries: 4})
	failWith(t, plain, syscall.EINVAL, func(s *SQE) { s.PrepNop(); s.OpFlags = uapi.IORING_NOP_CQE32 })
}

func TestSetupRefuses(t *testing.T) {
	heap := make([]byte, 3*os.Getpagesize())
	off := int(-uintptr(unsafe.Pointer(&heap[0])) & uintptr(os.Getpagesize()-1))
	for want, cfg := range map[string]Config{
		"Config.Entries -1 is out of range: allowed are 1 to 32768":                                     {Entries: -1},
		"Config.CQEntries -1 is out of range: allowed are 4 to 65536":                                   {Entries: 4, CQEntries: -1},
		"Config.Flags 0x80000000: 0x80000000 is unknown to this package":                                {Entries: 4, Flags: 1 << 31},
		"SetupSQE128 and SetupSQEMixed exclude each other":                                              {Entries: 4, Flags: SetupSQE128 | SetupSQEMixed},
		"Config.SQThreadIdle in ms -1 is out of range: allowed are 0 to 4294967295":                     {Entries: 4, SQThreadIdle: -time.Millisecond},
		"Config.SQThreadIdle in ms 4294967296 is out of range: allowed are 0 to 4294967295":             {Entries: 4, SQThreadIdle: time.Millisecond << 32},
		"Config.SQThreadCPU -1 is out of range: allowed are 0 to 1048576":                               {Entries: 4, SQThreadCPU: -1},
		"SetupRegisteredFDOnly needs Config.Memory":                                                     {Entries: 4, Flags: SetupRegisteredFDOnly},
		"it must begin with a page":                                                                     {Entries: 4, Memory: heap[off+1:]},
		fmt.Sprintf("length of Config.Memory 100 is out of range: allowed are %d to", os.Getpagesize()): {Entries: 4, Memory: heap[off : off+100]},
		"Config.AttachTo": {Entries: 4, AttachTo: &Ring{}},
	} {
		_, err := New(cfg)
		assert.ErrorContains(t, err, want)
	}
	for _, flags := range []SetupFlags{SetupTaskrunFlag, SetupDeferTaskrun, SetupSQPoll | SetupCoopTaskrun, ownerFlags | SetupSQPoll} {
		_, err := New(Config{Entries: 4, Flags: flags})
		assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
	}
}

func TestSetupMap(t *testing.T) {
	p := &uapi.Params{Flags: uint32(SetupNoSQArray)}
	fd, err := Setup(4, p)
	if regErrno(err) == syscall.EINVAL {
		skip.Unless(t, "queues without an array", "6.6", err)
	}
	require.NoError(t, err)
	_, err = Map(fd, &uapi.Params{Flags: 1 << 31})
	assert.ErrorContains(t, err, "0x80000000 is unknown")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := Map(fd, p)
	require.NoError(t, err)
	assert.Equal(t, fd, r.FD())
	assert.Equal(t, 4, r.SQEntries())
	assert.Equal(t, 8, r.CQEntries())
	for i := range uint64(10) {
		queue(t, r, 2*i, (*SQE).PrepNop)
		queue(t, r, 2*i+1, (*SQE).PrepNop)
		assert.Equal(t, map[uint64][]int32{2 * i: {0}, 2*i + 1: {0}}, regResults(t, r, 2))
	}
	require.NoError(t, r.Close())
	_, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	assert.Equal(t, unix.EBADF, err, "Close closed it")

	fd, err = Setup(0, p)
	assert.Equal(t, -1, fd)
	assert.ErrorContains(t, err, "number of entries 0 is out of range: allowed are 1 to 32768")
	_, err = Setup(4, &uapi.Params{Flags: uint32(SetupDeferTaskrun)})
	assertRefused(t, err, "io_uring_setup", syscall.EINVAL)
	notARing, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	require.NoError(t, err)
	defer unix.Close(notARing)
	_, err = Map(notARing, p)
	assertRefused(t, err, "io_uring_queue_mmap", syscall.ENODEV)
}

// TestSetupMapWithAnArray: the queue of a ring without SetupNoSQArray goes through an array.
func TestSetupMapWithAnArray(t *testing.T) {
	p := &uapi.Params{}
	fd, err := Setup(4, p)
	require.NoError(t, err)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r, err := Map(fd, p)
	require.NoError(t, err)
	defer r.Close()
	for i := range uint64(4) {
		queue(t, r, i, (*SQE).PrepNop)
	}
	assert.Equal(t, map[uint64][]int32{0: {0}, 1: {0}, 2: {0}, 3: {0}}, regResults(t, r, 4))
}

func TestSetupEnter(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4})
	regQuiet(t)
	n, err := Enter(r.FD(), 0, 0, 0)
	require.NoError(t, err)
	assert.Zero(t, n)
	queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regShort(), 0, 0) })
	_, err = r.Submit()
	require.NoError(t, err)
	_, err = Enter(r.FD(), 0, 1, uapi.IORING_ENTER_GETEVENTS)
	require.NoError(t, err)
	assert.Equal(t, map[uint64][]int32{1: {failed(unix.ETIME)}}, regResults(t, r, 1))
	_, err = Enter(r.FD(), 0, 0, 1<<31)
	assertRefused(t, err, "io_uring_enter", syscall.EINVAL)
	_, err = Enter(-1, 0, 0, 0)
	assertRefused(t, err, "io_uring_enter", syscall.EBADF)
	_, err = Enter(regFile(t, ""), 0, 0, 0)
	assertRefused(t, err, "io_uring_enter", syscall.EOPNOTSUPP)

	ts := regShort()
	arg := &uapi.GeteventsArg{TS: address(ts)}
	begun := time.Now()
	_, err = EnterArg(r.FD(), 0, 2, uapi.IORING_ENTER_GETEVENTS|uapi.IORING_ENTER_EXT_ARG, arg)
	assertRefused(t, err, "io_uring_enter2", unix.ETIME)
	assert.GreaterOrEqual(t, time.Since(begun), time.Millisecond)
	_, err = EnterArg(r.FD(), 0, 2, uapi.IORING_ENTER_GETEVENTS|uapi.IORING_ENTER_EXT_ARG, nil)
	assertRefused(t, err, "io_uring_enter2", syscall.EFAULT)
	runtime.KeepAlive(ts)
}

func TestSetupVersion(t *testing.T) {
	major, minor := Version()
	assert.True(t, CheckVersion(major, minor))
	assert.True(t, CheckVersion(major-1, minor+1))
	assert.True(t, CheckVersion(major, minor-1))
	assert.False(t, CheckVersion(major, minor+1))
	assert.False(t, CheckVersion(major+1, 0))
	p, err := GetProbe()
	require.NoError(t, err)
	assert.True(t, p.Supports(OpNop))
	assert.False(t, p.Supports(255))
}

// regCalls are the methods of Ring that call the kernel, with arguments that are in range.
func regCalls(from *Ring, page []byte) map[string]func(r *Ring) error {
	second := func(_ int, err error) error { return err }
	return map[string]func(r *Ring) error{
		"Check":                    func(r *Ring) error { return r.Check("x") },
		"CloneBuffers":             func(r *Ring) error { return r.CloneBuffers(from) },
		"CloneBuffersOffset":       func(r *Ring) error { return r.CloneBuffersOffset(from, 0, 0, 1, 0) },
		"CloseRingFD":              (*Ring).CloseRingFD,
		"DontFork":                 (*Ring).DontFork,
		"Enable":                   (*Ring).Enable,
		"GetEvents":                (*Ring).GetEvents,
		"Probe":                    func(r *Ring) error { _, err := r.Probe(); return err },
		"RegisterBPFFilter":        func(r *Ring) error { return r.RegisterBPFFilter(&BPFFilter{Program: make([]BPFInstruction, 1)}) },
		"RegisterBufRing":          func(r *Ring) error { return r.RegisterBufRing(unsafe.Pointer(&page[0]), 1, 0, 0) },
		"BufRingHead":              func(r *Ring) error { _, err := r.BufRingHead(0); return err },
		"RegisterBuffers":          func(r *Ring) error { return r.RegisterBuffers(page) },
		"RegisterBuffersSparse":    func(r *Ring) error { return r.RegisterBuffersSparse(1) },
		"RegisterBuffersTags":      func(r *Ring) error { return r.RegisterBuffersTags([][]byte{page}, []uint64{1}) },
		"RegisterBuffersUpdateTag": func(r *Ring) error { return second(r.RegisterBuffersUpdateTag(0, [][]byte{page}, nil)) },
		"RegisterClock":            func(r *Ring) error { return r.RegisterClock(unix.CLOCK_MONOTONIC) },
		"RegisterEventfd":          func(r *Ring) error { return r.RegisterEventfd(0) },
		"RegisterEventfdAsync":     func(r *Ring) error { return r.RegisterEventfdAsync(0) },
		"RegisterFileAllocRange":   func(r *Ring) error { return r.RegisterFileAllocRange(0, 1) },
		"RegisterFiles":            func(r *Ring) error { return r.RegisterFiles(-1) },
		"RegisterFilesSparse":      func(r *Ring) error { return r.RegisterFilesSparse(1) },
		"RegisterFilesTags":        func(r *Ring) error { return r.RegisterFilesTags([]int{-1}, []uint64{0}) },
		"RegisterFilesUpdate":      func(r *Ring) error { return second(r.RegisterFilesUpdate(0, -1)) },
		"RegisterFilesUpdateTag":   func(r *Ring) error { return second(r.RegisterFilesUpdateTag(0, []int{-1}, []uint64{0})) },
		"RegisterMaxWorkers":       func(r *Ring) error { _, _, err := r.RegisterMaxWorkers(0, 0); return err },
		"RegisterNAPI":             func(r *Ring) error { return r.RegisterNAPI(0, false) },
		"RegisterPersonality":      func(r *Ring) error { _, err := r.RegisterPersonality(); return err },
		"RegisterRegion":           func(r *Ring) error { return r.RegisterRegion(page, 0) },
		"RegisterRestrictions":     func(r *Ring) error { return r.RegisterRestrictions(AllowOp(OpNop)) },
		"RegisterRingFD":           (*Ring).RegisterRingFD,
		"RegisterWaitReg":          func(r *Ring) error { return r.RegisterWaitReg(make([]uapi.RegWait, 1)) },
		"RegisterWorkerCPUs":       func(r *Ring) error { return r.RegisterWorkerCPUs(0) },
		"Resize":                   func(r *Ring) error { return r.Resize(4, 8) },
		"SetIOWait":                func(r *Ring) error { return r.SetIOWait(true) },
		"SetupBufRing":             func(r *Ring) error { _, err := r.SetupBufRing(1, 0, 0); return err },
		"Submit":                   func(r *Ring) error { return second(r.Submit()) },
		"SubmitAndWait":            func(r *Ring) error { return second(r.SubmitAndWait(0, 0)) },
		"SubmitAndWaitOptions":     func(r *Ring) error { return second(r.SubmitAndWaitOptions(0, WaitOptions{})) },
		"SubmitAndWaitReg":         func(r *Ring) error { return second(r.SubmitAndWaitReg(0, 0)) },
		"SubmitOnly":               func(r *Ring) error { return second(r.SubmitOnly()) },
		"SyncCancel":               func(r *Ring) error { return second(r.SyncCancel(SyncCancel{})) },
		"UnregisterBufRing":        func(r *Ring) error { return r.UnregisterBufRing(0) },
		"UnregisterBuffers":        (*Ring).UnregisterBuffers,
		"UnregisterEventfd":        (*Ring).UnregisterEventfd,
		"UnregisterFiles":          (*Ring).UnregisterFiles,
		"UnregisterNAPI":           (*Ring).UnregisterNAPI,
		"UnregisterPersonality":    func(r *Ring) error { return r.UnregisterPersonality(1) },
		"UnregisterRingFD":         (*Ring).UnregisterRingFD,
		"UnregisterWorkerCPUs":     (*Ring).UnregisterWorkerCPUs,
		"Wait":                     func(r *Ring) error { return r.Wait(0, WaitOptions{}) },
	}
}

// Each method of a closed ring says that it is closed, and each on another thread is refused.
func TestSetupRefusesCalls(t *testing.T) {
	from := newTestRing(t, Config{Entries: 4})
	r := newTestRing(t, Config{Entries: 4, Flags: SetupDisabled})
	closed := newTestRing(t, Config{Entries: 4})
	require.NoError(t, closed.Close())
	calls := regCalls(from, mapped(t, os.Getpagesize()))
	inMemory := map[string]bool{"Close": true, "SQWait": true, "EnableEventfd": true}
	for method := range reflect.TypeFor[*Ring]().Methods() {
		last := method.Type.NumOut() - 1
		if last >= 0 && method.Type.Out(last) == reflect.TypeFor[error]() {
			assert.True(t, calls[method.Name] != nil || inMemory[method.Name], "%s is not tested", method.Name)
		}
	}
	for name, call := range calls {
		assert.ErrorIs(t, call(closed), os.ErrClosed, name)
		assert.ErrorIs(t, call(&Ring{}), os.ErrClosed, name)
	}
	assert.ErrorIs(t, closed.SQWait(), os.ErrClosed)
	assert.ErrorIs(t, closed.EnableEventfd(true), os.ErrClosed)
	assert.False(t, closed.EventfdEnabled())
	assert.Nil(t, closed.GetSQE128())
	assert.Zero(t, closed.SQReady())
	assert.Zero(t, closed.Refused())
	regOther(t, Config{Entries: 4}, func(*Ring) {
		for name, call := range calls {
			assert.ErrorIs(t, call(r), ErrWrongThread, name)
		}
		assert.ErrorIs(t, r.Close(), ErrWrongThread)
	})
	require.NoError(t, r.Enable(), "nothing has happened to it")
	succeed(t, r, (*SQE).PrepNop)
}

// TestSetupRefusalsAreNoDataRaces calls each method on another thread while the owner uses the
// ring. Run with -race.
func TestSetupRefusalsAreNoDataRaces(t *testing.T) {
	from := newTestRing(t, Config{Entries: 4})
	r := newTestRing(t, Config{Entries: 4, Flags: ownerFlags})
	calls := regCalls(from, mapped(t, os.Getpagesize()))
	errs := make(map[string]error, len(calls))
	begin, ended := make(chan struct{}), make(chan struct{})
	go func() { // without t, of which the methods would synchronise the two
		defer close(ended)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		close(begin)
		for name, call := range calls {
			errs[name] = call(r)
		}
	}()
	<-begin
	completions := make([]CQE, 4)
	for running := true; running; {
		r.GetSQE().PrepNop()
		_, err := r.Submit()
		require.NoError(t, err)
		r.Completions(completions)
		select {
		case <-ended:
			running = false
		default:
		}
	}
	for name, err := range errs {
		assert.ErrorIs(t, err, ErrWrongThread, name)
	}
}
