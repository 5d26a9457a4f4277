//go:build linux && cgo

package uring

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// Two rings of two threads send each other messages.
func TestOpMsgRing(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpMsgRing, "5.18")
		back := newTestRing(t, Config{Entries: 8})
		do := regThread(t, Config{Entries: 8, Flags: ownerFlags})
		fd := -1
		do(func(other *Ring) { fd = other.FD() })
		var got CQE
		answer := func(other *Ring) {
			got = reap(t, other, 1)[0]
			assert.Zero(t, succeed(t, other, func(s *SQE) { s.PrepMsgRing(back.FD(), 7, got.UserData+1, 0) }))
		}
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			do(answer)
		}()
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMsgRing(fd, 42, 4711, 0) }))
		<-answered
		assert.Equal(t, CQE{UserData: 4711, Res: 42}, CQE{UserData: got.UserData, Res: got.Res, Flags: got.Flags})
		got = reap(t, back, 1)[0]
		assert.Equal(t, CQE{UserData: 4712, Res: 7}, CQE{UserData: got.UserData, Res: got.Res, Flags: got.Flags})
	})
}

func TestOpMsgRingFlags(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpReadMultishot, "6.7") // younger than the flags
	to := newTestRing(t, Config{Entries: 8})
	flags := CQEBuffer | CQEMore | 5<<CQEBufferShift
	assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMsgRingCQEFlags(to.FD(), 1<<32-1, 9, 0, flags) }))
	c := reap(t, to, 1)[0]
	assert.Equal(t, CQE{UserData: 9, Res: -1, Flags: flags}, CQE{UserData: c.UserData, Res: c.Res, Flags: c.Flags})
	assert.EqualValues(t, 5, c.BufferID())
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepMsgRing(to.FD(), 1, 1, MsgRingCQESkip) })
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepMsgRing(to.FD(), 1, 1, 1<<31) })
	failWith(t, r, syscall.EBADF, func(s *SQE) { s.PrepMsgRing(-1, 1, 1, 0) })
	failWith(t, r, syscall.EBADFD, func(s *SQE) { s.PrepMsgRing(regFile(t, ""), 1, 1, 0) })
	disabled := newTestRing(t, Config{Entries: 8, Flags: SetupDisabled})
	failWith(t, r, syscall.EBADFD, func(s *SQE) { s.PrepMsgRing(disabled.FD(), 1, 1, 0) })
	assert.Zero(t, to.Pending())
}

func TestOpMsgRingToItself(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8})
	queue(t, r, 1, func(s *SQE) { s.PrepMsgRing(r.FD(), 5, 2, 0) })
	assert.Equal(t, map[uint64][]int32{1: {0}, 2: {5}}, regResults(t, r, 2))
}

// A registered file is sent to a ring of another thread.
func TestOpMsgRingFD(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		need(t, r, OpSendmsgZC, "6.1")
		require.NoError(t, r.RegisterFiles(-1, regFile(t, "sent")))
		do := regThread(t, Config{Entries: 8, Flags: ownerFlags})
		fd := -1
		do(func(to *Ring) {
			fd = to.FD()
			assert.NoError(t, to.RegisterFilesSparse(4))
		})
		assert.Zero(t, succeed(t, r, func(s *SQE) { s.PrepMsgRingFD(fd, 1, 2, 21, 0) }))
		assert.Equal(t, 3, succeed(t, r, func(s *SQE) { s.PrepMsgRingFDAlloc(fd, 1, 22, 0) }), "the next one")
		assert.Equal(t, 0, succeed(t, r, func(s *SQE) { s.PrepMsgRingFD(fd, 1, FileIndexAlloc, 23, MsgRingCQESkip) }))
		do(func(to *Ring) {
			assert.Equal(t, map[uint64][]int32{21: {0}, 22: {3}}, regResults(t, to, 2), "23 has none")
			assert.Equal(t, []string{"sent", regBadFile, "sent", "sent"}, []string{regAt(t, to, 0), regAt(t, to, 1), regAt(t, to, 2), regAt(t, to, 3)})
			assert.Zero(t, to.Pending())
		})
		failWith(t, r, syscall.EBADF, func(s *SQE) { s.PrepMsgRingFD(fd, 0, 0, 1, 0) })  // there is no file
		failWith(t, r, syscall.EBADF, func(s *SQE) { s.PrepMsgRingFD(fd, 99, 0, 1, 0) }) // no place
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepMsgRingFD(fd, 1, 4, 1, 0) }) // nor there
		failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepMsgRingFD(r.FD(), 1, 0, 1, 0) })
	})
}

func TestRegisterSyncMsg(t *testing.T) {
	to := newTestRing(t, Config{Entries: 8})
	require.NoError(t, to.RegisterFilesSparse(1))
	var s SQE
	s.PrepMsgRing(to.FD(), 42, 4711, 0)
	skip.Unless(t, "messages without a ring", "6.13", RegisterSyncMsg(&s))
	assert.Equal(t, map[uint64][]int32{4711: {42}}, regResults(t, to, 1))
	s = SQE{}
	s.PrepMsgRingCQEFlags(to.FD(), 1, 2, 0, CQEMore)
	require.NoError(t, RegisterSyncMsg(&s))
	c := reap(t, to, 1)[0]
	assert.True(t, c.More())
	for want, bad := range map[syscall.Errno]func(*SQE){
		syscall.EBADF:  func(s *SQE) { s.PrepMsgRing(1<<20, 1, 1, 0) },
		syscall.EBADFD: func(s *SQE) { s.PrepMsgRing(0, 1, 1, 0) },
		syscall.EINVAL: (*SQE).PrepNop,
	} {
		s = SQE{}
		bad(&s)
		assertRefused(t, RegisterSyncMsg(&s), "io_uring_register_sync_msg", want)
	}
	s = SQE{}
	s.PrepMsgRingFD(to.FD(), 0, 0, 1, 0)
	assert.Equal(t, syscall.EINVAL, regErrno(RegisterSyncMsg(&s)), "there is no ring that has the file")
}

func TestOpCmdDiscard(t *testing.T) {
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	need(t, r, OpUringCmd, "5.19")
	file := regFile(t, "text")
	failWith(t, r, syscall.EOPNOTSUPP, func(s *SQE) { s.PrepCmdDiscard(file, 0, 4096) })
	failWith(t, r, syscall.EBADF, func(s *SQE) { s.PrepCmdDiscard(-1, 0, 4096) })
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Log("this kernel has no loop devices")
		return
	}
	const size = 1 << 20
	name := filepath.Join(t.TempDir(), "disk")
	require.NoError(t, os.WriteFile(name, []byte(strings.Repeat("x", size)), 0o600))
	disk := regLoop(t, name, unix.O_RDWR)
	read := func(off int64) byte {
		b := make([]byte, 1)
		_, err := unix.Pread(disk, b, off)
		require.NoError(t, err)
		return b[0]
	}
	c := one(t, r, func(s *SQE) { s.PrepCmdDiscard(disk, 4096, 8192) })
	if c.Errno() == syscall.EOPNOTSUPP {
		skip.Unless(t, "discards of block devices", "6.12", c.Errno())
	}
	assert.Zero(t, c.Res)
	assert.Equal(t, []byte{'x', 0, 0, 'x'}, []byte{read(4095), read(4096), read(4096 + 8191), read(4096 + 8192)})
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepCmdDiscard(disk, 1, 4096) })
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepCmdDiscard(disk, 0, 0) })
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepCmdDiscard(disk, size, 4096) })
	failWith(t, r, syscall.EINVAL, func(s *SQE) { s.PrepUringCmd(uapi.BLOCK_URING_CMD_DISCARD+1, disk) })
}

// regLoop returns an fd of a loop device for the file.
func regLoop(t *testing.T, name string, flags int) int {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(control)
	file, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(file)
	n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
	require.NoError(t, err)
	disk, err := unix.Open(fmt.Sprintf("/dev/loop%d", n), flags|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetInt(disk, unix.LOOP_SET_FD, file))
	t.Cleanup(func() {
		assert.NoError(t, unix.IoctlSetInt(disk, unix.LOOP_CLR_FD, 0))
		assert.NoError(t, unix.Close(disk))
	})
	return disk
}

func TestOpDrain(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		queue(t, r, 1, func(s *SQE) { s.PrepTimeout(regShort(), 0, 0) })
		queue(t, r, 2, func(s *SQE) { s.PrepNop(); s.Flags |= SQEDrain })
		queue(t, r, 3, (*SQE).PrepNop)
		var order []uint64
		for _, c := range reap(t, r, 3) {
			order = append(order, c.UserData)
		}
		assert.Equal(t, []uint64{1, 2, 3}, order)
		// An entry without a completion could not be waited for, so the ring drains no more.
		queue(t, r, 4, func(s *SQE) { s.PrepNop(); s.Flags |= SQECQESkipSuccess })
		queue(t, r, 5, func(s *SQE) { s.PrepNop(); s.Flags |= SQEDrain })
		assert.Equal(t, map[uint64][]int32{5: {failed(syscall.EOPNOTSUPP)}}, regResults(t, r, 1))
	})
}

// What GetSQE128 puts into the last place has no completion, so the ring drains no more.
func TestOpDrainWithLargeEntries(t *testing.T) {
	cfg := Config{Entries: 4, Flags: ownerFlags | SetupSQEMixed}
	skipSetup(t, cfg, "6.19")
	r := newTestRing(t, cfg)
	drain := func(s *SQE) { s.PrepNop(); s.Flags |= SQEDrain }
	r.GetSQE128().PrepNop128()
	reap(t, r, 1)
	assert.Zero(t, succeed(t, r, drain))
	r.GetSQE128().PrepNop128()
	reap(t, r, 1)
	failWith(t, r, syscall.EOPNOTSUPP, drain)
}

func TestOpLink(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		cancelled, bad := failed(syscall.ECANCELED), failed(syscall.EBADF)
		fail := func(flags SQEFlags) func(*SQE) {
			return func(s *SQE) { s.PrepFsync(-1, 0); s.Flags |= flags }
		}
		nop := func(flags SQEFlags) func(*SQE) { return func(s *SQE) { s.PrepNop(); s.Flags |= flags } }
		for name, c := range map[string]struct {
			chain []func(*SQE)
			want  map[uint64][]int32
		}{
			"all succeed":   {[]func(*SQE){nop(SQELink), nop(SQELink), nop(0)}, map[uint64][]int32{0: {0}, 1: {0}, 2: {0}}},
			"the first":     {[]func(*SQE){fail(SQELink), nop(SQELink), nop(0), nop(0)}, map[uint64][]int32{0: {bad}, 1: {cancelled}, 2: {cancelled}, 3: {0}}},
			"hard":          {[]func(*SQE){fail(SQEHardLink), nop(SQEHardLink), fail(SQELink), nop(0)}, map[uint64][]int32{0: {bad}, 1: {0}, 2: {bad}, 3: {cancelled}}},
			"skip success":  {[]func(*SQE){nop(SQELink | SQECQESkipSuccess), nop(SQELink | SQECQESkipSuccess), nop(0)}, map[uint64][]int32{2: {0}}},
			"skip, failure": {[]func(*SQE){fail(SQELink | SQECQESkipSuccess), nop(SQELink), nop(0)}, map[uint64][]int32{0: {bad}}}, // the others say nothing
		} {
			for i, prep := range c.chain {
				queue(t, r, uint64(i), prep)
			}
			assert.Equal(t, c.want, regResults(t, r, len(c.want)), name)
		}
		// A chain ends where its submission does.
		queue(t, r, 1, fail(SQELink))
		assert.Equal(t, map[uint64][]int32{1: {bad}}, regResults(t, r, 1))
		queue(t, r, 2, nop(0))
		assert.Equal(t, map[uint64][]int32{2: {0}}, regResults(t, r, 1))
	})
}

func TestRegisterSyncCancel(t *testing.T) {
	for name, c := range map[string]struct {
		what SyncCancel
		want int
		ends int
	}{
		"user data":        {SyncCancel{UserData: 1}, 0, 1},
		"all of user data": {SyncCancel{UserData: 1, Flags: CancelAll, Timeout: -1}, 2, 2},
		"fd":               {SyncCancel{Flags: CancelFD, Timeout: time.Second}, 0, 1},
		"all of fd":        {SyncCancel{Flags: CancelFD | CancelAll}, 3, 3},
		"fd and user data": {SyncCancel{UserData: 2, Flags: CancelFD | CancelUserData}, 0, 1},
		"any":              {SyncCancel{Flags: CancelAny}, 4, 4},
		"operation":        {SyncCancel{Flags: CancelOp, Op: OpTimeout}, 0, 1},
		"all of operation": {SyncCancel{Flags: CancelOp | CancelAll, Op: OpPollAdd}, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			eachRing(t, func(t *testing.T, r *Ring) {
				need(t, r, OpWaitid, "6.7")
				rd, _ := pipe(t)
				if c.what.Flags&CancelFD != 0 {
					c.what.FD = rd
				}
				for _, userData := range []uint64{1, 1, 2} {
					queue(t, r, userData, func(s *SQE) { s.PrepPollAdd(rd, unix.POLLIN) })
				}
				queue(t, r, 3, func(s *SQE) { s.PrepTimeout(regLong(), 0, 0) })
				queue(t, r, 4, (*SQE).PrepNop)
				reap(t, r, 1) // so that SetupSQPoll has begun all
				n, err := r.SyncCancel(c.what)
				require.NoError(t, err)
				assert.Equal(t, c.want, n)
				for _, done := range reap(t, r, c.ends) {
					assert.Equal(t, syscall.ECANCELED, done.Errno())
				}
				succeed(t, r, (*SQE).PrepNop)
			})
		})
	}
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	for want, what := range map[syscall.Errno]SyncCancel{
		syscall.ENOENT: {UserData: 9},
		syscall.EBADF:  {FD: 1 << 20, Flags: CancelFD},
		syscall.EINVAL: {Flags: 1 << 31},
	} {
		_, err := r.SyncCancel(what)
		assert.Equal(t, want, regErrno(err))
	}
}

func TestRegisterQuery(t *testing.T) {
	var ops uapi.QueryOpcode
	n, err := Query(uapi.IO_URING_QUERY_OPCODES, unsafe.Pointer(&ops), int(unsafe.Sizeof(ops)))
	skip.Unless(t, "queries", "6.18", err)
	assert.GreaterOrEqual(t, n, 40)
	assert.LessOrEqual(t, n, int(unsafe.Sizeof(ops)))
	p, err := GetProbe()
	require.NoError(t, err)
	assert.Equal(t, ops.NrRequestOpcodes > uint32(OpNop128), p.Supports(OpNop128))
	assert.Greater(t, ops.NrRequestOpcodes, uint32(OpPipe))
	assert.True(t, p.Supports(OpPipe))
	assert.NotZero(t, ops.RingSetupFlags&uint64(SetupCQEMixed))
	r := newTestRing(t, Config{Entries: 4})
	assert.EqualValues(t, r.Features(), ops.FeatureFlags)

	short := new(uint32)
	n, err = Query(uapi.IO_URING_QUERY_OPCODES, unsafe.Pointer(short), 4)
	require.NoError(t, err)
	assert.Equal(t, 4, n, "as much as there is room for")
	assert.Equal(t, ops.NrRequestOpcodes, *short)
	_, err = Query(4711, unsafe.Pointer(&ops), 8)
	assert.ErrorIs(t, err, syscall.EOPNOTSUPP)
	assert.ErrorContains(t, err, "4711")
	_, err = Query(0, unsafe.Pointer(&ops), 4097)
	assert.ErrorContains(t, err, "size of the answer 4097 is out of range: allowed are 0 to 4096")
	_, err = Query(0, unsafe.Pointer(&ops), -1)
	assert.ErrorContains(t, err, "-1 is out of range")
	_, err = Query(0, nil, 8)
	assert.ErrorIs(t, err, syscall.EFAULT)
}

func TestRegisterBPFFilter(t *testing.T) {
	const load, equal, ret = 0x20, 0x15, 0x06                  // BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
	filter := &BPFFilter{Op: OpNop, Program: []BPFInstruction{ // the user data, but not 42
		{Code: load, K: 0}, {Code: equal, K: 42, Jt: 1}, {Code: ret, K: 1}, {Code: ret, K: 0},
	}}
	r := newTestRing(t, Config{Entries: 8, Flags: ownerFlags})
	skip.Unless(t, "filters", "7.0", r.RegisterBPFFilter(filter))
	queue(t, r, 41, (*SQE).PrepNop)
	queue(t, r, 42, (*SQE).PrepNop)
	assert.Equal(t, map[uint64][]int32{41: {0}, 42: {failed(syscall.EACCES)}}, regResults(t, r, 2))
	failWith(t, r, syscall.EBADF, func(s *SQE) { s.PrepFsync(-1, 0) }) // there is no filter for it
	other := newTestRing(t, Config{Entries: 8})
	queue(t, other, 42, (*SQE).PrepNop)
	assert.Equal(t, map[uint64][]int32{42: {0}}, regResults(t, other, 1))

	assert.Equal(t, syscall.EINVAL, regErrno(other.RegisterBPFFilter(&BPFFilter{Op: 255, Program: filter.Program})))
	assert.Equal(t, syscall.EINVAL, regErrno(other.RegisterBPFFilter(&BPFFilter{Op: OpNop, Program: []BPFInstruction{{Code: 0xffff}}})))
	assert.ErrorContains(t, other.RegisterBPFFilter(&BPFFilter{}), "number of BPF instructions 0 is out of range: allowed are 1 to 4096")
	assert.ErrorContains(t, RegisterBPFFilterTask(&BPFFilter{Program: make([]BPFInstruction, 4097)}), "4097 is out of range")

	var errs []error
	var results []CQE
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the thread ends, and its filter with it
		errs = append(errs, RegisterBPFFilterTask(filter))
		r, err := New(Config{Entries: 4})
		errs = append(errs, err)
		s := r.GetSQE()
		s.PrepNop()
		s.UserData = 42
		_, err = r.SubmitAndWait(1, time.Second)
		results = make([]CQE, 2)
		results = results[:r.Completions(results)]
		errs = append(errs, err, r.Close())
	}()
	<-ended
	assert.Equal(t, make([]error, 4), errs)
	assert.Equal(t, []CQE{{UserData: 42, Res: failed(syscall.EACCES)}}, results)
}

func TestRegisterRingFD(t *testing.T) {
	eachRing(t, func(t *testing.T, r *Ring) {
		assert.Equal(t, syscall.EINVAL, regErrno(r.UnregisterRingFD()))
		assert.Equal(t, syscall.EINVAL, regErrno(r.CloseRingFD()), "there is no other")
		require.NoError(t, r.RegisterRingFD())
		err := r.RegisterRingFD()
		assert.Equal(t, syscall.EEXIST, regErrno(err))
		assert.NotErrorIs(t, err, ErrWrongThread)
		succeed(t, r, (*SQE).PrepNop)
		require.NoError(t, r.UnregisterRingFD())
		succeed(t, r, (*SQE).PrepNop)
		require.NoError(t, r.RegisterRingFD())
		fd := r.FD()
		require.NoError(t, r.CloseRingFD())
		assert.Equal(t, -1, r.FD())
		_, err = unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		assert.Equal(t, unix.EBADF, err)
		succeed(t, r, (*SQE).PrepNop)
		file := regFile(t, "a")
		require.NoError(t, r.RegisterFiles(file))
		assert.Equal(t, "a", regAt(t, r, 0))
		assert.Equal(t, syscall.EBADF, regErrno(r.CloseRingFD()))
		require.NoError(t, r.Close())
	})
}

// TestRegisterRingFDOnly: to unregister the only fd would leave a ring that cannot be used.
func TestRegisterRingFDOnly(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4})
	require.NoError(t, r.RegisterRingFD())
	require.NoError(t, r.CloseRingFD())
	require.Error(t, r.UnregisterRingFD())
	succeed(t, r, (*SQE).PrepNop)
}

func TestRegisterSystemCall(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4})
	file := int32(regFile(t, "a"))
	n, err := Register(r.FD(), uapi.IORING_REGISTER_FILES, unsafe.Pointer(&file), 1)
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Equal(t, "a", regAt(t, r, 0))
	_, err = Register(r.FD(), uapi.IORING_REGISTER_FILES, unsafe.Pointer(&file), 1)
	assertRefused(t, err, "io_uring_register", syscall.EBUSY)
	_, err = Register(r.FD(), 4711, nil, 0)
	assertRefused(t, err, "io_uring_register", syscall.EINVAL)
	_, err = Register(1<<20, uapi.IORING_REGISTER_FILES, unsafe.Pointer(&file), 1)
	assertRefused(t, err, "io_uring_register", syscall.EBADF)
	_, err = Register(int(file), uapi.IORING_REGISTER_FILES, unsafe.Pointer(&file), 1)
	assertRefused(t, err, "io_uring_register", syscall.EOPNOTSUPP)
}

func TestRegisterDontFork(t *testing.T) {
	r := newTestRing(t, Config{Entries: 4})
	require.NoError(t, r.DontFork())
	succeed(t, r, (*SQE).PrepNop)
	at := fmt.Sprintf("%x-", uintptr(r.mem.sqes))
	smaps, err := os.ReadFile("/proc/self/smaps")
	if errors.Is(err, os.ErrNotExist) {
		t.Logf("this kernel has no smaps")
		return
	}
	require.NoError(t, err)
	assert.Contains(t, regVMFlags(string(smaps), at), " dc ")
	other := newTestRing(t, Config{Entries: 4})
	smaps, err = os.ReadFile("/proc/self/smaps")
	require.NoError(t, err)
	assert.NotContains(t, regVMFlags(string(smaps), fmt.Sprintf("%x-", uintptr(other.mem.sqes))), " dc ")
}

// regVMFlags returns the VmFlags of the mapping whose line begins so.
func regVMFlags(smaps, at string) string {
	_, rest, _ := strings.Cut("\n"+smaps, "\n"+at)
	_, rest, _ = strings.Cut(rest, "\nVmFlags:")
	flags, _, _ := strings.Cut(rest, "\n")
	return flags + " "
}
