package uring

import (
	"time"
	"unsafe"

	"github.com/zcrx-go/zcrx/internal/sys"
	"github.com/zcrx-go/zcrx/uring/uapi"
)

// SQE is a submission queue entry with the layout of struct io_uring_sqe. Call one
// Prep method, then set UserData and add to Flags. Memory whose address is in an entry
// must stay reachable until the last completion of the request (runtime.KeepAlive),
// unless the Prep method says otherwise: the kernel's address does not keep it. Requests
// does that for its own. The memory does not move. What is read when the entry is submitted
// must stay until the kernel has taken the entry: with SetupSQPoll that is after Submit
// (SQReady). A request transfers at most 2147418112 bytes (2 GiB less 64 KiB).
type SQE struct {
	Opcode      Opcode
	Flags       SQEFlags
	Ioprio      uint16
	FD          int32
	Off         uint64
	Addr        uint64
	Len         uint32
	OpFlags     uint32 // msg_flags, poll_events, timeout_flags and the like
	UserData    uint64 // of any value; see the package comment for rings of package zcrx
	BufferGroup uint16
	Personality uint16
	FileIndex   uint32 // file_index, zcrx_ifq_idx
	Addr3       uint64
	tracked     uint64 // 0, but while a request of Requests is prepared
}

const sqeSize = unsafe.Sizeof(SQE{})

// SQEFlags are the IOSQE_* flags of an entry.
type SQEFlags uint8

// The flags of a submission queue entry.
const (
	SQEFixedFile      SQEFlags = uapi.IOSQE_FIXED_FILE       // FD is the place of a registered file
	SQEDrain          SQEFlags = uapi.IOSQE_IO_DRAIN         // begin when all before have completed, and before all after
	SQELink           SQEFlags = uapi.IOSQE_IO_LINK          // the next entry begins when this one has succeeded: fewer bytes than asked for are no success
	SQEHardLink       SQEFlags = uapi.IOSQE_IO_HARDLINK      // the next entry begins when this one has completed (Linux 5.5)
	SQEAsync          SQEFlags = uapi.IOSQE_ASYNC            // leave it to a worker at once (Linux 5.6)
	SQEBufferSelect   SQEFlags = uapi.IOSQE_BUFFER_SELECT    // take a provided buffer of BufferGroup (Linux 5.7)
	SQECQESkipSuccess SQEFlags = uapi.IOSQE_CQE_SKIP_SUCCESS // no completion on success, nor of what is behind it in a chain if it fails (Linux 5.17)
)

// Flags of receives and sends, in SQE.Ioprio.
const (
	RecvSendPollFirst uint16 = uapi.IORING_RECVSEND_POLL_FIRST  // wait for data or room first, without trying (Linux 5.19)
	RecvMultishot     uint16 = uapi.IORING_RECV_MULTISHOT       // set by PrepRecvMultishot and PrepRecvZC
	RecvSendFixedBuf  uint16 = uapi.IORING_RECVSEND_FIXED_BUF   // send from a registered buffer: set by PrepSendZCFixed
	SendZCReportUsage uint16 = uapi.IORING_SEND_ZC_REPORT_USAGE // see NotifZCCopied (Linux 6.2)
	RecvSendBundle    uint16 = uapi.IORING_RECVSEND_BUNDLE      // several provided buffers per completion (Linux 6.10)
	SendVectorized    uint16 = uapi.IORING_SEND_VECTORIZED      // the memory is a list of Iovecs (Linux 6.17)
)

// Flags of accepts, in SQE.Ioprio.
const (
	AcceptMultishot uint16 = uapi.IORING_ACCEPT_MULTISHOT  // set by PrepMultishotAccept
	AcceptDontWait  uint16 = uapi.IORING_ACCEPT_DONTWAIT   // EAGAIN if there is no connection (Linux 6.10)
	AcceptPollFirst uint16 = uapi.IORING_ACCEPT_POLL_FIRST // wait for a connection first, without trying (Linux 6.10)
)

// CancelFlags are the IORING_ASYNC_CANCEL_* flags: which requests, and how many.
type CancelFlags uint32

// The flags of a cancellation.
const (
	CancelAll      CancelFlags = uapi.IORING_ASYNC_CANCEL_ALL      // all requests that match, not just the first (Linux 5.19)
	CancelFD       CancelFlags = uapi.IORING_ASYNC_CANCEL_FD       // those on an fd: set by PrepCancelFD (Linux 5.19)
	CancelAny      CancelFlags = uapi.IORING_ASYNC_CANCEL_ANY      // all requests, whatever they are (Linux 5.19)
	CancelFDFixed  CancelFlags = uapi.IORING_ASYNC_CANCEL_FD_FIXED // the fd is the place of a registered file (Linux 6.0)
	CancelUserData CancelFlags = uapi.IORING_ASYNC_CANCEL_USERDATA // those with the user data, beside what else is asked for (Linux 6.6)
	CancelOp       CancelFlags = uapi.IORING_ASYNC_CANCEL_OP       // those with an operation, in SQE.Len (Linux 6.6)
)

// TimeoutFlags are the IORING_TIMEOUT_* flags.
type TimeoutFlags uint32

// The flags of timeouts.
const (
	TimeoutAbs          TimeoutFlags = uapi.IORING_TIMEOUT_ABS           // the time is a moment
	TimeoutUpdate       TimeoutFlags = uapi.IORING_TIMEOUT_UPDATE        // set by PrepTimeoutUpdate (Linux 5.11)
	TimeoutBoottime     TimeoutFlags = uapi.IORING_TIMEOUT_BOOTTIME      // on CLOCK_BOOTTIME (Linux 5.15)
	TimeoutRealtime     TimeoutFlags = uapi.IORING_TIMEOUT_REALTIME      // on CLOCK_REALTIME (Linux 5.15)
	LinkTimeoutUpdate   TimeoutFlags = uapi.IORING_LINK_TIMEOUT_UPDATE   // change a linked timeout (Linux 5.15)
	TimeoutETimeSuccess TimeoutFlags = uapi.IORING_TIMEOUT_ETIME_SUCCESS // ETIME is no failure: linked requests go on (Linux 5.16)
	TimeoutMultishot    TimeoutFlags = uapi.IORING_TIMEOUT_MULTISHOT     // again and again, count times or for ever (Linux 6.4)
	TimeoutImmediateArg TimeoutFlags = uapi.IORING_TIMEOUT_IMMEDIATE_ARG // SQE.Addr is the time itself, in ns (Linux 7.1)
)

// PollFlags are the IORING_POLL_* flags.
type PollFlags uint32

// The flags of polls, in SQE.Len.
const (
	PollAddMulti       PollFlags = uapi.IORING_POLL_ADD_MULTI        // set by PrepPollMultishot
	PollUpdateEvents   PollFlags = uapi.IORING_POLL_UPDATE_EVENTS    // PrepPollUpdate changes the events
	PollUpdateUserData PollFlags = uapi.IORING_POLL_UPDATE_USER_DATA // PrepPollUpdate changes the user data
	PollAddLevel       PollFlags = uapi.IORING_POLL_ADD_LEVEL        // kernels refuse it with EINVAL
)

func (s *SQE) prep(op Opcode, fd int, addr uint64, length uint32, off uint64) {
	s.Opcode = op
	s.FD = int32(fd)
	s.Off = off
	s.Addr = addr
	s.Len = length
}

// PrepNop prepares a request that does nothing.
//
// Implements: void io_uring_prep_nop(struct io_uring_sqe *sqe)
func (s *SQE) PrepNop() { s.prep(OpNop, -1, 0, 0, 0) }

// PrepAccept prepares to accept one connection of the listening socket fd. The
// completion's Res is the new fd. flags may have SOCK_CLOEXEC and SOCK_NONBLOCK.
//
// Implements: void io_uring_prep_accept(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags)
func (s *SQE) PrepAccept(fd, flags int) {
	s.prep(OpAccept, fd, 0, 0, 0)
	s.OpFlags = uint32(flags)
}

// PrepMultishotAccept prepares to accept connections until cancelled, with one
// completion for each (Linux 5.19).
//
// Implements: void io_uring_prep_multishot_accept(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags)
func (s *SQE) PrepMultishotAccept(fd, flags int) {
	s.PrepAccept(fd, flags)
	s.Ioprio |= AcceptMultishot
}

// PrepConnect prepares to connect the socket fd. sockaddr is the raw address, which
// must stay where it is until the entry is submitted.
//
// Implements: void io_uring_prep_connect(struct io_uring_sqe *sqe, int fd, const struct sockaddr *addr, socklen_t addrlen)
func (s *SQE) PrepConnect(fd int, sockaddr []byte) {
	s.prep(OpConnect, fd, s.address(unsafe.Pointer(unsafe.SliceData(sockaddr))), 0, uint64(len(sockaddr)))
}

// PrepRead prepares a read of fd at offset off; -1 means the file's position.
//
// Implements: void io_uring_prep_read(struct io_uring_sqe *sqe, int fd, void *buf, unsigned nbytes, __u64 offset)
func (s *SQE) PrepRead(fd int, b []byte, off int64) {
	s.transfer(OpRead, fd, b, uint64(off))
}

// PrepRecv prepares one receive into b.
//
// Implements: void io_uring_prep_recv(struct io_uring_sqe *sqe, int sockfd, void *buf, size_t len, int flags)
func (s *SQE) PrepRecv(fd int, b []byte, flags int) {
	s.transfer(OpRecv, fd, b, 0)
	s.OpFlags = uint32(flags)
}

// PrepRecvMultishot prepares a receive that takes a provided buffer of the group for
// each completion. It goes on until it is cancelled, the stream ends, or an error
// occurs (Linux 6.0).
//
// Implements: void io_uring_prep_recv_multishot(struct io_uring_sqe *sqe, int sockfd, void *buf, size_t len, int flags)
// with IOSQE_BUFFER_SELECT and buf_group set.
func (s *SQE) PrepRecvMultishot(fd int, group uint16, flags int) {
	s.prep(OpRecv, fd, 0, 0, 0)
	s.OpFlags = uint32(flags)
	s.Ioprio |= RecvMultishot
	s.Flags |= SQEBufferSelect
	s.BufferGroup = group
}

// PrepRecvZC prepares a multishot zero-copy receive into the buffers of the zcrx
// instance ifq (Linux 6.15). It ends after limit bytes, or has no limit if that is 0.
// Its last completion then has Res 0, as at the end of the stream: a caller with a
// limit must count bytes to tell one from the other.
//
// Implements: IORING_OP_RECV_ZC; liburing has no function for it.
func (s *SQE) PrepRecvZC(fd int, ifq, limit uint32) {
	s.prep(OpRecvZC, fd, 0, limit, 0)
	s.Ioprio |= RecvMultishot
	s.FileIndex = ifq
}

// LimitMultishot has a multishot receive with RecvSendBundle end after that number of
// bytes, with the completion that has the last of them (sqe->optlen, Linux 6.17).
func (s *SQE) LimitMultishot(bytes uint32) { s.FileIndex = bytes }

// PrepSend prepares to send b. flags are MSG_* flags.
//
// Implements: void io_uring_prep_send(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags)
func (s *SQE) PrepSend(fd int, b []byte, flags int) {
	s.transfer(OpSend, fd, b, 0)
	s.OpFlags = uint32(flags)
}

// PrepSendmsg prepares to send a message. message is the address of a struct msghdr, which
// must stay as it is, with all that it names, until the completion. flags are MSG_* flags.
//
// Implements: void io_uring_prep_sendmsg(struct io_uring_sqe *sqe, int fd, const struct msghdr *msg, unsigned flags)
func (s *SQE) PrepSendmsg(fd int, message unsafe.Pointer, flags int) {
	s.prep(OpSendmsg, fd, s.address(message), 1, 0)
	s.OpFlags = uint32(flags)
}

// PrepSendZC prepares to send b without a copy (Linux 6.0). b must not be changed
// before the second completion, the one with CQENotif. zcFlags may have
// SendZCReportUsage.
//
// Implements: void io_uring_prep_send_zc(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags, unsigned zc_flags)
func (s *SQE) PrepSendZC(fd int, b []byte, flags int, zcFlags uint16) {
	s.transfer(OpSendZC, fd, b, 0)
	s.OpFlags = uint32(flags)
	s.Ioprio = zcFlags
}

// PrepPollAdd prepares to wait until fd has one of the POLL* events, once.
//
// Implements: void io_uring_prep_poll_add(struct io_uring_sqe *sqe, int fd, unsigned poll_mask)
func (s *SQE) PrepPollAdd(fd int, events uint32) {
	s.prep(OpPollAdd, fd, 0, 0, 0)
	s.OpFlags = sys.PollMask(events)
}

// PrepPollMultishot prepares to wait for POLL* events of fd until cancelled, with a
// completion for each (Linux 5.13).
//
// Implements: void io_uring_prep_poll_multishot(struct io_uring_sqe *sqe, int fd, unsigned poll_mask)
func (s *SQE) PrepPollMultishot(fd int, events uint32) {
	s.PrepPollAdd(fd, events)
	s.Len = uint32(PollAddMulti)
}

// Timespec is the kernel's struct __kernel_timespec.
type Timespec = uapi.Timespec

// TimespecOf turns a duration of 0 or more into a Timespec.
func TimespecOf(d time.Duration) Timespec {
	return Timespec{Sec: int64(d / time.Second), Nsec: int64(d % time.Second)}
}

// PrepTimeout prepares a timeout. It completes with ETIME after ts, or with 0 after
// count other completions; count 0 means after ts only. ts must stay where it is until
// the entry is submitted.
//
// Implements: void io_uring_prep_timeout(struct io_uring_sqe *sqe, const struct __kernel_timespec *ts, unsigned count, unsigned flags)
func (s *SQE) PrepTimeout(ts *Timespec, count uint32, flags TimeoutFlags) {
	s.prep(OpTimeout, -1, s.address(unsafe.Pointer(ts)), 1, uint64(count))
	s.OpFlags = uint32(flags)
}

// PrepCancel prepares to cancel the request with that user data. The cancellation's
// own Res is 0, or 1 of a wait for a futex or a process; with CancelAll or CancelAny the number
// of requests cancelled; or -ENOENT; or -EALREADY: that a worker had begun the request, which it
// interrupts. With SetupSQPoll, -ENOENT can mean that too.
//
// Implements: void io_uring_prep_cancel64(struct io_uring_sqe *sqe, __u64 user_data, int flags)
// Implements: void io_uring_prep_cancel(struct io_uring_sqe *sqe, const void *user_data, int flags)
func (s *SQE) PrepCancel(userData uint64, flags CancelFlags) {
	s.prep(OpAsyncCancel, -1, 0, 0, 0)
	s.Addr = userData
	s.OpFlags = uint32(flags)
}

// PrepCancelFD prepares to cancel requests on fd (Linux 5.19).
//
// Implements: void io_uring_prep_cancel_fd(struct io_uring_sqe *sqe, int fd, unsigned int flags)
func (s *SQE) PrepCancelFD(fd int, flags CancelFlags) {
	s.prep(OpAsyncCancel, fd, 0, 0, 0)
	s.OpFlags = uint32(flags | CancelFD)
}

// PrepShutdown prepares shutdown(2) of fd; how is SHUT_RD, SHUT_WR or SHUT_RDWR.
//
// Implements: void io_uring_prep_shutdown(struct io_uring_sqe *sqe, int fd, int how)
func (s *SQE) PrepShutdown(fd, how int) { s.prep(OpShutdown, fd, 0, uint32(how), 0) }

// PrepClose prepares close(2) of fd. It does not end other requests on fd: cancel them
// first.
//
// Implements: void io_uring_prep_close(struct io_uring_sqe *sqe, int fd)
func (s *SQE) PrepClose(fd int) { s.prep(OpClose, fd, 0, 0, 0) }

// maxTransfer is how many bytes a request transfers at most: what the kernel does with one
// read(2) or write(2) (MAX_RW_COUNT with pages of 64 KiB, which is less than with others).
const maxTransfer = 1<<31 - 1<<16

// transfer prepares an operation on b, or on as much of it as one request transfers.
func (s *SQE) transfer(op Opcode, fd int, b []byte, off uint64) {
	s.prep(op, fd, s.address(unsafe.Pointer(unsafe.SliceData(b))), uint32(min(uint64(len(b)), maxTransfer)), off)
}

// address returns the address of memory that the kernel will use. If the entry is one of
// Requests, that keeps the memory.
func (s *SQE) address(p unsafe.Pointer) uint64 {
	switch {
	case s.isTracked():
		(*trackedSQE)(unsafe.Pointer(s)).keep(p)
	case s.tracked != 0:
		s.tracked = 0 // a copy of an entry of Requests, which must not take it for its own
	}
	return uint64(escape(p))
}

// escape returns the address of memory that the kernel will use. Memory on a goroutine's
// stack moves when that grows, so escape has the compiler put it elsewhere: never is always
// false, but the compiler does not know.
func escape(p unsafe.Pointer) uintptr {
	if never {
		escaped = p
	}
	return uintptr(p)
}

var (
	never   bool
	escaped unsafe.Pointer //nolint:unused // it is written so that what it points to is on the heap
)
