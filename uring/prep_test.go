//go:build linux && cgo

package uring

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/internal/cprep"
)

// args are the arguments of one of liburing's functions, without the entry.
type args []uint64

func (a args) int(i int) int       { return int(int32(a[i])) }
func (a args) int64(i int) int64   { return int64(a[i]) }
func (a args) uint32(i int) uint32 { return uint32(a[i]) }
func (a args) uint16(i int) uint16 { return uint16(a[i]) }

// pointer returns a pointer to nothing: entries have it, and nobody follows it.
func pointer[T any](a args, i int) *T {
	at := uintptr(a[i])
	return *(**T)(unsafe.Pointer(&at))
}

func sliceOf[T any](a args, i, n int) []T { return unsafe.Slice(pointer[T](a, i), int(uint32(a[n]))) }

func (a args) bytes(i, n int) []byte   { return sliceOf[byte](a, i, n) }
func (a args) iovecs(i, n int) []Iovec { return sliceOf[Iovec](a, i, n) }
func (a args) path(i int) *byte        { return pointer[byte](a, i) }

// prepared has, for each of liburing's functions that prepare an entry, the method that does
// the same.
var prepared = map[string]func(s *SQE, a args){
	"io_uring_prep_splice": func(s *SQE, a args) {
		s.PrepSplice(a.int(0), a.int64(1), a.int(2), a.int64(3), a.uint32(4), a.uint32(5))
	},
	"io_uring_prep_tee":     func(s *SQE, a args) { s.PrepTee(a.int(0), a.int(1), a.uint32(2), a.uint32(3)) },
	"io_uring_prep_readv":   func(s *SQE, a args) { s.PrepReadv(a.int(0), a.iovecs(1, 2), a.int64(3)) },
	"io_uring_prep_readv2":  func(s *SQE, a args) { s.PrepReadv2(a.int(0), a.iovecs(1, 2), a.int64(3), a.int(4)) },
	"io_uring_prep_writev":  func(s *SQE, a args) { s.PrepWritev(a.int(0), a.iovecs(1, 2), a.int64(3)) },
	"io_uring_prep_writev2": func(s *SQE, a args) { s.PrepWritev2(a.int(0), a.iovecs(1, 2), a.int64(3), a.int(4)) },
	"io_uring_prep_read_fixed": func(s *SQE, a args) {
		s.PrepReadFixed(a.int(0), a.bytes(1, 2), a.int64(3), a.uint16(4))
	},
	"io_uring_prep_write_fixed": func(s *SQE, a args) {
		s.PrepWriteFixed(a.int(0), a.bytes(1, 2), a.int64(3), a.uint16(4))
	},
	"io_uring_prep_readv_fixed": func(s *SQE, a args) {
		s.PrepReadvFixed(a.int(0), a.iovecs(1, 2), a.int64(3), a.int(4), a.uint16(5))
	},
	"io_uring_prep_writev_fixed": func(s *SQE, a args) {
		s.PrepWritevFixed(a.int(0), a.iovecs(1, 2), a.int64(3), a.int(4), a.uint16(5))
	},
	"io_uring_prep_recvmsg": func(s *SQE, a args) { s.PrepRecvmsg(a.int(0), pointer[unix.Msghdr](a, 1), a.int(2)) },
	"io_uring_prep_recvmsg_multishot": func(s *SQE, a args) {
		s.PrepRecvmsgMultishot(a.int(0), pointer[unix.Msghdr](a, 1), a.int(2))
	},
	"io_uring_prep_sendmsg": func(s *SQE, a args) {
		s.PrepSendmsg(a.int(0), unsafe.Pointer(pointer[unix.Msghdr](a, 1)), a.int(2))
	},
	"io_uring_prep_poll_add":       func(s *SQE, a args) { s.PrepPollAdd(a.int(0), a.uint32(1)) },
	"io_uring_prep_poll_multishot": func(s *SQE, a args) { s.PrepPollMultishot(a.int(0), a.uint32(1)) },
	"io_uring_prep_poll_remove":    func(s *SQE, a args) { s.PrepPollRemove(a[0]) },
	"io_uring_prep_poll_update": func(s *SQE, a args) {
		s.PrepPollUpdate(a[0], a[1], a.uint32(2), PollFlags(a.uint32(3)))
	},
	"io_uring_prep_fsync":   func(s *SQE, a args) { s.PrepFsync(a.int(0), a.uint32(1)) },
	"io_uring_prep_nop":     func(s *SQE, _ args) { s.PrepNop() },
	"io_uring_prep_nop128":  func(s *SQE, _ args) { s.PrepNop128() },
	"io_uring_prep_timeout": func(s *SQE, a args) { s.PrepTimeout(pointer[Timespec](a, 0), a.uint32(1), TimeoutFlags(a.uint32(2))) },
	"io_uring_prep_timeout_remove": func(s *SQE, a args) {
		s.PrepTimeoutRemove(a[0], TimeoutFlags(a.uint32(1)))
	},
	"io_uring_prep_timeout_update": func(s *SQE, a args) {
		s.PrepTimeoutUpdate(pointer[Timespec](a, 0), a[1], TimeoutFlags(a.uint32(2)))
	},
	"io_uring_prep_accept": func(s *SQE, a args) {
		s.PrepAccept(a.int(0), a.int(3))
		s.AcceptAddr(pointer[unix.RawSockaddrAny](a, 1), pointer[uint32](a, 2))
	},
	"io_uring_prep_accept_direct": func(s *SQE, a args) {
		s.PrepAcceptDirect(a.int(0), a.int(3), a.uint32(4))
		s.AcceptAddr(pointer[unix.RawSockaddrAny](a, 1), pointer[uint32](a, 2))
	},
	"io_uring_prep_multishot_accept": func(s *SQE, a args) {
		s.PrepMultishotAccept(a.int(0), a.int(3))
		s.AcceptAddr(pointer[unix.RawSockaddrAny](a, 1), pointer[uint32](a, 2))
	},
	"io_uring_prep_multishot_accept_direct": func(s *SQE, a args) {
		s.PrepMultishotAcceptDirect(a.int(0), a.int(3))
		s.AcceptAddr(pointer[unix.RawSockaddrAny](a, 1), pointer[uint32](a, 2))
	},
	"io_uring_prep_cancel64":     func(s *SQE, a args) { s.PrepCancel(a[0], CancelFlags(a.uint32(1))) },
	"io_uring_prep_cancel":       func(s *SQE, a args) { s.PrepCancel(a[0], CancelFlags(a.uint32(1))) },
	"io_uring_prep_cancel_fd":    func(s *SQE, a args) { s.PrepCancelFD(a.int(0), CancelFlags(a.uint32(1))) },
	"io_uring_prep_link_timeout": func(s *SQE, a args) { s.PrepLinkTimeout(pointer[Timespec](a, 0), TimeoutFlags(a.uint32(1))) },
	"io_uring_prep_connect":      func(s *SQE, a args) { s.PrepConnect(a.int(0), a.bytes(1, 2)) },
	"io_uring_prep_bind":         func(s *SQE, a args) { s.PrepBind(a.int(0), a.bytes(1, 2)) },
	"io_uring_prep_listen":       func(s *SQE, a args) { s.PrepListen(a.int(0), a.int(1)) },
	"io_uring_prep_epoll_wait": func(s *SQE, a args) {
		s.PrepEpollWait(a.int(0), sliceOf[unix.EpollEvent](a, 1, 2), a.uint32(3))
	},
	"io_uring_prep_files_update": func(s *SQE, a args) { s.PrepFilesUpdate(sliceOf[int32](a, 0, 1), a.int(2)) },
	"io_uring_prep_fallocate":    func(s *SQE, a args) { s.PrepFallocate(a.int(0), a.uint32(1), a.int64(2), a.int64(3)) },
	"io_uring_prep_openat":       func(s *SQE, a args) { s.PrepOpenat(a.int(0), a.path(1), a.int(2), a.uint32(3)) },
	"io_uring_prep_openat_direct": func(s *SQE, a args) {
		s.PrepOpenatDirect(a.int(0), a.path(1), a.int(2), a.uint32(3), a.uint32(4))
	},
	"io_uring_prep_open":        func(s *SQE, a args) { s.PrepOpen(a.path(0), a.int(1), a.uint32(2)) },
	"io_uring_prep_open_direct": func(s *SQE, a args) { s.PrepOpenDirect(a.path(0), a.int(1), a.uint32(2), a.uint32(3)) },
	"io_uring_prep_close":       func(s *SQE, a args) { s.PrepClose(a.int(0)) },
	"io_uring_prep_close_direct": func(s *SQE, a args) {
		s.PrepCloseDirect(a.uint32(0))
	},
	"io_uring_prep_read": func(s *SQE, a args) { s.PrepRead(a.int(0), a.bytes(1, 2), a.int64(3)) },
	"io_uring_prep_read_multishot": func(s *SQE, a args) {
		s.PrepReadMultishot(a.int(0), a.uint32(1), a.int64(2), a.uint16(3))
	},
	"io_uring_prep_write": func(s *SQE, a args) { s.PrepWrite(a.int(0), a.bytes(1, 2), a.int64(3)) },
	"io_uring_prep_statx": func(s *SQE, a args) {
		s.PrepStatx(a.int(0), a.path(1), a.int(2), a.uint32(3), pointer[unix.Statx_t](a, 4))
	},
	"io_uring_prep_fadvise":   func(s *SQE, a args) { s.PrepFadvise(a.int(0), a.int64(1), a.uint32(2), a.int(3)) },
	"io_uring_prep_madvise":   func(s *SQE, a args) { s.PrepMadvise(a.bytes(0, 1), a.int(2)) },
	"io_uring_prep_fadvise64": func(s *SQE, a args) { s.PrepFadvise64(a.int(0), a.int64(1), a.int64(2), a.int(3)) },
	"io_uring_prep_madvise64": func(s *SQE, a args) { s.PrepMadvise64(a.bytes(0, 1), a.int(2)) },
	"io_uring_prep_send":      func(s *SQE, a args) { s.PrepSend(a.int(0), a.bytes(1, 2), a.int(3)) },
	"io_uring_prep_send_bundle": func(s *SQE, a args) {
		s.PrepSendBundle(a.int(0), a.uint32(1), a.int(2))
	},
	"io_uring_prep_send_set_addr": func(s *SQE, a args) { s.SendAddr(a.bytes(0, 1)) },
	"io_uring_prep_sendto": func(s *SQE, a args) {
		s.PrepSendto(a.int(0), a.bytes(1, 2), a.int(3), a.bytes(4, 5))
	},
	"io_uring_prep_send_zc": func(s *SQE, a args) { s.PrepSendZC(a.int(0), a.bytes(1, 2), a.int(3), a.uint16(4)) },
	"io_uring_prep_send_zc_fixed": func(s *SQE, a args) {
		s.PrepSendZCFixed(a.int(0), a.bytes(1, 2), a.int(3), a.uint16(4), a.uint16(5))
	},
	"io_uring_prep_sendmsg_zc": func(s *SQE, a args) { s.PrepSendmsgZC(a.int(0), pointer[unix.Msghdr](a, 1), a.int(2)) },
	"io_uring_prep_sendmsg_zc_fixed": func(s *SQE, a args) {
		s.PrepSendmsgZCFixed(a.int(0), pointer[unix.Msghdr](a, 1), a.int(2), a.uint16(3))
	},
	"io_uring_prep_recv": func(s *SQE, a args) { s.PrepRecv(a.int(0), a.bytes(1, 2), a.int(3)) },
	"io_uring_prep_recv_multishot": func(s *SQE, a args) { // the program sets what a group does not need
		s.PrepRecvMultishot(a.int(0), 0, a.int(3))
		s.Flags, s.Addr, s.Len = 0, a[1], a.uint32(2)
	},
	"io_uring_prep_openat2": func(s *SQE, a args) { s.PrepOpenat2(a.int(0), a.path(1), pointer[unix.OpenHow](a, 2)) },
	"io_uring_prep_openat2_direct": func(s *SQE, a args) {
		s.PrepOpenat2Direct(a.int(0), a.path(1), pointer[unix.OpenHow](a, 2), a.uint32(3))
	},
	"io_uring_prep_epoll_ctl": func(s *SQE, a args) {
		s.PrepEpollCtl(a.int(0), a.int(1), a.int(2), pointer[unix.EpollEvent](a, 3))
	},
	"io_uring_prep_provide_buffers": func(s *SQE, a args) {
		s.PrepProvideBuffers(unsafe.Slice(a.path(0), a.int(1)*a.int(2)), a.int(1), a.uint16(3), a.uint16(4))
	},
	"io_uring_prep_remove_buffers": func(s *SQE, a args) { s.PrepRemoveBuffers(a.int(0), a.uint16(1)) },
	"io_uring_prep_shutdown":       func(s *SQE, a args) { s.PrepShutdown(a.int(0), a.int(1)) },
	"io_uring_prep_unlinkat":       func(s *SQE, a args) { s.PrepUnlinkat(a.int(0), a.path(1), a.int(2)) },
	"io_uring_prep_unlink":         func(s *SQE, a args) { s.PrepUnlink(a.path(0), a.int(1)) },
	"io_uring_prep_renameat": func(s *SQE, a args) {
		s.PrepRenameat(a.int(0), a.path(1), a.int(2), a.path(3), a.uint32(4))
	},
	"io_uring_prep_rename": func(s *SQE, a args) { s.PrepRename(a.path(0), a.path(1)) },
	"io_uring_prep_sync_file_range": func(s *SQE, a args) {
		s.PrepSyncFileRange(a.int(0), a.uint32(1), a.int64(2), a.int(3))
	},
	"io_uring_prep_mkdirat":   func(s *SQE, a args) { s.PrepMkdirat(a.int(0), a.path(1), a.uint32(2)) },
	"io_uring_prep_mkdir":     func(s *SQE, a args) { s.PrepMkdir(a.path(0), a.uint32(1)) },
	"io_uring_prep_symlinkat": func(s *SQE, a args) { s.PrepSymlinkat(a.path(0), a.int(1), a.path(2)) },
	"io_uring_prep_symlink":   func(s *SQE, a args) { s.PrepSymlink(a.path(0), a.path(1)) },
	"io_uring_prep_linkat": func(s *SQE, a args) {
		s.PrepLinkat(a.int(0), a.path(1), a.int(2), a.path(3), a.int(4))
	},
	"io_uring_prep_link": func(s *SQE, a args) { s.PrepLink(a.path(0), a.path(1), a.int(2)) },
	"io_uring_prep_msg_ring_cqe_flags": func(s *SQE, a args) {
		s.PrepMsgRingCQEFlags(a.int(0), a.uint32(1), a[2], MsgRingFlags(a.uint32(3)), CQEFlags(a.uint32(4)))
	},
	"io_uring_prep_msg_ring": func(s *SQE, a args) { s.PrepMsgRing(a.int(0), a.uint32(1), a[2], MsgRingFlags(a.uint32(3))) },
	"io_uring_prep_msg_ring_fd": func(s *SQE, a args) {
		s.PrepMsgRingFD(a.int(0), a.uint32(1), a.uint32(2), a[3], MsgRingFlags(a.uint32(4)))
	},
	"io_uring_prep_msg_ring_fd_alloc": func(s *SQE, a args) {
		s.PrepMsgRingFDAlloc(a.int(0), a.uint32(1), a[2], MsgRingFlags(a.uint32(3)))
	},
	"io_uring_prep_getxattr": func(s *SQE, a args) { s.PrepGetxattr(a.path(0), a.bytes(1, 3), a.path(2)) },
	"io_uring_prep_setxattr": func(s *SQE, a args) {
		s.PrepSetxattr(a.path(0), a.bytes(1, 4), a.path(2), a.int(3))
	},
	"io_uring_prep_fgetxattr": func(s *SQE, a args) { s.PrepFGetxattr(a.int(0), a.path(1), a.bytes(2, 3)) },
	"io_uring_prep_fsetxattr": func(s *SQE, a args) {
		s.PrepFSetxattr(a.int(0), a.path(1), a.bytes(2, 4), a.int(3))
	},
	"io_uring_prep_socket": func(s *SQE, a args) { s.PrepSocket(a.int(0), a.int(1), a.int(2), a.uint32(3)) },
	"io_uring_prep_socket_direct": func(s *SQE, a args) {
		s.PrepSocketDirect(a.int(0), a.int(1), a.int(2), a.uint32(3), a.uint32(4))
	},
	"io_uring_prep_socket_direct_alloc": func(s *SQE, a args) {
		s.PrepSocketDirectAlloc(a.int(0), a.int(1), a.int(2), a.uint32(3))
	},
	"__io_uring_prep_uring_cmd": func(s *SQE, a args) {
		s.PrepUringCmd(a.uint32(1), a.int(2))
		s.Opcode = Opcode(a[0])
	},
	"io_uring_prep_uring_cmd":    func(s *SQE, a args) { s.PrepUringCmd(a.uint32(0), a.int(1)) },
	"io_uring_prep_uring_cmd128": func(s *SQE, a args) { s.PrepUringCmd128(a.uint32(0), a.int(1)) },
	"io_uring_prep_cmd_sock": func(s *SQE, a args) {
		s.PrepCmdSock(a.uint32(0), a.int(1), a.int(2), a.int(3), a.bytes(4, 5))
	},
	"io_uring_prep_cmd_getsockname": func(s *SQE, a args) {
		s.PrepCmdGetsockname(a.int(0), pointer[unix.RawSockaddrAny](a, 1), pointer[uint32](a, 2), a[3] != 0)
	},
	"io_uring_prep_waitid": func(s *SQE, a args) {
		s.PrepWaitid(a.int(0), a.int(1), pointer[unix.Siginfo](a, 2), a.int(3), a.uint32(4))
	},
	"io_uring_prep_futex_wake": func(s *SQE, a args) {
		s.PrepFutexWake(pointer[uint32](a, 0), a[1], a[2], a.uint32(3), a.uint32(4))
	},
	"io_uring_prep_futex_wait": func(s *SQE, a args) {
		s.PrepFutexWait(pointer[uint32](a, 0), a[1], a[2], a.uint32(3), a.uint32(4))
	},
	"io_uring_prep_futex_waitv": func(s *SQE, a args) {
		s.PrepFutexWaitv(sliceOf[FutexWaiter](a, 0, 1), a.uint32(2))
	},
	"io_uring_prep_fixed_fd_install": func(s *SQE, a args) { s.PrepFixedFDInstall(a.int(0), a.uint32(1)) },
	"io_uring_prep_ftruncate":        func(s *SQE, a args) { s.PrepFtruncate(a.int(0), a.int64(1)) },
	"io_uring_prep_cmd_discard":      func(s *SQE, a args) { s.PrepCmdDiscard(a.int(0), a[1], a[2]) },
	"io_uring_prep_pipe":             func(s *SQE, a args) { s.PrepPipe(pointer[[2]int32](a, 0), a.int(1)) },
	"io_uring_prep_pipe_direct": func(s *SQE, a args) {
		s.PrepPipeDirect(pointer[[2]int32](a, 0), a.int(1), a.uint32(2))
	},
}

// sizes are the names of parameters that are a number of bytes or of elements, or a number of
// 16 bits.
var sizes = strings.Fields("len length nbytes nr_vecs nr_fds maxevents nr_futex optlen addrlen addr_len " +
	"buf_index bgid bid buf_group nr zc_flags")

// argument returns a value that a parameter may have.
func argument(p cprep.Param, rnd *rand.Rand) uint64 {
	switch {
	case strings.HasSuffix(p.Type, "*"):
		return 1<<16 + 16*uint64(rnd.Uint32N(1<<16)) // below the program
	case slices.Contains(sizes, p.Name):
		return 1 + uint64(rnd.Uint32N(1<<10))
	case p.Name == "peer":
		return uint64(rnd.Uint32N(2))
	case p.Name == "file_index" && rnd.Uint32N(2) == 0:
		return uint64(FileIndexAlloc)
	case strings.Contains(p.Type, "64") || strings.HasSuffix(p.Type, "off_t"):
		return rnd.Uint64()
	}
	return uint64(rnd.Uint32N(1 << 31))
}

// TestPrepMatchesLiburing compares the entry that each method makes with that of liburing's
// function, byte for byte, with many arguments. The headers' prototypes tell the functions: a
// new one fails the test until there is a method.
func TestPrepMatchesLiburing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	left := map[string]bool{}
	for name := range prepared {
		left[name] = true
	}
	for i, f := range cprep.Functions {
		delete(left, f.Name)
		prep := prepared[f.Name]
		if !assert.NotNil(t, prep, "no method is claimed to do what %s does", f.Name) {
			continue
		}
		for range 200 {
			a := make(args, len(f.Params))
			for k, p := range f.Params {
				a[k] = argument(p, rnd)
			}
			if f.Name == "io_uring_prep_close_direct" && a.uint32(0) == FileIndexAlloc {
				a[0] = 1 // liburing's entry would close fd 0
			}
			var got [2]SQE // of 128 bytes
			prep(&got[0], a)
			require.Equal(t, cprep.Prep(i, a), cprep.Entry(*(*[128]byte)(unsafe.Pointer(&got))), "%s(%x)", f.Name, a)
		}
	}
	assert.Empty(t, left, "liburing has no such functions")
}

func TestPrepRecvZC(t *testing.T) {
	var got [2]SQE
	got[0].PrepRecvZC(7, 3, 4096)
	assert.Equal(t, cprep.RecvZC(7, 3, 4096), cprep.Entry(*(*[128]byte)(unsafe.Pointer(&got))))
}
