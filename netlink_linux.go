package zcrx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A netlink client that asks the kernel single questions: one request, one
// answer, no dumps. It needs no privilege and changes nothing.

const (
	netlinkTimeout = 2 * time.Second
	// netlinkMaxAnswer bounds an answer: the kernel makes a single one with room
	// for a page (NLMSG_GOODSIZE), for a link some more.
	netlinkMaxAnswer = 64 << 10

	netlinkHeaderSize = unix.SizeofNlMsghdr
	genericHeaderSize = 4 // struct genlmsghdr
	attrHeaderSize    = unix.SizeofNlAttr
	attrTypeMask      = 0x3fff // NLA_TYPE_MASK: without the nested and byte order flags
)

var errBadNetlink = errors.New("malformed netlink message")

// netlinkConn is a netlink socket. It belongs to the network namespace of the
// thread that opened it.
type netlinkConn struct {
	fd  int
	seq uint32
}

// openNetlink opens a socket for NETLINK_ROUTE or NETLINK_GENERIC. The caller
// closes it.
func openNetlink(protocol int) (*netlinkConn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	// The kernel answers within the sending call; the timeout is for the case
	// that it does not.
	timeout := unix.NsecToTimeval(netlinkTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return &netlinkConn{fd: fd}, nil
}

func (c *netlinkConn) close() { _ = unix.Close(c.fd) } // nothing waits to be written

// ask sends one request and answers the payload of the message of type want
// that comes back.
func (c *netlinkConn) ask(request, want uint16, payload []byte) ([]byte, error) {
	c.seq++
	msg := netlinkMessage(request, unix.NLM_F_REQUEST, c.seq, payload)
	if err := unix.Sendto(c.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	answer := make([]byte, netlinkMaxAnswer)
	for start := time.Now(); ; {
		n, _, flags, from, err := unix.Recvmsg(c.fd, answer, nil, 0)
		// A socket with a timeout is interrupted by any signal, and the Go
		// runtime sends some.
		if errors.Is(err, unix.EINTR) && time.Since(start) < netlinkTimeout {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("recvmsg", err)
		}
		if sender, ok := from.(*unix.SockaddrNetlink); !ok || sender.Pid != 0 {
			return nil, fmt.Errorf("%w: not from the kernel", errBadNetlink)
		}
		if flags&unix.MSG_TRUNC != 0 {
			return nil, fmt.Errorf("%w: longer than %d bytes", errBadNetlink, netlinkMaxAnswer)
		}
		return parseAnswer(answer[:n], want, c.seq)
	}
}

// family finds the number of a generic netlink family.
func (c *netlinkConn) family(name string) (uint16, error) {
	ask := appendAttr(genericHeader(unix.CTRL_CMD_GETFAMILY), unix.CTRL_ATTR_FAMILY_NAME, append([]byte(name), 0))
	answer, err := c.askGeneric(unix.GENL_ID_CTRL, ask)
	if err != nil {
		return 0, fmt.Errorf("netlink family %q: %w", name, err)
	}
	id := answer.number(unix.CTRL_ATTR_FAMILY_ID, 2)
	if answer.err == nil && id == 0 {
		answer.err = fmt.Errorf("%w: family %q without number", errBadNetlink, name)
	}
	return uint16(id), answer.err
}

// askGeneric asks a family; the payload begins with a genericHeader.
func (c *netlinkConn) askGeneric(family uint16, payload []byte) (*netlinkAttrs, error) {
	answer, err := c.ask(family, family, payload)
	if err != nil {
		return nil, err
	}
	return parseAttrs(answer, genericHeaderSize)
}

func genericHeader(command byte) []byte { return []byte{command, 1, 0, 0} } // version 1

// netlinkMessage puts a header before the payload.
func netlinkMessage(kind, flags uint16, seq uint32, payload []byte) []byte {
	b := make([]byte, 0, netlinkHeaderSize+len(payload))
	b = binary.NativeEndian.AppendUint32(b, uint32(netlinkHeaderSize+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel fills in the port
	return append(b, payload...)
}

// appendAttr appends an attribute, padded to 4 bytes.
func appendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeaderSize+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendAttr32(b []byte, kind uint16, value uint32) []byte {
	return appendAttr(b, kind, binary.NativeEndian.AppendUint32(nil, value))
}

// parseAnswer takes a datagram apart that answers request seq with a message of
// type want. An error that the kernel reports is answered as its errno.
func parseAnswer(b []byte, want uint16, seq uint32) ([]byte, error) {
	if len(b) < netlinkHeaderSize {
		return nil, fmt.Errorf("%w: %d bytes", errBadNetlink, len(b))
	}
	size := binary.NativeEndian.Uint32(b)
	if size < netlinkHeaderSize || uint64(size) > uint64(len(b)) {
		return nil, fmt.Errorf("%w: length %d in %d bytes", errBadNetlink, size, len(b))
	}
	if got := binary.NativeEndian.Uint32(b[8:]); got != seq {
		return nil, fmt.Errorf("%w: sequence number %d, asked was %d", errBadNetlink, got, seq)
	}
	payload := b[netlinkHeaderSize:size]
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == want:
		return payload, nil
	case kind == unix.NLMSG_ERROR && len(payload) >= 4:
		errno := -int64(int32(binary.NativeEndian.Uint32(payload)))
		if errno >= 1 && errno < 4096 { // MAX_ERRNO
			return nil, syscall.Errno(errno)
		}
		return nil, fmt.Errorf("%w: error %d", errBadNetlink, errno)
	default:
		return nil, fmt.Errorf("%w: type %d, wanted %d", errBadNetlink, kind, want)
	}
}

// netlinkAttrs are the attributes of one message or nest. What is absent reads
// as zero; what has a wrong size sets err, which is looked at in the end.
type netlinkAttrs struct {
	values map[uint16][]byte
	err    error
}

// parseAttrs reads the attributes that follow a family's own header of skip
// bytes. Of an attribute that comes twice the last counts.
func parseAttrs(b []byte, skip int) (*netlinkAttrs, error) {
	if len(b) < skip {
		return nil, fmt.Errorf("%w: %d bytes, a header has %d", errBadNetlink, len(b), skip)
	}
	a := &netlinkAttrs{values: map[uint16][]byte{}}
	for b = b[skip:]; len(b) > 0; {
		if len(b) < attrHeaderSize {
			return nil, fmt.Errorf("%w: %d bytes behind the last attribute", errBadNetlink, len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrHeaderSize || size > len(b) {
			return nil, fmt.Errorf("%w: attribute of %d bytes in %d", errBadNetlink, size, len(b))
		}
		a.values[binary.NativeEndian.Uint16(b[2:])&attrTypeMask] = b[attrHeaderSize:size]
		b = b[min((size+3)&^3, len(b)):]
	}
	return a, nil
}

func (a *netlinkAttrs) has(kind uint16) bool { _, ok := a.values[kind]; return ok }

// number reads an unsigned number of size 1, 2 or 4 bytes.
func (a *netlinkAttrs) number(kind uint16, size int) uint32 {
	b, ok := a.values[kind]
	if !ok {
		return 0
	}
	if len(b) != size {
		a.err = fmt.Errorf("%w: attribute %d has %d bytes, not %d", errBadNetlink, kind, len(b), size)
		return 0
	}
	switch size {
	case 1:
		return uint32(b[0])
	case 2:
		return uint32(binary.NativeEndian.Uint16(b))
	default:
		return binary.NativeEndian.Uint32(b)
	}
}

// text reads a string up to its NUL.
func (a *netlinkAttrs) text(kind uint16) string { return unix.ByteSliceToString(a.values[kind]) }

// nest reads attributes within an attribute; an absent one has none.
func (a *netlinkAttrs) nest(kind uint16) *netlinkAttrs {
	inner, err := parseAttrs(a.values[kind], 0)
	if err != nil {
		a.err = err
		return &netlinkAttrs{}
	}
	return inner
}
