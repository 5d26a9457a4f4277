package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFramesKeepOrderAndContent(t *testing.T) {
	var line bytes.Buffer
	s := NewSender(&line)
	require.NoError(t, s.Send(Ready, nil))
	big := bytes.Repeat([]byte("abcdefg"), MaxPayload/5)
	n, err := s.Stream(Stdout).Write(big)
	require.NoError(t, err)
	require.Equal(t, len(big), n)
	require.NoError(t, s.SendEnd(Exit{Code: 3}))

	kind, payload, err := Receive(&line)
	require.NoError(t, err)
	assert.Equal(t, Ready, kind)
	assert.Empty(t, payload)

	var got []byte
	for len(got) < len(big) {
		kind, payload, err = Receive(&line)
		require.NoError(t, err)
		require.Equal(t, Stdout, kind)
		got = append(got, payload...)
	}
	assert.Equal(t, big, got)

	kind, payload, err = Receive(&line)
	require.NoError(t, err)
	assert.Equal(t, End, kind)
	var exit Exit
	require.NoError(t, json.Unmarshal(payload, &exit))
	assert.Equal(t, Exit{Code: 3}, exit)

	_, _, err = Receive(&line)
	assert.Equal(t, io.EOF, err)
}

func TestBrokenFrames(t *testing.T) {
	_, _, err := Receive(bytes.NewReader([]byte{'1', 4, 0, 0, 0, 'x'}))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	_, _, err = Receive(bytes.NewReader([]byte{'1', 0, 0, 0, 0xff}))
	require.ErrorContains(t, err, "the largest is")
	require.Error(t, NewSender(io.Discard).Send(Stdout, make([]byte, MaxPayload+1)))
}
