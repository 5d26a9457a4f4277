package uring

import (
	"unsafe"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// PrepNop128 is PrepNop for an entry of 128 bytes: see GetSQE128 (Linux 6.19).
//
// Implements: void io_uring_prep_nop128(struct io_uring_sqe *sqe)
func (s *SQE) PrepNop128() { s.prep(OpNop128, -1, 0, 0, 0) }

// MsgRingFlags are the IORING_MSG_RING_* flags.
type MsgRingFlags uint32

// The flags of messages to rings.
const (
	MsgRingCQESkip   MsgRingFlags = uapi.IORING_MSG_RING_CQE_SKIP   // PrepMsgRingFD: no completion in the other ring
	MsgRingFlagsPass MsgRingFlags = uapi.IORING_MSG_RING_FLAGS_PASS // set by PrepMsgRingCQEFlags
)

// PrepMsgRing prepares to post a completion with that res and user data to the ring
// whose fd is ringFD (Linux 5.18).
//
// Implements: void io_uring_prep_msg_ring(struct io_uring_sqe *sqe, int fd, unsigned int len, __u64 data, unsigned int flags)
func (s *SQE) PrepMsgRing(ringFD int, res uint32, userData uint64, flags MsgRingFlags) {
	s.prep(OpMsgRing, ringFD, 0, res, userData)
	s.OpFlags = uint32(flags)
}

// PrepMsgRingCQEFlags is PrepMsgRing that also sets the completion's flags (Linux 6.3).
//
// Implements: void io_uring_prep_msg_ring_cqe_flags(struct io_uring_sqe *sqe, int fd, unsigned int len, __u64 data, unsigned int flags, unsigned int cqe_flags)
func (s *SQE) PrepMsgRingCQEFlags(ringFD int, res uint32, userData uint64, flags MsgRingFlags, cqeFlags CQEFlags) {
	s.PrepMsgRing(ringFD, res, userData, flags|MsgRingFlagsPass)
	s.FileIndex = uint32(cqeFlags)
}

// PrepMsgRingFD prepares to put the registered file at place source of this ring at place
// target of the ring whose fd is ringFD, and to post a completion with that user data there.
// With FileIndexAlloc as target the kernel chooses the place, whose number is the Res of both
// completions (Linux 6.0).
//
// Implements: void io_uring_prep_msg_ring_fd(struct io_uring_sqe *sqe, int fd, int source_fd, int target_fd, __u64 data, unsigned int flags)
func (s *SQE) PrepMsgRingFD(ringFD int, source, target uint32, userData uint64, flags MsgRingFlags) {
	s.prep(OpMsgRing, ringFD, uapi.IORING_MSG_SEND_FD, 0, userData)
	s.Addr3 = uint64(int64(int32(source)))
	if target == FileIndexAlloc {
		target--
	}
	s.FileIndex = target + 1
	s.OpFlags = uint32(flags)
}

// PrepMsgRingFDAlloc is PrepMsgRingFD with FileIndexAlloc.
//
// Implements: void io_uring_prep_msg_ring_fd_alloc(struct io_uring_sqe *sqe, int fd, int source_fd, __u64 data, unsigned int flags)
func (s *SQE) PrepMsgRingFDAlloc(ringFD int, source uint32, userData uint64, flags MsgRingFlags) {
	s.PrepMsgRingFD(ringFD, source, FileIndexAlloc, userData, flags)
}

// PrepUringCmd prepares a command of the file's driver, such as of a ublk or NVMe device. The
// command's own data goes into Command (Linux 5.19).
//
// Implements: void io_uring_prep_uring_cmd(struct io_uring_sqe *sqe, int cmd_op, int fd)
// Implements: void __io_uring_prep_uring_cmd(struct io_uring_sqe *sqe, int op, __u32 cmd_op, int fd)
func (s *SQE) PrepUringCmd(op uint32, fd int) {
	s.prep(OpUringCmd, fd, 0, 0, 0)
	setFirst32(&s.Off, op)
}

// PrepUringCmd128 is PrepUringCmd for an entry of 128 bytes: see GetSQE128 (Linux 6.19). Before,
// PrepUringCmd is for both.
//
// Implements: void io_uring_prep_uring_cmd128(struct io_uring_sqe *sqe, int cmd_op, int fd)
func (s *SQE) PrepUringCmd128(op uint32, fd int) {
	s.PrepUringCmd(op, fd)
	s.Opcode = OpUringCmd128
}

// setFirst32 stores v in the first four bytes of word.
func setFirst32(word *uint64, v uint32) { *(*uint32)(unsafe.Pointer(word)) = v }

// PrepCmdDiscard prepares to discard n bytes of a block device from off on, as ioctl(2) with
// BLKDISCARD does (Linux 6.12).
//
// Implements: void io_uring_prep_cmd_discard(struct io_uring_sqe *sqe, int fd, uint64_t offset, uint64_t nbytes)
func (s *SQE) PrepCmdDiscard(fd int, off, n uint64) {
	s.PrepUringCmd(uapi.BLOCK_URING_CMD_DISCARD, fd)
	s.Addr = off
	s.Addr3 = n
}

// PrepProvideBuffers prepares to give the group as many buffers of size bytes as fit into
// memory, one behind the other, with the numbers from id on. The memory must stay until they
// have been taken, which Requests does not know of. A BufRing does the same without a request
// (Linux 5.7).
//
// Implements: void io_uring_prep_provide_buffers(struct io_uring_sqe *sqe, void *addr, int len, int nr, int bgid, int bid)
func (s *SQE) PrepProvideBuffers(memory []byte, size int, group, id uint16) {
	n := 0
	if size > 0 {
		n = len(memory) / size
	}
	s.prep(OpProvideBuffers, n, s.address(unsafe.Pointer(unsafe.SliceData(memory))), uint32(size), uint64(id))
	s.BufferGroup = group
}

// PrepRemoveBuffers prepares to take up to n buffers out of the group. The completion's Res is
// how many (Linux 5.7).
//
// Implements: void io_uring_prep_remove_buffers(struct io_uring_sqe *sqe, int nr, int bgid)
func (s *SQE) PrepRemoveBuffers(n int, group uint16) {
	s.prep(OpRemoveBuffers, n, 0, 0, 0)
	s.BufferGroup = group
}

// SetBufferGroup has a request take a provided buffer of the group: it sets SQEBufferSelect
// too.
//
// Implements: void io_uring_sqe_set_buf_group(struct io_uring_sqe *sqe, int bgid)
func (s *SQE) SetBufferGroup(group uint16) {
	s.Flags |= SQEBufferSelect
	s.BufferGroup = group
}
