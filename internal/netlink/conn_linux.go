package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	timeout = 2 * time.Second
	// maxReply is the largest reply that can be received, in bytes. The kernel makes a
	// single reply of about a page (NLMSG_GOODSIZE), and larger ones for a link.
	maxReply = 64 << 10
)

// Sizes of the headers before a message's payload and before the attributes of a
// generic family, in bytes.
const (
	HeaderSize        = unix.SizeofNlMsghdr
	GenericHeaderSize = 4 // struct genlmsghdr
)

// ErrMalformed matches the error for a message that netlink does not allow.
var ErrMalformed = errors.New("malformed netlink message")

// Conn is a netlink socket in the network namespace of the thread that opened it. Only
// one goroutine may use it at a time.
type Conn struct {
	fd  int
	seq uint32
}

// Dial opens a socket for NETLINK_ROUTE or NETLINK_GENERIC. The caller must Close it.
func Dial(protocol int) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The kernel replies before sendto returns. The timeout ends the wait if it does
	// not reply.
	wait := unix.NsecToTimeval(timeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &Conn{fd: fd}, nil
}

// Close closes the socket.
func (c *Conn) Close() { _ = unix.Close(c.fd) } // no data is lost if it fails

// Request sends one request of the given kind and returns the payload of the reply,
// which must be of kind want. If the kernel replies with an error, Request returns its
// syscall.Errno.
func (c *Conn) Request(kind, want uint16, payload []byte) ([]byte, error) {
	c.seq++
	msg := Message(kind, unix.NLM_F_REQUEST, c.seq, payload)
	if err := unix.Sendto(c.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	reply := make([]byte, maxReply)
	for start := time.Now(); ; {
		n, _, flags, from, err := unix.Recvmsg(c.fd, reply, nil, 0)
		// SA_RESTART does not apply to a socket with a timeout, and the Go runtime
		// sends signals to its threads.
		if errors.Is(err, unix.EINTR) && time.Since(start) < timeout {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvmsg", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			return nil, fmt.Errorf("%w: not from the kernel", ErrMalformed)
		}
		if flags&unix.MSG_TRUNC != 0 {
			return nil, fmt.Errorf("%w: longer than %d bytes", ErrMalformed, maxReply)
		}
		return ParseReply(reply[:n], want, c.seq)
	}
}

// Family returns the number of a generic netlink family.
func (c *Conn) Family(name string) (uint16, error) {
	request := AppendAttr(GenericHeader(unix.CTRL_CMD_GETFAMILY), unix.CTRL_ATTR_FAMILY_NAME, append([]byte(name), 0))
	reply, err := c.RequestGeneric(unix.GENL_ID_CTRL, request)
	if err != nil {
		return 0, fmt.Errorf("netlink family %q: %w", name, err)
	}
	id := reply.Uint(unix.CTRL_ATTR_FAMILY_ID, 2)
	if reply.err == nil && id == 0 {
		reply.err = fmt.Errorf("%w: family %q without number", ErrMalformed, name)
	}
	return uint16(id), reply.err
}

// RequestGeneric sends one request to a family and returns the attributes of its
// reply. The payload begins with a GenericHeader.
func (c *Conn) RequestGeneric(family uint16, payload []byte) (*Attrs, error) {
	reply, err := c.Request(family, family, payload)
	if err != nil {
		return nil, err
	}
	return ParseAttrs(reply, GenericHeaderSize)
}

// GenericHeader returns the header of a request to a generic family.
func GenericHeader(command byte) []byte { return []byte{command, 1, 0, 0} } // version 1

// Message returns a message with that payload.
func Message(kind, flags uint16, seq uint32, payload []byte) []byte {
	b := make([]byte, 0, HeaderSize+len(payload))
	b = binary.NativeEndian.AppendUint32(b, uint32(HeaderSize+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel fills in the port
	return append(b, payload...)
}

// ParseReply returns the payload of b, the reply to request seq, which must be of kind
// want. If b is an error message, ParseReply returns its syscall.Errno.
func ParseReply(b []byte, want uint16, seq uint32) ([]byte, error) {
	if len(b) < HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	size := binary.NativeEndian.Uint32(b)
	if size < HeaderSize || uint64(size) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: length %d in %d bytes", ErrMalformed, size, len(b))
	}
	if got := binary.NativeEndian.Uint32(b[8:]); got != seq {
		return nil, fmt.Errorf("%w: sequence number %d, want %d", ErrMalformed, got, seq)
	}
	payload := b[HeaderSize:size]
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == want:
		return payload, nil
	case kind == unix.NLMSG_ERROR && len(payload) >= 4:
		errno := -int64(int32(binary.NativeEndian.Uint32(payload)))
		if errno >= 1 && errno < 4096 { // MAX_ERRNO
			return nil, syscall.Errno(errno)
		}
		return nil, fmt.Errorf("%w: error %d", ErrMalformed, errno)
	default:
		return nil, fmt.Errorf("%w: type %d, want %d", ErrMalformed, kind, want)
	}
}
