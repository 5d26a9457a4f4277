package uring

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/zcrx-go/zcrx/uring/uapi"
)

// Message is what a completion of PrepRecvmsgMultishot has put into its buffer. Its slices are
// parts of the buffer.
type Message struct {
	Name    []byte // the sender's address: raw, and cut off at the message's Namelen
	Control []byte // for unix.ParseSocketControlMessage: cut off at the message's Controllen
	Payload []byte
	// PayloadLen is the length that the payload had, if the receive's flags have
	// unix.MSG_TRUNC: more than that of Payload if it was cut off. Otherwise it is Payload's.
	PayloadLen int
	Flags      int // unix.MSG_TRUNC and the like
}

// ParseRecvmsg takes apart a buffer that a completion of PrepRecvmsgMultishot has filled: its
// first CQE.Res bytes. message is the one that was given to PrepRecvmsgMultishot. ok is false if
// the buffer is too short for it.
//
// Implements: struct io_uring_recvmsg_out *io_uring_recvmsg_validate(void *buf, int buf_len, struct msghdr *msgh)
// Implements: void *io_uring_recvmsg_name(struct io_uring_recvmsg_out *o)
// Implements: struct cmsghdr *io_uring_recvmsg_cmsg_firsthdr(struct io_uring_recvmsg_out *o, struct msghdr *msgh)
// Implements: struct cmsghdr *io_uring_recvmsg_cmsg_nexthdr(struct io_uring_recvmsg_out *o, struct msghdr *msgh, struct cmsghdr *cmsg)
// Implements: void *io_uring_recvmsg_payload(struct io_uring_recvmsg_out *o, struct msghdr *msgh)
// Implements: unsigned int io_uring_recvmsg_payload_length(struct io_uring_recvmsg_out *o, int buf_len, struct msghdr *msgh)
func ParseRecvmsg(buffer []byte, message *unix.Msghdr) (m Message, ok bool) {
	const head = uint64(unsafe.Sizeof(uapi.RecvmsgOut{}))
	name, control := uint64(message.Namelen), uint64(message.Controllen) //nolint:unconvert // 32 bits on some architectures
	size := uint64(len(buffer))
	if size < head || name > size-head || control > size-head-name {
		return Message{}, false
	}
	out := uapi.RecvmsgOut{}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&out)), head), buffer)
	rest := buffer[head:]
	m.Name = rest[:min(name, uint64(out.Namelen)):name]
	rest = rest[name:]
	m.Control = rest[:min(control, uint64(out.Controllen)):control]
	m.Payload = rest[control:]
	m.PayloadLen, m.Flags = int(out.Payloadlen), int(out.Flags)
	return m, true
}
