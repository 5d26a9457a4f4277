//go:build linux && cgo

package zcrx

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring"
)

// registrations counts the calls that register something on a ring, and makes one of them
// fail.
type registrations struct {
	steps []GroupStep
	at    int                // index of the call that is changed; -1: none
	errno syscall.Errno      // what the call returns, if not 0
	then  func()             // runs before the call, if not nil
	spoil func(a *ifqAnswer) // changes the kernel's answer, if not nil

	// withoutDevice makes registrations on a hardware queue device-less.
	withoutDevice bool
}

// interfere puts r in front of the loops' calls into C until the test ends. The loops make
// these calls one after the other, because the group waits for each.
func (r *registrations) interfere(t *testing.T, loops ...*Loop) {
	t.Helper()
	for _, l := range loops {
		require.NoError(t, l.do(func() error {
			plain := l.ring.calls
			t.Cleanup(func() {
				err := l.do(func() error { l.ring.calls = plain; return nil })
				if !errors.Is(err, ErrClosed) {
					assert.NoError(t, err)
				}
			})
			l.ring.calls = r.before(plain)
			return nil
		}))
	}
}

// before returns the calls with r in front.
func (r *registrations) before(plain ringCalls) ringCalls {
	return ringCalls{
		registerIfq: func(ring unsafe.Pointer, req ifqRequest) (ifqAnswer, syscall.Errno) {
			hit, errno := r.step(GroupCreate)
			if errno != 0 {
				return ifqAnswer{}, errno
			}
			if r.withoutDevice {
				req.ifindex, req.queue = 0, 0
				req.flags |= regDeviceLess
			}
			a, errno := plain.registerIfq(ring, req)
			if hit && r.spoil != nil {
				r.spoil(&a)
			}
			return a, errno
		},
		importIfq: func(ring unsafe.Pointer, fd int) (ifqAnswer, syscall.Errno) {
			if _, errno := r.step(GroupImport); errno != 0 {
				return ifqAnswer{}, errno
			}
			return plain.importIfq(ring, fd)
		},
		export: func(ring unsafe.Pointer, id ZCRXID) (int, syscall.Errno) {
			if _, errno := r.step(GroupExport); errno != 0 {
				return -1, errno
			}
			return plain.export(ring, id)
		},
		registerBufRing: func(ring *uring.Ring, addr unsafe.Pointer, entries uint32, group uint16, flags uring.BufRingFlags) error {
			if _, errno := r.step(GroupCreate); errno != 0 {
				return os.NewSyscallError("io_uring_register_buf_ring", errno)
			}
			return plain.registerBufRing(ring, addr, entries, group, flags)
		},
	}
}

func (r *registrations) step(s GroupStep) (hit bool, errno syscall.Errno) {
	r.steps = append(r.steps, s)
	if len(r.steps)-1 != r.at {
		return false, 0
	}
	if r.then != nil {
		r.then()
	}
	return true, r.errno
}

// owned counts what a group must not leave behind: fds, goroutines, and mappings that a
// child would not inherit. Pools' mappings are of that kind, those of the Go runtime are
// not.
type owned struct{ fds, goroutines, mappings int }

func ownedNow(t *testing.T) owned {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	require.NoError(t, err)
	defer f.Close()
	o := owned{fds: openFDs(t), goroutines: runtime.NumGoroutine()}
	o.fds-- // f
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && strings.Contains(flags+" ", " dc ") {
			o.mappings++
		}
	}
	require.NoError(t, lines.Err())
	return o
}

// assertBack waits until there is no more than before.
func (before owned) assertBack(t *testing.T) {
	t.Helper()
	settled(t, before.fds, before.goroutines)
	assert.Equal(t, before.mappings, ownedNow(t).mappings)
}

// newFaultyLoops makes the loops of a group. They are small, because a ring keeps what was
// registered on it as long as it lives.
func newFaultyLoops(t *testing.T, n int) []*Loop {
	t.Helper()
	var loops []*Loop
	for range n {
		loops = append(loops, newTestLoop(t, LoopConfig{Entries: 8, CQEntries: 16}))
	}
	return loops
}

// The steps of a group of four loops over two queues, in order.
var (
	groupSteps = []GroupStep{GroupCreate, GroupExport, GroupCreate, GroupExport, GroupImport, GroupImport}
	stepLoops  = []int{0, 0, 1, 1, 2, 3}
	stepQueues = []int{4, 4, 7, 7, 4, 7}
)

func faultyGroup(loops []*Loop, mode Mode) GroupConfig {
	return GroupConfig{Mode: mode, Loops: loops, Queues: []int{4, 7}, Pool: PoolConfig{NumBuffers: 8}}
}

var plausibleErrnos = []syscall.Errno{
	syscall.EPERM, syscall.ENXIO, syscall.E2BIG, syscall.EBADF, syscall.ENOMEM, syscall.EFAULT, syscall.EBUSY,
	syscall.EEXIST, syscall.ENODEV, syscall.EINVAL, syscall.ENFILE, syscall.EMFILE, syscall.ERANGE,
	syscall.EOPNOTSUPP, syscall.EOVERFLOW,
}

// worksAgain makes a group on loops on which another one failed, and receives with it.
func worksAgain(t *testing.T, cfg GroupConfig) {
	t.Helper()
	before := ownedNow(t)
	g, err := NewGroup(t.Context(), cfg)
	require.NoError(t, err)
	require.Greater(t, ownedNow(t).mappings, before.mappings)
	for i, p := range g.Pools() {
		sender, conn := tcpPair(t)
		r, err := NewReceiver(p, conn)
		require.NoError(t, err)
		send(t, sender, []byte("hello"))
		require.Equal(t, "hello", string(receiveAll(t, r)), "member %d", i)
		require.NoError(t, r.Close())
		require.NoError(t, sender.Close())
	}
	require.NoError(t, g.Close())
	before.assertBack(t)
}

// TestGroupRollsBack makes each registration of a group fail with each errno.
func TestGroupRollsBack(t *testing.T) {
	needDeviceLess(t)
	loops := newFaultyLoops(t, 4)
	cfg := faultyGroup(loops, DeviceLess)
	worksAgain(t, cfg)
	for at, step := range groupSteps {
		for _, errno := range plausibleErrnos {
			if step == GroupCreate && errno == syscall.EEXIST {
				continue // it is tried again: see below
			}
			t.Run(fmt.Sprintf("%d-%s-%s", at, step, sys.ErrnoName(errno)), func(t *testing.T) {
				before := ownedNow(t)
				r := &registrations{at: at, errno: errno}
				r.interfere(t, cfg.Loops...)
				g, err := NewGroup(t.Context(), cfg)
				assert.Nil(t, g)
				e, ok := errors.AsType[*GroupError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, GroupError{Loop: stepLoops[at], Queue: stepQueues[at], Step: step, Err: e.Err}, *e)
				assert.ErrorIs(t, err, errno)
				assert.Contains(t, err.Error(), fmt.Sprintf("zcrx: group: loop %d, queue %d: %s pool: ", stepLoops[at], stepQueues[at], step))
				assert.Equal(t, groupSteps[:at+1], r.steps, "nothing is tried after a failure")
				before.assertBack(t)
			})
			for _, l := range loops {
				require.NoError(t, l.do(func() error {
					assert.Empty(t, l.sources)
					return nil
				}))
			}
		}
		worksAgain(t, cfg)
	}
}

// TestGroupWaitsForAnEarlierOwner makes registrations return EEXIST for a while, as on a
// queue whose earlier owner has just ended.
func TestGroupWaitsForAnEarlierOwner(t *testing.T) {
	needDeviceLess(t)
	cfg := faultyGroup(newFaultyLoops(t, 4), DeviceLess)
	t.Run("a moment", func(t *testing.T) {
		r := &registrations{at: 2, errno: syscall.EEXIST}
		r.interfere(t, cfg.Loops...)
		g, err := NewGroup(t.Context(), cfg)
		require.NoError(t, err)
		assert.Len(t, r.steps, len(groupSteps)+1)
		require.NoError(t, g.Close())
	})
	t.Run("longer than the caller", func(t *testing.T) {
		before := ownedNow(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := &registrations{at: 2, errno: syscall.EEXIST}
		r.then = func() {
			if r.at++; r.at == 5 { // the next one fails as well
				cancel()
			}
		}
		r.interfere(t, cfg.Loops...)
		_, err := NewGroup(ctx, cfg)
		assert.ErrorIs(t, err, syscall.EEXIST)
		assert.ErrorIs(t, err, context.Canceled)
		e, ok := errors.AsType[*GroupError](err)
		require.True(t, ok)
		assert.Equal(t, 7, e.Queue)
		before.assertBack(t)
	})
}

// TestGroupStopsWithItsContext ends the context in the middle of each step: the group waits
// for that step, and does not begin the next one.
func TestGroupStopsWithItsContext(t *testing.T) {
	needDeviceLess(t)
	cfg := faultyGroup(newFaultyLoops(t, 4), DeviceLess)
	for at := range groupSteps {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			before := ownedNow(t)
			ctx, cancel := context.WithCancel(t.Context())
			r := &registrations{at: at, then: cancel}
			r.interfere(t, cfg.Loops...)
			g, err := NewGroup(ctx, cfg)
			if at == len(groupSteps)-1 {
				require.NoError(t, err)
				require.NoError(t, g.Close())
				return
			}
			assert.ErrorIs(t, err, context.Canceled)
			e, ok := errors.AsType[*GroupError](err)
			require.True(t, ok)
			assert.Equal(t, GroupError{Loop: stepLoops[at+1], Queue: stepQueues[at+1], Step: groupSteps[at+1], Err: e.Err}, *e)
			assert.Equal(t, groupSteps[:at+1], r.steps)
			before.assertBack(t)
		})
	}
	worksAgain(t, cfg)
}

// TestGroupWhoseLoopEnds closes a loop in the middle of each step of another.
func TestGroupWhoseLoopEnds(t *testing.T) {
	needDeviceLess(t)
	for at := range groupSteps[:len(groupSteps)-1] {
		loops := newFaultyLoops(t, 4)
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			before := ownedNow(t)
			last := newFaultyLoops(t, 1)[0]
			cfg := faultyGroup([]*Loop{loops[0], loops[1], loops[2], last}, DeviceLess)
			r := &registrations{at: at, then: func() { assert.NoError(t, last.Close()) }}
			r.interfere(t, cfg.Loops...)
			_, err := NewGroup(t.Context(), cfg)
			assert.ErrorIs(t, err, ErrClosed)
			e, ok := errors.AsType[*GroupError](err)
			require.True(t, ok)
			assert.Equal(t, GroupError{Loop: 3, Queue: 7, Step: GroupImport, Err: e.Err}, *e)
			before.assertBack(t)
		})
		worksAgain(t, faultyGroup(loops, DeviceLess))
	}
}

// TestGroupOnAHardwareQueue imitates a hardware queue of the loopback interface.
func TestGroupOnAHardwareQueue(t *testing.T) {
	needDeviceLess(t)
	cfg := GroupConfig{
		Mode: Auto, Loops: newFaultyLoops(t, 3), Queues: []int{0},
		Interface: "lo", Pool: PoolConfig{NumBuffers: 8},
	}
	t.Run("works", func(t *testing.T) {
		r := &registrations{at: -1, withoutDevice: true}
		r.interfere(t, cfg.Loops...)
		g, err := NewGroup(t.Context(), cfg)
		require.NoError(t, err)
		assert.Equal(t, ZeroCopy, g.Mode())
		require.NoError(t, g.Reason())
		assert.Equal(t, []int{0}, g.Queues())
		for i, p := range g.Pools() {
			assert.Equal(t, ZeroCopy, p.Mode(), "member %d", i)
			receiveOn(t, p, "hello")
		}
		require.NoError(t, g.Close())
	})
	t.Run("copies if the queue cannot be had", func(t *testing.T) {
		r := &registrations{at: 0, errno: syscall.EBUSY, withoutDevice: true}
		r.interfere(t, cfg.Loops...)
		g, err := NewGroup(t.Context(), cfg)
		require.NoError(t, err)
		assert.Equal(t, Provided, g.Mode())
		assert.ErrorIs(t, g.Reason(), syscall.EBUSY)
		require.NoError(t, g.Close())
	})
	for at, step := range []GroupStep{1: GroupExport, GroupImport, GroupImport} {
		if at == 0 {
			continue
		}
		t.Run(fmt.Sprintf("does not copy once it is taken, %d", at), func(t *testing.T) {
			before := ownedNow(t)
			r := &registrations{at: at, errno: syscall.EBUSY, withoutDevice: true}
			r.interfere(t, cfg.Loops...)
			_, err := NewGroup(t.Context(), cfg)
			assert.ErrorIs(t, err, syscall.EBUSY)
			e, ok := errors.AsType[*GroupError](err)
			require.True(t, ok)
			assert.Equal(t, GroupError{Loop: max(0, at-1), Queue: 0, Step: step, Err: e.Err}, *e)
			before.assertBack(t)
		})
	}
}

// TestGroupGivenNonsense makes the kernel return offsets outside the refill queue's region:
// the registration exists, but cannot be used.
func TestGroupGivenNonsense(t *testing.T) {
	needDeviceLess(t)
	cfg := faultyGroup(newFaultyLoops(t, 4), DeviceLess)
	t.Run("offsets", func(t *testing.T) {
		before := ownedNow(t)
		r := &registrations{at: 2, spoil: func(a *ifqAnswer) { a.offsets.entries = 1 << 30 }}
		r.interfere(t, cfg.Loops...)
		_, err := NewGroup(t.Context(), cfg)
		e, ok := errors.AsType[*GroupError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, GroupError{Loop: 1, Queue: 7, Step: GroupCreate, Err: e.Err}, *e)
		before.assertBack(t)
	})
	worksAgain(t, cfg)
}

// TestCopyingGroupRollsBack is TestGroupRollsBack for Provided mode.
func TestCopyingGroupRollsBack(t *testing.T) {
	loops := newFaultyLoops(t, 3)
	cfg := faultyGroup(loops, Provided)
	worksAgain(t, cfg)
	for at := range loops {
		for _, errno := range plausibleErrnos {
			t.Run(fmt.Sprintf("%d-%s", at, sys.ErrnoName(errno)), func(t *testing.T) {
				before := ownedNow(t)
				r := &registrations{at: at, errno: errno}
				r.interfere(t, cfg.Loops...)
				_, err := NewGroup(t.Context(), cfg)
				e, ok := errors.AsType[*GroupError](err)
				require.True(t, ok, "%v", err)
				assert.Equal(t, GroupError{Loop: at, Queue: -1, Step: GroupCreate, Err: e.Err}, *e)
				assert.ErrorIs(t, err, errno)
				assert.Contains(t, err.Error(), fmt.Sprintf("zcrx: group: loop %d: create pool: ", at))
				assert.Len(t, r.steps, at+1)
				before.assertBack(t)
			})
		}
		worksAgain(t, cfg)
	}
	t.Run("called off", func(t *testing.T) {
		before := ownedNow(t)
		ctx, cancel := context.WithCancel(t.Context())
		r := &registrations{at: 1, then: cancel}
		r.interfere(t, cfg.Loops...)
		_, err := NewGroup(ctx, cfg)
		assert.ErrorIs(t, err, context.Canceled)
		e, ok := errors.AsType[*GroupError](err)
		require.True(t, ok)
		assert.Equal(t, 2, e.Loop)
		before.assertBack(t)
	})
	t.Run("no memory", func(t *testing.T) {
		before := ownedNow(t)
		large := cfg
		large.Pool = PoolConfig{NumBuffers: 2048, Memory: MemoryHugeTLB, BufferSizeHint: 2 << 20}
		_, err := NewGroup(t.Context(), large) // 4 GiB of huge pages, which are not reserved
		e, ok := errors.AsType[*GroupError](err)
		require.True(t, ok, "%v", err)
		assert.Equal(t, GroupCreate, e.Step)
		before.assertBack(t)
	})
	worksAgain(t, cfg)
}
