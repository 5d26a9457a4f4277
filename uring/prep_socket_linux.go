package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// PrepSocket prepares socket(2). The completion's Res is the fd. flags must be 0 (Linux 5.19).
//
// Implements: void io_uring_prep_socket(struct io_uring_sqe *sqe, int domain, int type, int protocol, unsigned int flags)
func (s *SQE) PrepSocket(domain, typ, protocol int, flags uint32) {
	s.prep(OpSocket, domain, 0, uint32(protocol), uint64(int64(typ)))
	s.OpFlags = flags
}

// PrepSocketDirect is PrepSocket into the table of registered files, at place index or with
// FileIndexAlloc at one that the kernel chooses: Res is its number then. unix.SOCK_CLOEXEC is
// EINVAL.
//
// Implements: void io_uring_prep_socket_direct(struct io_uring_sqe *sqe, int domain, int type, int protocol, unsigned file_index, unsigned int flags)
func (s *SQE) PrepSocketDirect(domain, typ, protocol int, index, flags uint32) {
	s.PrepSocket(domain, typ, protocol, flags)
	s.direct(index)
}

// PrepSocketDirectAlloc is PrepSocketDirect with FileIndexAlloc.
//
// Implements: void io_uring_prep_socket_direct_alloc(struct io_uring_sqe *sqe, int domain, int type, int protocol, unsigned int flags)
func (s *SQE) PrepSocketDirectAlloc(domain, typ, protocol int, flags uint32) {
	s.PrepSocketDirect(domain, typ, protocol, FileIndexAlloc, flags)
}

// PrepBind prepares bind(2). sockaddr is the raw address; see Sockaddr (Linux 6.11).
//
// Implements: void io_uring_prep_bind(struct io_uring_sqe *sqe, int fd, const struct sockaddr *addr, socklen_t addrlen)
func (s *SQE) PrepBind(fd int, sockaddr []byte) {
	s.prep(OpBind, fd, s.address(unsafe.Pointer(unsafe.SliceData(sockaddr))), 0, uint64(len(sockaddr)))
}

// PrepListen prepares listen(2) (Linux 6.11).
//
// Implements: void io_uring_prep_listen(struct io_uring_sqe *sqe, int fd, int backlog)
func (s *SQE) PrepListen(fd, backlog int) { s.prep(OpListen, fd, 0, uint32(backlog), 0) }

// AcceptAddr has an accept that was prepared put the peer's address into addr. length is that
// of addr before, and that of the address after, which may be more. Both must stay until the
// completion; AddrPortOf reads the address. A multishot accept has one address for all: it is
// only good for one at a time.
func (s *SQE) AcceptAddr(addr *unix.RawSockaddrAny, length *uint32) {
	s.Addr = s.address(unsafe.Pointer(addr))
	s.Off = s.address(unsafe.Pointer(length))
}

// PrepAcceptDirect is PrepAccept into the table of registered files, at place index or with
// FileIndexAlloc at one that the kernel chooses: Res is its number then, and 0 otherwise. If
// there is no such place, the next connection is accepted and lost. unix.SOCK_CLOEXEC is EINVAL
// (Linux 5.15).
//
// Implements: void io_uring_prep_accept_direct(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags, unsigned int file_index)
func (s *SQE) PrepAcceptDirect(fd, flags int, index uint32) {
	s.PrepAccept(fd, flags)
	s.direct(index)
}

// PrepMultishotAcceptDirect is PrepMultishotAccept into places of the table of registered files
// that the kernel chooses (Linux 5.19).
//
// Implements: void io_uring_prep_multishot_accept_direct(struct io_uring_sqe *sqe, int fd, struct sockaddr *addr, socklen_t *addrlen, int flags)
func (s *SQE) PrepMultishotAcceptDirect(fd, flags int) {
	s.PrepMultishotAccept(fd, flags)
	s.direct(FileIndexAlloc)
}

// PrepRecvmsg prepares recvmsg(2): flags are unix.MSG_*. The message, and what it names, must
// stay as it is until the completion (Linux 5.3).
//
// Implements: void io_uring_prep_recvmsg(struct io_uring_sqe *sqe, int fd, struct msghdr *msg, unsigned flags)
func (s *SQE) PrepRecvmsg(fd int, message *unix.Msghdr, flags int) {
	s.prep(OpRecvmsg, fd, s.address(unsafe.Pointer(message)), 1, 0)
	s.OpFlags = uint32(flags)
}

// PrepRecvmsgMultishot prepares to receive messages into provided buffers until it is
// cancelled, an error occurs or an empty message comes: set SQEBufferSelect and BufferGroup. Of
// the message the lengths of name and control are used, and of one Iovec its length, which
// bounds how much of a buffer is. A buffer that is too short for name and control is EFAULT.
// ParseRecvmsg takes a buffer apart (Linux 6.0).
//
// Implements: void io_uring_prep_recvmsg_multishot(struct io_uring_sqe *sqe, int fd, struct msghdr *msg, unsigned flags)
func (s *SQE) PrepRecvmsgMultishot(fd int, message *unix.Msghdr, flags int) {
	s.PrepRecvmsg(fd, message, flags)
	s.Ioprio |= RecvMultishot
}

// PrepSendmsgZC is PrepSendmsg without a copy: the memory may be changed after the completion
// with CQENotif, which may come behind an error too (Linux 6.1).
//
// Implements: void io_uring_prep_sendmsg_zc(struct io_uring_sqe *sqe, int fd, const struct msghdr *msg, unsigned flags)
func (s *SQE) PrepSendmsgZC(fd int, message *unix.Msghdr, flags int) {
	s.PrepSendmsg(fd, unsafe.Pointer(message), flags)
	s.Opcode = OpSendmsgZC
}

// PrepSendmsgZCFixed is PrepSendmsgZC of slices that lie in the registered buffer at place
// index (Linux 6.15).
//
// Implements: void io_uring_prep_sendmsg_zc_fixed(struct io_uring_sqe *sqe, int fd, const struct msghdr *msg, unsigned flags, unsigned buf_index)
func (s *SQE) PrepSendmsgZCFixed(fd int, message *unix.Msghdr, flags int, index uint16) {
	s.PrepSendmsgZC(fd, message, flags)
	s.Ioprio |= RecvSendFixedBuf
	s.BufferGroup = index
}

// PrepSendZCFixed is PrepSendZC of memory that lies in the registered buffer at place index:
// its pages need not be pinned again (Linux 6.0).
//
// Implements: void io_uring_prep_send_zc_fixed(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags, unsigned zc_flags, unsigned buf_index)
func (s *SQE) PrepSendZCFixed(fd int, b []byte, flags int, zcFlags, index uint16) {
	s.PrepSendZC(fd, b, flags, zcFlags)
	s.Ioprio |= RecvSendFixedBuf
	s.BufferGroup = index
}

// PrepSendBundle prepares to send provided buffers, as many at a time as there are: set
// SQEBufferSelect and BufferGroup. It goes on, with CQEMore, until the group is empty, which is
// ENOBUFS. n bounds the first completion only, to whole buffers of at most n bytes together; 0
// means no bound. Of a buffer that is larger the rest is lost (Linux 6.10).
//
// Implements: void io_uring_prep_send_bundle(struct io_uring_sqe *sqe, int sockfd, size_t len, int flags)
func (s *SQE) PrepSendBundle(fd int, n uint32, flags int) {
	s.prep(OpSend, fd, 0, n, 0)
	s.OpFlags = uint32(flags)
	s.Ioprio |= RecvSendBundle
}

// SendAddr has a send that was prepared go to an address, for sockets that are not connected.
// sockaddr is the raw address; see Sockaddr.
//
// Implements: void io_uring_prep_send_set_addr(struct io_uring_sqe *sqe, const struct sockaddr *dest_addr, __u16 addr_len)
func (s *SQE) SendAddr(sockaddr []byte) {
	s.Off = s.address(unsafe.Pointer(unsafe.SliceData(sockaddr)))
	setLow16(&s.FileIndex, uint16(len(sockaddr)))
}

// setLow16 stores v in the first two bytes of word.
func setLow16(word *uint32, v uint16) { *(*uint16)(unsafe.Pointer(word)) = v }

// PrepSendto prepares sendto(2).
//
// Implements: void io_uring_prep_sendto(struct io_uring_sqe *sqe, int sockfd, const void *buf, size_t len, int flags, const struct sockaddr *addr, socklen_t addrlen)
func (s *SQE) PrepSendto(fd int, b []byte, flags int, sockaddr []byte) {
	s.PrepSend(fd, b, flags)
	s.SendAddr(sockaddr)
}

// PrepCmdSock prepares a command of a socket: op is uapi.SOCKET_URING_OP_*. With
// SOCKET_URING_OP_GETSOCKOPT and SETSOCKOPT it is the call of that name. value must stay until
// the completion, whose Res is the option's length, or 0. GETSOCKOPT takes level
// unix.SOL_SOCKET only, and is EOPNOTSUPP for others (Linux 6.7). The Res of SIOCINQ and SIOCOUTQ is a
// number of bytes.
//
// Implements: void io_uring_prep_cmd_sock(struct io_uring_sqe *sqe, int cmd_op, int fd, int level, int optname, void *optval, int optlen)
func (s *SQE) PrepCmdSock(op uint32, fd, level, option int, value []byte) {
	s.PrepUringCmd(op, fd)
	halves := [2]uint32{uint32(level), uint32(option)}
	s.Addr = *(*uint64)(unsafe.Pointer(&halves))
	s.Addr3 = s.address(unsafe.Pointer(unsafe.SliceData(value)))
	s.FileIndex = uint32(len(value))
}

// PrepCmdGetsockname prepares getsockname(2), or getpeername(2) if peer is set. length is that
// of addr before, and that of the address after, which may be more (Linux 6.19).
//
// Implements: void io_uring_prep_cmd_getsockname(struct io_uring_sqe *sqe, int fd, struct sockaddr *sockaddr, socklen_t *sockaddr_len, int peer)
func (s *SQE) PrepCmdGetsockname(fd int, addr *unix.RawSockaddrAny, length *uint32, peer bool) {
	s.PrepUringCmd(uapi.SOCKET_URING_OP_GETSOCKNAME, fd)
	s.Addr = s.address(unsafe.Pointer(addr))
	s.Addr3 = s.address(unsafe.Pointer(length))
	s.FileIndex = uint32(boolean(peer))
}
