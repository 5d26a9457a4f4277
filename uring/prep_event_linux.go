package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/sys"
)

// PrepPollRemove prepares to end the poll with that user data (Linux 5.1).
//
// Implements: void io_uring_prep_poll_remove(struct io_uring_sqe *sqe, __u64 user_data)
func (s *SQE) PrepPollRemove(userData uint64) {
	s.prep(OpPollRemove, -1, 0, 0, 0)
	s.Addr = userData
}

// PrepPollUpdate prepares to change the poll with the user data old: its events with
// PollUpdateEvents, its user data with PollUpdateUserData; without these flags, events and
// userData must be 0. It stays a poll for once or a multishot poll, whatever PollAddMulti says
// (Linux 5.13).
//
// Implements: void io_uring_prep_poll_update(struct io_uring_sqe *sqe, __u64 old_user_data, __u64 new_user_data, unsigned poll_mask, unsigned flags)
func (s *SQE) PrepPollUpdate(old, userData uint64, events uint32, flags PollFlags) {
	s.prep(OpPollRemove, -1, 0, uint32(flags), userData)
	s.Addr = old
	s.OpFlags = sys.PollMask(events)
}

// PrepEpollCtl prepares epoll_ctl(2): op is unix.EPOLL_CTL_*. The event is read when the entry
// is submitted (Linux 5.6).
//
// Implements: void io_uring_prep_epoll_ctl(struct io_uring_sqe *sqe, int epfd, int fd, int op, const struct epoll_event *ev)
func (s *SQE) PrepEpollCtl(epfd, fd, op int, event *unix.EpollEvent) {
	s.prep(OpEpollCtl, epfd, s.address(unsafe.Pointer(event)), uint32(op), uint64(uint32(fd)))
}

// PrepEpollWait prepares epoll_wait(2): the completion's Res is the number of events. flags
// must be 0 (Linux 6.15).
//
// Implements: void io_uring_prep_epoll_wait(struct io_uring_sqe *sqe, int fd, struct epoll_event *events, int maxevents, unsigned flags)
func (s *SQE) PrepEpollWait(fd int, events []unix.EpollEvent, flags uint32) {
	s.prep(OpEpollWait, fd, s.address(unsafe.Pointer(unsafe.SliceData(events))), uint32(len(events)), 0)
	s.OpFlags = flags
}

// PrepTimeoutRemove prepares to end the timeout with that user data, which then completes with
// ECANCELED. It is ENOENT while a repeating one fires. flags must be 0 (Linux 5.5).
//
// Implements: void io_uring_prep_timeout_remove(struct io_uring_sqe *sqe, __u64 user_data, unsigned flags)
func (s *SQE) PrepTimeoutRemove(userData uint64, flags TimeoutFlags) {
	s.prep(OpTimeoutRemove, -1, 0, 0, 0)
	s.Addr = userData
	s.OpFlags = uint32(flags)
}

// PrepTimeoutUpdate prepares to give the timeout with that user data another time, on the clock
// that it has. flags may have TimeoutAbs and LinkTimeoutUpdate. ts must stay where it is until the
// entry is submitted (Linux 5.11).
//
// Implements: void io_uring_prep_timeout_update(struct io_uring_sqe *sqe, const struct __kernel_timespec *ts, __u64 user_data, unsigned flags)
func (s *SQE) PrepTimeoutUpdate(ts *Timespec, userData uint64, flags TimeoutFlags) {
	s.prep(OpTimeoutRemove, -1, 0, 0, s.address(unsafe.Pointer(ts)))
	s.Addr = userData
	s.OpFlags = uint32(flags | TimeoutUpdate)
}

// PrepLinkTimeout prepares to cancel the entry before this one, which must have SQELink, if it
// has not completed after ts. ts must stay where it is until the entry is submitted
// (Linux 5.5).
//
// Implements: void io_uring_prep_link_timeout(struct io_uring_sqe *sqe, const struct __kernel_timespec *ts, unsigned flags)
func (s *SQE) PrepLinkTimeout(ts *Timespec, flags TimeoutFlags) {
	s.prep(OpLinkTimeout, -1, s.address(unsafe.Pointer(ts)), 1, 0)
	s.OpFlags = uint32(flags)
}

// PrepWaitid prepares waitid(2): idType is unix.P_*, options are unix.WEXITED and others. info
// must stay until the completion. flags must be 0 (Linux 6.7).
//
// Implements: void io_uring_prep_waitid(struct io_uring_sqe *sqe, idtype_t idtype, id_t id, siginfo_t *infop, int options, unsigned int flags)
func (s *SQE) PrepWaitid(idType, id int, info *unix.Siginfo, options int, flags uint32) {
	s.prep(OpWaitid, id, 0, uint32(idType), s.address(unsafe.Pointer(info)))
	s.FileIndex = uint32(options)
	s.OpFlags = flags
}

// Sizes of a futex, and whether it is the process's own, for PrepFutexWait and PrepFutexWake
// (FUTEX2_*, uapi linux/futex.h).
const (
	Futex32      uint32 = 2    // FUTEX2_SIZE_U32: the only size that kernels have
	FutexPrivate uint32 = 0x80 // FUTEX2_PRIVATE
)

// FutexMatchAny is the mask of waiters and wakers that all match (FUTEX_BITSET_MATCH_ANY).
const FutexMatchAny uint64 = 0xffffffff

// PrepFutexWait prepares to wait until the futex is woken, unless its value is not val: then it
// completes with EAGAIN. mask selects who may wake it. flags must be 0 (Linux 6.7).
//
// Implements: void io_uring_prep_futex_wait(struct io_uring_sqe *sqe, const uint32_t *futex, uint64_t val, uint64_t mask, uint32_t futex_flags, unsigned int flags)
func (s *SQE) PrepFutexWait(futex *uint32, val, mask uint64, futexFlags, flags uint32) {
	s.futex(OpFutexWait, futex, val, mask, futexFlags, flags)
}

// PrepFutexWake prepares to wake up to n waiters of the futex. The completion's Res is how many
// (Linux 6.7).
//
// Implements: void io_uring_prep_futex_wake(struct io_uring_sqe *sqe, const uint32_t *futex, uint64_t val, uint64_t mask, uint32_t futex_flags, unsigned int flags)
func (s *SQE) PrepFutexWake(futex *uint32, n, mask uint64, futexFlags, flags uint32) {
	s.futex(OpFutexWake, futex, n, mask, futexFlags, flags)
}

func (s *SQE) futex(op Opcode, futex *uint32, val, mask uint64, futexFlags, flags uint32) {
	s.prep(op, int(int32(futexFlags)), s.address(unsafe.Pointer(futex)), 0, val)
	s.OpFlags = flags
	s.Addr3 = mask
}

// FutexWaiter is one of the futexes of PrepFutexWaitv, with the layout of struct futex_waitv.
type FutexWaiter struct {
	Val   uint64
	Uaddr uint64 // see NewFutexWaiter
	Flags uint32 // Futex32, FutexPrivate
	_     uint32
}

// NewFutexWaiter returns a FutexWaiter. The futex must stay reachable as long as it is used.
func NewFutexWaiter(futex *uint32, val uint64, flags uint32) FutexWaiter {
	return FutexWaiter{Val: val, Uaddr: uint64(escape(unsafe.Pointer(futex))), Flags: flags}
}

// PrepFutexWaitv prepares to wait for one of 1 to 128 futexes. The completion's Res is its
// index. The list is read when the entry is submitted (Linux 6.7).
//
// Implements: void io_uring_prep_futex_waitv(struct io_uring_sqe *sqe, const struct futex_waitv *futex, uint32_t nr_futex, unsigned int flags)
func (s *SQE) PrepFutexWaitv(futexes []FutexWaiter, flags uint32) {
	s.prep(OpFutexWaitv, 0, s.address(unsafe.Pointer(unsafe.SliceData(futexes))), uint32(len(futexes)), 0)
	s.OpFlags = flags
}
