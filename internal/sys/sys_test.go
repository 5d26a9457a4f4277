package sys

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPollMask(t *testing.T) {
	want := uint32(0x12345678)
	if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 { // big-endian
		want = 0x56781234
	}
	assert.Equal(t, want, PollMask(0x12345678))
}
