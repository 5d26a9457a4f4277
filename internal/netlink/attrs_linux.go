package netlink

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	attrHeaderSize = unix.SizeofNlAttr
	attrTypeMask   = 0x3fff // NLA_TYPE_MASK: without the nested and byte order flags
)

// Attrs are the attributes of one message or nest. An attribute that is absent reads as
// zero. So does one of a wrong size, and then Err returns an error.
type Attrs struct {
	values map[uint16][]byte
	err    error
}

// ParseAttrs returns the attributes in b after a header of skip bytes. If there are two
// of a kind, the last one counts.
func ParseAttrs(b []byte, skip int) (*Attrs, error) {
	if len(b) < skip {
		return nil, fmt.Errorf("%w: %d bytes, the header alone has %d", ErrMalformed, len(b), skip)
	}
	a := &Attrs{values: map[uint16][]byte{}}
	for b = b[skip:]; len(b) > 0; {
		if len(b) < attrHeaderSize {
			return nil, fmt.Errorf("%w: %d bytes after the last attribute", ErrMalformed, len(b))
		}
		size := int(binary.NativeEndian.Uint16(b))
		if size < attrHeaderSize || size > len(b) {
			return nil, fmt.Errorf("%w: attribute of %d bytes in %d remaining bytes", ErrMalformed, size, len(b))
		}
		a.values[binary.NativeEndian.Uint16(b[2:])&attrTypeMask] = b[attrHeaderSize:size]
		b = b[min((size+3)&^3, len(b)):]
	}
	return a, nil
}

// Err returns the last error of Uint or Nest, nil if there was none.
func (a *Attrs) Err() error { return a.err }

// Has reports whether there is an attribute of that kind.
func (a *Attrs) Has(kind uint16) bool { _, ok := a.values[kind]; return ok }

// Uint returns the attribute of that kind as an unsigned number of size bytes, which is
// 1, 2 or 4.
func (a *Attrs) Uint(kind uint16, size int) uint32 {
	b, ok := a.values[kind]
	if !ok {
		return 0
	}
	if len(b) != size {
		a.err = fmt.Errorf("%w: attribute %d has %d bytes, not %d", ErrMalformed, kind, len(b), size)
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

// Text returns the attribute of that kind as a string, up to its first NUL.
func (a *Attrs) Text(kind uint16) string { return unix.ByteSliceToString(a.values[kind]) }

// Nest returns the attributes inside the attribute of that kind.
func (a *Attrs) Nest(kind uint16) *Attrs {
	inner, err := ParseAttrs(a.values[kind], 0)
	if err != nil {
		a.err = err
		return &Attrs{}
	}
	return inner
}

// AppendAttr appends an attribute to b, padded to 4 bytes.
func AppendAttr(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrHeaderSize+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// AppendUint32 appends an attribute of 4 bytes to b.
func AppendUint32(b []byte, kind uint16, value uint32) []byte {
	return AppendAttr(b, kind, binary.NativeEndian.AppendUint32(nil, value))
}
