package netlink

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestParseReply(t *testing.T) {
	refusal := func(errno int32) []byte {
		return Message(unix.NLMSG_ERROR, 0, 4, binary.NativeEndian.AppendUint32(nil, uint32(-errno)))
	}
	_, err := ParseReply(refusal(int32(syscall.ENODEV)), 16, 4)
	assert.ErrorIs(t, err, syscall.ENODEV)
	good := Message(16, 0, 4, []byte("payload."))
	cut := append([]byte(nil), good...)
	binary.NativeEndian.PutUint32(cut, 1<<31)
	for name, bad := range map[string][]byte{
		"nothing":           nil,
		"half a header":     good[:15],
		"truncated":         good[:len(good)-1],
		"length beyond":     cut,
		"length too small":  append([]byte{15, 0, 0, 0, 15, 0, 0, 0}, good[8:]...)[:16],
		"other sequence":    Message(16, 0, 5, nil),
		"other type":        Message(17, 0, 4, nil),
		"end of a dump":     Message(unix.NLMSG_DONE, 0, 4, make([]byte, 4)),
		"acknowledgement":   refusal(0),
		"positive error":    refusal(-5),
		"error of no errno": refusal(1 << 20),
		"error of 2 bytes":  Message(unix.NLMSG_ERROR, 0, 4, []byte{1, 2}),
	} {
		_, err := ParseReply(bad, 16, 4)
		assert.ErrorIs(t, err, ErrMalformed, name)
	}
}

// TestFamily asks the kernel for a family that it has, and for one that it has not.
func TestFamily(t *testing.T) {
	c, err := Dial(unix.NETLINK_GENERIC)
	require.NoError(t, err)
	id, err := c.Family(unix.ETHTOOL_GENL_NAME)
	require.NoError(t, err)
	assert.NotZero(t, id)
	_, err = c.Family("nosuchfamily")
	assert.ErrorIs(t, err, syscall.ENOENT)
	c.Close()
	_, err = c.Family(unix.ETHTOOL_GENL_NAME)
	assert.ErrorIs(t, err, syscall.EBADF)
}

// FuzzMessages gives the parsers arbitrary messages. Each is parsed or refused with
// ErrMalformed, and what is parsed lies inside the message.
func FuzzMessages(f *testing.F) {
	nest := AppendAttr(nil, 8, AppendAttr(nil, 2, AppendUint32(nil, 1, 1)))
	f.Add(Message(16, 0, 1, append(make([]byte, unix.SizeofIfInfomsg), AppendAttr(nil, unix.IFLA_IFNAME, []byte("lo\x00"))...)))
	f.Add(Message(16, 0, 1, append(GenericHeader(1), nest...)))
	f.Add(Message(unix.NLMSG_ERROR, 0, 1, []byte{237, 255, 255, 255}))
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, err := ParseReply(b, 16, 1)
		if err != nil {
			payload = b // try the inner parsers all the same
		} else if len(payload) > len(b)-HeaderSize {
			t.Fatalf("a payload of %d bytes in %d", len(payload), len(b))
		}
		attrs, err := ParseAttrs(payload, GenericHeaderSize)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		room := len(payload)
		for kind, v := range attrs.values {
			room -= attrHeaderSize + len(v)
			if attrs.Uint(kind, 4); attrs.Err() == nil != (len(v) == 4) {
				t.Fatalf("a number of %d bytes: %v", len(v), attrs.Err())
			}
			attrs.err = nil
			if text := attrs.Text(kind); len(text) > len(v) {
				t.Fatalf("a text of %d bytes in %d", len(text), len(v))
			}
			attrs.Nest(kind).Nest(2)
			attrs.err = nil
		}
		if room < 0 {
			t.Fatal("attributes overlap")
		}
	})
}
